"""The commands, each a module, in the order of the help."""

from __future__ import annotations

from typing import Final

from dynsecrets.cli.command import Listed

COMMANDS: Final = (
    Listed("run", "start a command with the secrets in its environment", "run"),
    Listed("secrets download", "lease, and write all values", "download"),
    Listed("leases", "list the leases that live", "leases"),
    Listed("revoke", "revoke leases now", "revoke"),
    Listed("reap", "revoke everything overdue or half-made", "reap"),
    Listed("verify", "prove that the integrations can lease", "verify"),
    Listed("policy", "print the IAM policy that an integration needs", "policy"),
    Listed("credential-process", "serve a profile of the AWS config file", "credential_process"),
)
#: The first words of commands of two, and what the help says of them.
GROUPS: Final = {"secrets": "write the secrets"}
