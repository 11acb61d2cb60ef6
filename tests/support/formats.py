"""The real readers of what is rendered: shells, YAML and .env readers of two languages, and Docker's own client."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from dotenv import dotenv_values
from hypothesis import strategies as st

from support.clients import NODE_MODULES, node

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Values that some reader or other is known to stumble over.
TABLE: Final = (
    "",
    " ",
    "  both ends  ",
    "\ttab\t",
    "plain",
    "two words",
    "it's",
    "'",
    "''",
    "'quoted'",
    '"',
    '""',
    '"quoted"',
    'it\'s "both"',
    "`",
    "`touch ran`",
    "$",
    "$HOME",
    "${HOME}",
    "${HOME:-x}",
    "${",
    "$(touch ran)",
    'it\'s $(touch ran) `touch ran` "$HOME" ${HOME}',
    "'; touch ran; '",
    "'\ntouch ran\n'",
    '"; touch ran; "',
    "$'\\n'",
    "!",
    "!!",
    "it's! !x",
    "\\",
    "\\\\",
    "ends with \\",
    "it's \\",
    "$ \\",
    "\\n \\t \\r \\0 \\x41 \\u0041 \\'",
    "\\\\n",
    "\\$HOME \\` \\\" \\'",
    "\\'\\",
    "line\nbreak",
    "\n",
    "\n\n",
    "ends with\n",
    "\nbegins",
    "continued \\\nhere",
    "it's $x\nADMIN=1\n",
    "a\nEVIL=1\nb",
    "carriage\rreturn",
    "\r",
    "both\r\nof them\r\n",
    "ends with\r",
    "=",
    "a=b=c",
    "=begins",
    "#",
    "# no comment",
    "a #no comment",
    "a: b",
    "- a",
    "{a: b}",
    "[a]",
    "%s %d {0}",
    "&amp; <b> | > ; ( ) * ? ~ ~root",
    "~",
    "null",
    "true",
    "NO",
    "1e3",
    "0755",
    "1:30",
    "2022-02-15",
    "...",
    "---",
    "\x01\x02\x07\x08\x0b\x0c\x1b[31m\x1f\x7f",
    "\x80\x85\x9f\xa0",
    "\u2028\u2029",
    "\ufeffbom",
    "naïve ü ß 日本語",
    "\U0001f600 \U0010ffff \uffff \ufffe",
    "e\u0301 \u202e\u200b",
    "x" * 5000,
    "-----BEGIN KEY-----\nMIIE/+=\n-----END KEY-----\n",
    '{"json": "in\\nside", "n": 1}',
    "postgres://u:p%40ss@h:5432/db?sslmode=require&x=$1",
)

_PIECES: Final = st.sampled_from(
    ["'", '"', "`", "$", "\\", "\n", "\r", "!", "#", "=", " ", "\t", "$(", ")", "${", "}", ":", "\\n", "''", "\x7f"]
)
_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")

#: Any value that an environment variable can hold.
texts: Final = st.lists(_PIECES | st.text(_CHARACTERS, max_size=5), max_size=8).map("".join)
#: Some of them under names that mean nothing to anyone.
value_maps: Final = st.lists(texts, min_size=1, max_size=12).map(
    lambda values: {f"KEY_{number:02}": value for number, value in enumerate(values)}
)


def named(values: tuple[str, ...] = TABLE) -> dict[str, str]:
    """Return values under names that mean nothing to anyone."""
    return {f"KEY_{number:02}": value for number, value in enumerate(values)}


def _shells() -> dict[str, list[str]]:
    """Return how to start each shell that is here."""
    known = {
        "sh": ["sh"],
        "dash": ["dash"],
        "bash": ["bash"],
        "bash as sh": ["bash", "--posix"],
        "zsh": ["zsh", "-f"],
        "ash": ["busybox", "ash"],
        "ksh": ["ksh"],
        "mksh": ["mksh"],
        "yash": ["yash"],
    }
    return {name: argv for name, argv in known.items() if shutil.which(argv[0]) is not None}


SHELLS: Final = _shells()
_PRINT_ENVIRONMENT: Final = (
    "import os, sys; sys.stdout.buffer.write(b'\\0'.join(k + b'=' + v for k, v in os.environb.items()))"
)


def source(shell: list[str], text: str, *, locale: str = "C.UTF-8") -> dict[str, str]:
    """Return what a shell exports after ``set -a; . file``. Fails if that runs, prints or writes anything."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "secrets.env")
        file.write_bytes(text.encode())
        script = 'set -a; . ./secrets.env; exec "$0" -I -S -c "$1"'
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": locale}
        done = subprocess.run(
            [*shell, "-c", script, sys.executable, _PRINT_ENVIRONMENT],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert list(Path(folder).iterdir()) == [file]
    found = dict(line.split(b"=", 1) for line in done.stdout.split(b"\0"))
    own = {*environment, "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "LOGNAME"}
    return {key.decode(): value.decode() for key, value in found.items() if key.decode() not in own}


def read_lines(shell: list[str], text: str) -> dict[str, str]:
    """Return what a shell's ``read`` makes of lines of ``KEY=value``."""
    script = 'while IFS= read -r line; do printf \'%s\\0%s\\0\' "${line%%=*}" "${line#*=}"; done'
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*shell, "-c", script], env=environment, input=text.encode(), capture_output=True, timeout=120, check=True
    )
    words = done.stdout.decode().split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))


def read_pyyaml(text: str) -> Any:
    """Return what PyYAML reads: YAML 1.1."""
    # It brings no types of its own.
    return import_module("yaml").safe_load(text)


def read_dotenv(text: str) -> dict[str, str | None]:
    """Return what python-dotenv reads."""
    return dict(dotenv_values(stream=io.StringIO(text), interpolate=False))


class NodeReaders:
    """js-yaml (YAML 1.2) and the npm dotenv, in one process of Node.js from ``with`` to its end."""

    _PROGRAM: Final = """
        const readers = { yaml: require("js-yaml").load, dotenv: require("dotenv").parse, json: JSON.parse };
        require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
            const [reader, text] = JSON.parse(line);
            // Lone surrogates and the like come back as they are: JSON.stringify escapes them.
            process.stdout.write(JSON.stringify(readers[reader](text)) + "\\n");
        });
    """

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [node(), "-e", self._PROGRAM],
            cwd=NODE_MODULES.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end."""
        self._process.communicate(timeout=120)

    def read(self, reader: str, text: str) -> Any:
        """Return what a reader reads."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([reader, text]) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


class DockerEngine:
    """What Docker's client takes for an engine: it catches what a container would be made with."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The name is the base class's.
                """Print nothing."""

            def do_POST(self) -> None:
                """Catch a container, and answer that there is no room for it."""
                engine.created.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer(507, b'{"message": "this is no engine"}')

            def do_HEAD(self) -> None:
                """Be there."""
                self._answer(200, b"")

            do_GET = do_HEAD

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Api-Version", "1.43")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def read(self, text: str) -> dict[str, str]:
        """Return the variables with which ``docker run --env-file`` would make a container."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "secrets.env")
            file.write_bytes(text.encode())
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": folder,
                "DOCKER_HOST": f"tcp://127.0.0.1:{self._server.server_port}",
            }
            self.created.clear()
            done = subprocess.run(
                ["docker", "run", "--env-file", os.fspath(file), "image"],  # noqa: S607  # Found by its name, as users do.
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
        assert "this is no engine" in done.stderr, done.stderr
        return dict(line.split("=", 1) for line in self.created[0]["Env"])


def read_dotnet(text: str) -> Mapping[str, str]:
    """Return what .NET's JSON configuration provider reads, keys in lower case; it refuses the same key twice."""
    keys: dict[str, str] = {}
    for key, value in json.loads(text, object_pairs_hook=list):
        assert keys.setdefault(key.lower(), value) is value, "A duplicate key was found"
    return keys
