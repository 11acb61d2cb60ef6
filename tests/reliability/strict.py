"""What IAM does and moto doesn't: it refuses to delete a user while anything hangs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from support.proxy import Call, Proxy

#: Beside keys and policies, which are looked for in any case.
MORE: Final = (
    ("list_attached_user_policies", "AttachedPolicies"),
    ("list_groups_for_user", "Groups"),
    ("list_mfa_devices", "MFADevices"),
    ("list_ssh_public_keys", "SSHPublicKeys"),
    ("list_signing_certificates", "Certificates"),
)
_BASIC: Final = (("list_access_keys", "AccessKeyMetadata"), ("list_user_policies", "PolicyNames"))
_MESSAGE: Final = "Cannot delete entity, must remove everything from it first."


class Strictness:
    """Has proxies answer DeleteConflict as IAM does; with ``more`` for all that can hang on a user."""

    def __init__(self, iam: Any, *, more: bool = False) -> None:
        """Judge by what a client of an account's administrator sees there."""
        self._iam = iam
        self._more = more

    def rule(self, proxy: Proxy) -> None:
        """Make a proxy strict, until it is cleared."""
        conflict = ("DeleteConflict", 409)
        proxy.fail("DeleteUser", conflict, times=None, message=_MESSAGE, when=self._carries_something)

    def _carries_something(self, call: Call) -> bool:
        kinds = (*_BASIC, *MORE) if self._more else _BASIC
        try:
            if any(getattr(self._iam, lister)(UserName=call.user_name)[member] for lister, member in kinds):
                return True
            return self._more and _has_login_profile(self._iam, call.user_name)
        except self._iam.exceptions.NoSuchEntityException:
            return False


def _has_login_profile(iam: Any, user_name: str | None) -> bool:
    try:
        iam.get_login_profile(UserName=user_name)
    except iam.exceptions.NoSuchEntityException:
        return False
    return True
