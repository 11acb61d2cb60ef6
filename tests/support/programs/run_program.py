"""A program that runs a child, for tests to signal, stop and kill: it writes down how that ended.

    python run_program.py FOLDER OPTIONS COMMAND…

What it leases are files in ``FOLDER/things``. A file ``hold-provision`` or ``hold-revoke`` in the folder makes the step
wait until it is gone, ``fail-revoke`` makes it fail; ``provisioning`` and ``revoking`` appear when a step has begun.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsecrets import DynamicSecretConfig, DynsecretsError, Grant, LeaseManager, RevocationError, open_store
from dynsecrets.delivery.secrets_config import SecretsConfig
from support.world import FolderIntegration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

WATCHED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP, signal.SIGCONT]


class HeldFolder(FolderIntegration):
    """Things in a folder, which are made and deleted when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make a thing, with a key to it."""
        super().provision(plan, config, ttl)
        self._held("provision", "provisioning")
        values = {"ACCESS_KEY_ID": f"key-of-{plan['thing']}", "SECRET_ACCESS_KEY": f"made-up-{plan['thing']}"}
        return Grant(values, datetime.now(UTC) + ttl, plan)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete it."""
        self._held("revoke", "revoking")
        if (self._folder / "fail-revoke").exists():
            raise RevocationError("the folder is on strike")
        super().revoke(handle)

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Say that it doesn't work yet, however often it is asked."""
        (self._folder / "asked").touch()
        return False

    def _held(self, step: str, sign: str) -> None:
        (self._folder / sign).touch()
        while (self._folder / f"hold-{step}").exists():
            time.sleep(0.01)


def config_of(folder: Path, options: dict[str, Any]) -> tuple[SecretsConfig, HeldFolder]:
    """Return the config that is run, and what it leases from."""
    integration = HeldFolder(folder)
    manager = LeaseManager(open_store(f"sqlite:///{folder}/leases.db"), integrations=[integration])
    names = options.pop("names", ["AWS_USER"])
    wait = options.pop("wait", None)
    secrets = [DynamicSecretConfig(name, integration, wait=wait) for name in names]
    config = SecretsConfig("p", "e", "c", {"GREETING": "hello"}, secrets, manager=manager)
    return config, integration


def main() -> None:
    """Run the child; write down the rest."""
    folder, options, command = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    logging.basicConfig(filename=folder / "log", level=logging.INFO, format="%(levelname)s %(message)s")
    if options.pop("ignore", False):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    config, integration = config_of(folder, options)
    before = [signal.getsignal(signum) for signum in WATCHED]
    result: dict[str, Any] = {}

    def run() -> None:
        try:
            status = config.run(command, **options)
            result.update(status=int(status), reason=getattr(status, "reason", None))
        except DynsecretsError as error:
            result.update(error=type(error).__name__, message=str(error), status=getattr(error, "status", None))

    if options.pop("thread", False):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    result["live"] = sorted(integration.live())
    result["restored"] = before == [signal.getsignal(signum) for signum in WATCHED]
    if os.isatty(0):
        result["foreground"] = os.tcgetpgrp(0) == os.getpgrp()
    (folder / "result.new").write_text(json.dumps(result))
    (folder / "result.new").rename(folder / "result")
    # It waits for what was given up, too.
    config.manager.close(revoke=False)


if __name__ == "__main__":
    main()
