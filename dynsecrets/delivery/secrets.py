"""Secrets in the hands of the one who downloaded them: static values, and the values of fresh leases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn, Self

from dynsecrets._internal.async_bridge import run_in_thread
from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets.delivery.formats import render
from dynsecrets.delivery.name_transformers import rename
from dynsecrets.engine.batch import revoke_all

if TYPE_CHECKING:
    from types import TracebackType

    from dynsecrets._internal.concurrency import Workers
    from dynsecrets.model.lease import Lease


class Secrets(Mapping[str, str]):
    """What ``SecretsConfig.download`` returns: an immutable mapping of all values, sorted by key.

    Its leases live until their TTL, or until :meth:`revoke`; a ``with`` or ``async with`` block revokes them when it
    ends, however it ends. Its ``repr``, what is logged of it, and pytest's explanation of a failed comparison show no
    value that may be secret. It can't be pickled or copied, as leases can't. Safe to share between threads.
    """

    __slots__ = ("__weakref__", "_engine", "_entered", "_leases", "_title", "_values")

    def __init__(
        self,
        values: Mapping[str, str],
        leases: Mapping[str, Lease],
        *,
        title: str,
        engine: Workers | None,
    ) -> None:
        """Hold the values of a config and of its leases.

        Args:
            values: All values by name; those that may be secret print masked.
            leases: The leases by the names of their dynamic secrets.
            title: The config that they are of, for messages.
            engine: What issued the leases, and revokes them in its threads; ``None`` if there are no leases.
        """
        self._values = {key: values[key] for key in sorted(values)}
        self._leases = MappingProxyType(dict(leases))
        self._title = title
        self._engine = engine
        self._entered: list[int] = []

    @property
    def leases(self) -> Mapping[str, Lease]:
        """The leases that were made for this, by the names of their dynamic secrets."""
        return self._leases

    def env(self) -> dict[str, str]:
        """Return all values as plain text, secrets included.

        Returns:
            A new ``dict``, in the order of the keys.
        """
        return {key: str.__str__(value) for key, value in self._values.items()}

    def render(self, format: str, name_transformer: str | None = None) -> str:  # noqa: A002 - everyone's word for it.
        """Return all values as text, secrets included.

        Each format is read back exactly by its readers:

        - ``json``: one object;
        - ``yaml``: a mapping, the same to readers of YAML 1.1 and 1.2;
        - ``env``: assignments for ``set -a; . file`` in a POSIX shell, where nothing is expanded and nothing is run;
          python-dotenv (with ``interpolate=False``) reads the same wherever one spelling serves both;
        - ``env-no-quotes``: ``KEY=value`` lines for readers that change nothing, such as ``kubectl create secret
          --from-env-file`` and ``$GITHUB_ENV``; not for shells;
        - ``docker``: for ``docker run --env-file``;
        - ``dotnet-json``: .NET's flat keys, for ``AddJsonFile``; ``__`` becomes ``:``.

        Args:
            format: One of these names.
            name_transformer: How names are spelt: ``camel`` (``apiKey``), ``upper-camel`` (``ApiKey``), ``lower-snake``
                (``api_key``), ``lower-kebab`` (``api-key``), ``tf-var`` (``TF_VAR_api_key``), ``dotnet``
                (``SMTP__USER_NAME`` is ``Smtp:UserName``) or ``dotnet-env`` (``Smtp__UserName``); ``None`` keeps them.

        Returns:
            Text that ends with one line break. Write it as UTF-8.

        Raises:
            InvalidConfig: The format or the transformer is not known; two names become the same; or the format can't
                carry a value (a line break in ``docker``, two .NET keys that differ in case alone) or a name (dashes
                and colons in ``env``, ``env-no-quotes`` and ``docker``). The message names the key, never the value.
        """
        renamed = rename(self._values, name_transformer)
        return render({name: renamed[name] for name in sorted(renamed)}, format)

    def revoke(self) -> None:
        """Revoke all leases now, at the same time. Doing it again is fine.

        Raises:
            RevocationError: Some could not be revoked. All were tried, and the attempts go on.
        """
        if self._engine is not None:
            revoke_all(self._engine, self._leases.values())

    def __getitem__(self, key: str) -> str:
        """Return one value by its name."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def __enter__(self) -> Self:
        """Return the secrets."""
        self._entered.append(os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Revoke all leases, but in a forked child. An error of the block is not masked by one of that.

        Raises:
            RevocationError: The block succeeded, and some leases could not be revoked.
        """
        if self._entered.pop() == os.getpid():
            run_cleanup(self.revoke, error, "Leases could not be revoked when the block ended: ")

    async def __aenter__(self) -> Self:
        """Return the secrets."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do what ``with`` does, while the event loop goes on; also when the task is cancelled while it waits."""
        await run_in_thread(partial(self.__exit__, kind, error, traceback))

    def __repr__(self) -> str:
        """Show what it is of and what is leased, and no value."""
        leased = ", ".join(f"{name} {lease.id}" for name, lease in self._leases.items()) or "no leases"
        return f"<Secrets of {self._title}: {len(self)} values, {leased}>"

    def __format__(self, spec: str) -> str:
        """Format what ``str()`` shows."""
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied."""
        msg = (
            f"the secrets of {self._title} can't be pickled or copied: they belong to the one that downloaded them; "
            "let each process download its own, or hand over env() deliberately"
        )
        raise TypeError(msg)
