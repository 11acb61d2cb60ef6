"""Running the shell blocks of the documentation as they are printed, with the real AWS CLI, on an account of a test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from support.clients import aws_cli
from support.docs import blocks
from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The account and the region that the pages name.
ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"


class Reader:
    """Somebody who follows a page in a folder of their own: writes its files, and types its commands."""

    def __init__(self, page: str, folder: Path, environment: Mapping[str, str], *, account_id: str) -> None:
        self._page = ROOT / "docs" / page
        self._account_id = account_id
        self.folder = folder
        self.environment = dict(environment)
        for block in blocks(self._page):
            if block.file is not None:
                folder.joinpath(block.file).write_text(self.adapted(block.text), encoding="utf-8")
        self._programs = folder / "programs"
        self._programs.mkdir()
        self.program("aws", f'exec {shlex.join(aws_cli())} "$@"')
        self.program("python", f'exec {shlex.quote(sys.executable)} "$@"')

    def program(self, name: str, script: str) -> None:
        """Have a command of this name run a script of sh."""
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def adapted(self, text: str) -> str:
        """Return a text of the page for the account of the test."""
        return text.replace(ACCOUNT, self._account_id)

    def shell(self, *, having: str = "", without: str = "\0") -> str:
        """Type the shell blocks that have a text, and not another one; return what they print."""
        texts = [block.text for block in blocks(self._page, "sh") if having in block.text and without not in block.text]
        assert texts, f"{self._page.name} has no such block"
        return "".join(self.type(text) for text in texts)

    def type(self, text: str, *, answers: str = "") -> str:
        """Type commands, and answers to what they ask; return what they print."""
        path = os.pathsep.join((str(self._programs), os.environ["PATH"]))
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", self.adapted(text)],
            cwd=self.folder,
            env=clean_environment(**{"PATH": path, "AWS_PAGER": "", **self.environment}),
            input=answers,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, *having: str) -> str:
        """Run the Python blocks that have one of these texts; return what they print."""
        found = blocks(self._page, "python")
        texts = [block.text for block in found if block.file is None and any(text in block.text for text in having)]
        script = self.folder / "typed.py"
        script.write_text(self.adapted("".join(texts)), encoding="utf-8")
        self.environment["PYTHONPATH"] = str(ROOT)
        return self.type("python typed.py")
