"""``run``: ``SecretsConfig.run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsecrets.cli.errors import FAILED, UsageError
from dynsecrets.cli.interrupts import leave
from dynsecrets.errors import RevocationError

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console


def run(console: Console) -> int:
    """Start a command with the values in its environment; return its exit status."""
    options = console.options
    if not console.child:
        hint = f" (--aws took {options.aws}; write --aws -- CMD)" if isinstance(options.aws, str) else ""
        raise UsageError(f"give the command to start, like: dynsecrets run -- printenv{hint}", "run")
    preserve: bool | list[str] = options.preserve_env is True
    if isinstance(options.preserve_env, str):
        preserve = [name for name in options.preserve_env.split(",") if name]
    with console.project() as project:
        if isinstance(options.aws, str):
            project.dynamic_secret(options.aws)
        config = project.secrets_config
        # From then on the terminal is the command's.
        waited = {secret.name: "usable" if secret.wait else "issued" for secret in config.dynamic_secrets}
        console.progress.wait_for(waited)
        try:
            return config.run(
                console.child,
                dynamic_ttl=options.dynamic_ttl,
                preserve_env=preserve,
                aws=options.aws,
                renew=options.renew,
            )
        except RevocationError as error:
            # The command has ended, and its own failure says more.
            status = getattr(error, "status", 0)
            if not status and not getattr(error, "given_up", False):
                raise
            console.report(error)
            if getattr(error, "given_up", False):
                leave(int(status) or FAILED)
            return int(status)
