"""The commands, each a module, in the order of the help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets.cli.commands import credential_process, download, leases, policy, reap, revoke, run, verify

if TYPE_CHECKING:
    from dynsecrets.cli.command import Command

COMMANDS: Final[tuple[Command, ...]] = (
    run.COMMAND,
    download.COMMAND,
    leases.COMMAND,
    revoke.COMMAND,
    reap.COMMAND,
    verify.COMMAND,
    policy.COMMAND,
    credential_process.COMMAND,
)
#: The first words of commands of two, and what the help says of them.
GROUPS: Final = {"secrets": "write the secrets"}
