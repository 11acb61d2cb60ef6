"""What a lease of AWS credentials has beside its values: their names, and the forms that SDKs take."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime


class AwsValues:
    """The AWS half of a lease. Asked of a lease without such a value, each raises with the reason."""

    __slots__ = ()

    @abstractmethod
    def _value(self, suffix: str) -> str:
        """Return a value by its suffix; raise ``AttributeError`` where there is none."""

    @property
    @abstractmethod
    def expires_at(self) -> datetime:
        """When it is over."""

    @property
    def arn(self) -> str:
        """The ARN of the leased user."""
        return self._value("ARN")

    @property
    def username(self) -> str:
        """The name of the leased user."""
        return self._value("USERNAME")

    @property
    def user_id(self) -> str:
        """The unique id of the leased user."""
        return self._value("USER_ID")

    @property
    def policy_name(self) -> str:
        """The name of its inline policy; empty where the config has none and no expiry guard."""
        return self._value("POLICY_NAME")

    @property
    def access_key_id(self) -> str:
        """The id of its access key."""
        return self._value("ACCESS_KEY_ID")

    @property
    def secret_access_key(self) -> str:
        """Its secret access key: text like any other, but for its ``repr``, which is masked."""
        return self._value("SECRET_ACCESS_KEY")

    def aws_env(self) -> dict[str, str]:
        """Return the credential under the names that every AWS SDK reads from the environment, secret included.

        Returns:
            A plain ``dict`` of plain text, which belongs to the caller.

        Raises:
            AttributeError: What is leased is not an AWS credential.
        """
        env = {
            "AWS_ACCESS_KEY_ID": str.__str__(self.access_key_id),
            "AWS_SECRET_ACCESS_KEY": str.__str__(self.secret_access_key),
        }
        with contextlib.suppress(AttributeError):
            env["AWS_SESSION_TOKEN"] = str.__str__(self._value("SESSION_TOKEN"))
        return env

    def credential_process(self) -> dict[str, Any]:
        """Return what a ``credential_process`` of the AWS config file prints as JSON, secret included.

        Returns:
            The answer of version 1 of that protocol, with the lease's end.

        Raises:
            AttributeError: What is leased is not an AWS credential.
        """
        env = self.aws_env()
        answer: dict[str, Any] = {
            "Version": 1,
            "AccessKeyId": env["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": env["AWS_SECRET_ACCESS_KEY"],
            "Expiration": to_milliseconds(self.expires_at),
        }
        if "AWS_SESSION_TOKEN" in env:
            answer["SessionToken"] = env["AWS_SESSION_TOKEN"]
        return answer
