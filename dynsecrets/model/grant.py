"""What integrations hand to the library: a grant, who they are, and what they found. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.masking import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_SUFFIX: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_RESERVED: Final = "LEASE_"


@attrs.frozen(kw_only=True)
class Identity:
    """Who an integration's credentials are.

    Attributes:
        account: The account's number or name.
        arn: The principal's ARN, or what stands for it at another third party.
        user_id: The principal's unique id.
    """

    account: str
    arn: str
    user_id: str


@attrs.frozen(kw_only=True)
class Found:
    """Something that an integration provisioned and that exists.

    Attributes:
        name: Its name, as ``name_of`` reads it out of a handle.
        handle: What ``revoke`` takes to revoke it.
        created_at: When it was made, an aware datetime by the third party's clock.
    """

    name: str
    handle: Mapping[str, str] = attrs.field(hash=False)
    created_at: datetime


def _check_ended(given: object) -> bool:
    if not isinstance(given, bool):
        raise InvalidConfig(f"ended {safe_repr(given)} is not accepted; give True or False")
    return given


def _check_again(given: datetime) -> datetime:
    return _moment(given, "again_at")


@attrs.frozen
class Remainder:
    """What ``Integration.revoke`` has left for later.

    Attributes:
        ended: ``True``: the third party refuses the credential from now on, and something of it is to be taken away
            later. ``False``: it can't be ended before ``again_at``, when it ends by itself.
        again_at: When ``revoke`` is to be called again, an aware datetime by the third party's clock.

    Raises:
        InvalidConfig: An argument is not as described.
    """

    ended: bool = attrs.field(converter=_check_ended)
    again_at: datetime = attrs.field(converter=_check_again)


def _check_values(values: Mapping[str, str]) -> Mapping[str, Secret]:
    if not values:
        raise InvalidConfig("a grant without values reveals nothing; give at least one, keyed by suffix")
    for suffix, value in values.items():
        if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix) or suffix.startswith(_RESERVED):
            raise InvalidConfig(
                f"a grant's values are keyed by suffix (upper-case letters, digits and underscores, not LEASE_…), "
                f"not {safe_repr(suffix)}"
            )
        if not isinstance(value, str) or "\0" in value:
            raise InvalidConfig(f"the value of {suffix} in a grant must be text without NUL characters")
    return MappingProxyType({suffix: Secret(value) for suffix, value in values.items()})


def _check_handle(handle: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in handle.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidConfig("a handle is a mapping of text to text: it is stored until the lease is revoked")
    return MappingProxyType(dict(handle))


def _moment(given: object, what: str) -> datetime:
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise InvalidConfig(f"{what} must be an aware datetime, not {safe_repr(given)}")
    return given.astimezone(UTC)


def _check_expiration(given: datetime) -> datetime:
    return _moment(given, "expires_at")


def _check_issue(given: datetime | None) -> datetime | None:
    return None if given is None else _moment(given, "issued_at")


@attrs.frozen(eq=False)
class Grant:
    """What ``Integration.provision`` made.

    Attributes:
        values: What is revealed once, keyed by suffix (``ACCESS_KEY_ID``); the library adds the ``NAME_`` and the
            ``LEASE_*`` keys.
        expires_at: The end of its life by the third party's clock, an aware datetime. It may be earlier than was asked
            for: then all that the library counts follows it. What is later than the TTL is cut to it.
        handle: What ``revoke`` needs. It is stored, so no secret may be in it: names, ids, and those values that the
            integration calls ``public_values``.
        age: How long ago, when ``provision`` returned, ``issued_at`` was read. ``None`` counts from the call of
            ``provision``, which can only end the lease too early.
        issued_at: The third party's time of creation, an aware datetime by its own clock, which the library learns that
            clock from. ``None`` where it isn't known: then ``service_time()`` or the local clock counts.

    Raises:
        InvalidConfig: A value, the handle or a date is not as described.
    """

    values: Mapping[str, Secret] = attrs.field(converter=_check_values)
    expires_at: datetime = attrs.field(converter=_check_expiration)
    handle: Mapping[str, str] = attrs.field(converter=_check_handle)
    age: timedelta | None = None
    issued_at: datetime | None = attrs.field(default=None, converter=_check_issue)

    def __attrs_post_init__(self) -> None:
        """Refuse a life that ends before it begins."""
        if self.issued_at is not None and self.issued_at >= self.expires_at:
            raise InvalidConfig("the expires_at of a grant must be later than its issued_at")

    def check_handle(self, public_values: Collection[str]) -> None:
        """Refuse a handle that would carry a secret into the store.

        Args:
            public_values: The suffixes of the values that may stand in it.

        Raises:
            InvalidConfig: The value of another suffix stands in the handle.
        """
        for suffix, secret in self.values.items():
            text = secret.reveal()
            if suffix not in public_values and text and text in self.handle.values():
                raise InvalidConfig(
                    f"the handle of a grant holds the value of {suffix}; handles are stored, so leave it out, or name "
                    f"{suffix} among the integration's public_values if it is not a secret"
                )
