"""What the six formats hold comes back from their real readers exactly as it was, or is refused by its key."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings

from dynsecrets.delivery.formats import FORMATS, render
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.masking import MASK
from support.formats import (
    SHELLS,
    TABLE,
    DockerEngine,
    NodeReaders,
    named,
    read_dotenv,
    read_dotnet,
    read_lines,
    read_pyyaml,
    source,
    value_maps,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_docker = pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker client here")


@pytest.fixture(scope="module")
def nodejs() -> Iterator[NodeReaders]:
    """The readers that are written in JavaScript."""
    with NodeReaders() as readers:
        yield readers


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerEngine]:
    """Docker's client, and something that it takes for an engine."""
    with DockerEngine() as engine:
        yield engine


def carried(values: dict[str, str], format: str) -> dict[str, str]:  # noqa: A002  # As in the library.
    """Return those of some values that a format takes."""
    kept = {}
    for key, value in values.items():
        try:
            render({key: value}, format)
        except InvalidConfig:
            continue
        kept[key] = value
    return kept


@pytest.mark.parametrize("format", FORMATS)
def test_text_ends_with_one_line_break_and_is_masked(format: str) -> None:  # noqa: A002  # As above.
    """The text ends with exactly one line break, even after a value that is empty, and its repr shows nothing."""
    text = render({"KEY": "value", "LAST": ""}, format)

    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\r" not in text
    assert repr(text) == repr(MASK)


@pytest.mark.parametrize("format", ["json", "yaml", "dotnet-json"])
@given(values=value_maps)
def test_text_is_ascii_where_it_can_be(values: dict[str, str], format: str) -> None:  # noqa: A002  # As above.
    """No terminal, pipe or code page can damage what is printed as JSON or YAML."""
    assert render(values, format).isascii()


@given(values=value_maps)
@example(values=named())
def test_json_is_read_back(values: dict[str, str]) -> None:
    """Python's json reads the values."""
    assert json.loads(render(values, "json")) == values


@given(values=value_maps)
@example(values=named())
def test_yaml_is_read_back(nodejs: NodeReaders, values: dict[str, str]) -> None:
    """PyYAML (YAML 1.1) and js-yaml (YAML 1.2) read the values, as text; js, being UTF-16, reads JSON's too."""
    text = render(values, "yaml")

    assert read_pyyaml(text) == values
    assert nodejs.read("yaml", text) == values
    assert nodejs.read("json", render(values, "json")) == values


@pytest.mark.parametrize("key", ["NO", "Y", "n", "on", "Off", "true", "NULL", "null", "_", "e1", "Yes", "x" * 1022])
def test_yaml_keys_stay_text(nodejs: NodeReaders, key: str) -> None:
    """Names that mean something else to one version of YAML are read as names by both."""
    text = render({key: "x"}, "yaml")

    assert read_pyyaml(text) == {key: "x"}
    assert nodejs.read("yaml", text) == {key: "x"}


def test_yaml_refuses_a_key_that_it_would_not_read() -> None:
    """YAML's keys end within 1024 characters, quotes included."""
    with pytest.raises(InvalidConfig, match=r"^x{1023} can't be written as yaml: it is a name of more than 1022"):
        render({"x" * 1023: "value"}, "yaml")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("shell", SHELLS)
def test_env_is_sourced(shell: str, locale: str) -> None:
    """Each shell exports the values of the table exactly, whatever its locale; nothing is run, printed or written."""
    assert source(SHELLS[shell], render(named(), "env"), locale=locale) == named()


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25)
@given(values=value_maps)
def test_env_is_sourced_whatever_it_holds(shell: str, values: dict[str, str]) -> None:
    """Each shell exports any values exactly."""
    assert source(SHELLS[shell], render(values, "env")) == values


@pytest.mark.skipif("bash" not in SHELLS, reason="there is no bash here")
def test_env_is_sourced_at_a_prompt() -> None:
    """An interactive bash, which expands ``!`` in what is typed, doesn't in what it sources."""
    script = 'set -H; . /dev/fd/3; printf "%s|%s" "$A" "$B"\n'
    read_end, write_end = os.pipe()
    os.write(write_end, render({"A": "it's !x !!", "B": "!x $y '"}, "env").encode())
    os.close(write_end)

    done = subprocess.run(
        ["bash", "--norc", "-i", "-c", script.replace("/dev/fd/3", f"/dev/fd/{read_end}")],  # noqa: S607  # As users do.
        pass_fds=[read_end],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    os.close(read_end)

    assert done.stdout == "it's !x !!|!x $y '"


def shell_variables() -> set[str]:
    """Return the names of all variables that dash and bash have of their own."""
    names = {"BASH_ARGV0", "OPTARG", "OPTERR", "MAPFILE", "COPROC", "POSIXLY_CORRECT", "TMOUT", "BASH_ENV", "HISTFILE"}
    for shell, script in (("bash", "compgen -v"), ("dash", "set"), ("sh", "set")):
        if shell in SHELLS:
            done = subprocess.run([shell, "-c", script], capture_output=True, encoding="utf-8", check=True)
            names |= set(re.findall(r"(?m)^([A-Za-z_][A-Za-z0-9_]*)(?:=|$)", done.stdout))
    return names - {"PWD", "OLDPWD", "HOME", "PATH", "LC_ALL"}


@pytest.mark.parametrize("shell", sorted(SHELLS.keys() & {"sh", "dash", "bash", "bash as sh"}))
def test_env_refuses_names_that_shells_keep_for_themselves(shell: str) -> None:
    """Of all variables that dash and bash have of their own, each is refused, or is what the file says afterwards."""
    taken = carried(dict.fromkeys(sorted(shell_variables()), "it's, 5 of x"), "env")

    assert "UID" not in taken
    assert "IFS" in taken
    assert source(SHELLS[shell], render({**taken, "ZZZ": "last"}, "env")) == {**taken, "ZZZ": "last"}


def test_env_says_which_name_it_refuses() -> None:
    """The error names the variable, and formats that can carry it."""
    with pytest.raises(InvalidConfig, match=r"^UID can't be written as env: .* shells keep .* \(json, yaml\)$"):
        render({"UID": "value"}, "env")


def serves_python_dotenv(value: str) -> bool:
    """Tell whether some spelling is the same to a shell and to python-dotenv."""
    in_single_quotes = "'" not in value and "\\\\" not in value and not value.endswith("\\")
    return in_single_quotes or not re.search(r"[$`]", value)


@given(values=value_maps)
@example(values=named())
def test_env_is_read_by_python_dotenv_or_dropped(values: dict[str, str]) -> None:
    """python-dotenv reads what one spelling serves, drops the rest, and never reads anything else."""
    found = read_dotenv(render(values, "env"))

    assert found == {key: value for key, value in values.items() if serves_python_dotenv(value)}


@given(values=value_maps)
@example(values=named())
def test_env_is_read_by_the_npm_dotenv(nodejs: NodeReaders, values: dict[str, str]) -> None:
    """The npm dotenv reads what is in single quotes, but for carriage returns, which it never keeps."""
    plain = {key: value for key, value in values.items() if not re.search(r"['\r]|\\\\|\\\Z", value)}

    assert nodejs.read("dotenv", render({"FIRST": "x", **plain}, "env")) == {"FIRST": "x", **plain}


@needs_docker
def test_docker_reads_the_table(docker: DockerEngine) -> None:
    """Docker's own client gives a container all values that the format takes, quotes and blanks included."""
    taken = carried(named(), "docker")

    assert docker.read(render(taken, "docker")) == taken
    assert {'"quoted"', "'", "  both ends  ", "# no comment", "$HOME", "carriage\rreturn"} <= set(taken.values())


@needs_docker
@settings(max_examples=25)
@given(values=value_maps)
def test_docker_reads_whatever_it_takes(docker: DockerEngine, values: dict[str, str]) -> None:
    """Docker's own client reads any values that the format takes."""
    taken = {**carried(values, "docker"), "LAST": "x"}

    assert docker.read(render(taken, "docker")) == taken


@needs_docker
def test_docker_reads_the_longest_line(docker: DockerEngine) -> None:
    """A line that is as long as Docker reads is taken, and one that is a byte longer is not."""
    longest = {"A": "x" * (65535 - len("A=")), "B": "y"}

    assert docker.read(render(longest, "docker")) == longest
    with pytest.raises(InvalidConfig, match=r"^A can't be written as docker: it makes a line longer than the 64 KiB"):
        render({"A": longest["A"] + "x"}, "docker")


@pytest.mark.parametrize(
    ("format", "value", "why"),
    [
        ("docker", "canary\nvalue", "it has a line break, and Docker reads such files line by line"),
        ("docker", "canary\r", "it ends with a carriage return, which Docker drops"),
        ("env-no-quotes", "canary\nvalue", "it has a line break, which would end it"),
        ("env-no-quotes", "canary\rvalue", "it has a line break, which would end it"),
    ],
)
def test_what_a_line_cannot_carry_is_refused(format: str, value: str, why: str) -> None:  # noqa: A002  # As above.
    """The error names the key, the reason and other formats, and not the value."""
    with pytest.raises(InvalidConfig) as caught:
        render({"GOOD": "x", "BAD_KEY": value}, format)

    assert str(caught.value).startswith(f"BAD_KEY can't be written as {format}: {why}")
    assert str(caught.value).endswith("leave it out, or use another format (env, json, yaml)")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("shell", sorted(SHELLS.keys() & {"sh", "dash", "bash", "zsh", "ash"}))
def test_lines_without_quotes_are_read(shell: str) -> None:
    """``IFS= read -r`` finds each value behind the first equals sign, with nothing added or lost."""
    taken = carried(named(), "env-no-quotes")

    assert read_lines(SHELLS[shell], render(taken, "env-no-quotes")) == taken
    assert {'"quoted"', "a=b=c", "  both ends  ", "# no comment", "$(touch ran)"} <= set(taken.values())


@given(values=value_maps)
def test_lines_without_quotes_are_the_values(values: dict[str, str]) -> None:
    """Whoever ends lines at line feeds or carriage returns, and keys at the first equals sign, has the values."""
    taken = carried(values, "env-no-quotes")
    text = render(taken, "env-no-quotes")

    lines = re.split(r"\r\n|\r|\n", text)

    assert dict(line.split("=", 1) for line in lines[:-1]) == taken
    assert set(values.values()) - set(taken.values()) == {
        value for value in values.values() if "\n" in value or "\r" in value
    }


def test_dotnet_keys() -> None:
    """Two underscores separate .NET's sections, as they do in the environment; everything else stays as it is."""
    values = {
        "DATABASE__CONNECTION_STRING": "a",
        "Logging__LogLevel__Default": "b",
        "A": "c",
        "A__B": "d",
        "A___C": "e",
    }

    flat = json.loads(render(values, "dotnet-json"))

    assert flat == {
        "DATABASE:CONNECTION_STRING": "a",
        "Logging:LogLevel:Default": "b",
        "A": "c",
        "A:B": "d",
        "A:_C": "e",
    }


@given(values=value_maps)
@example(values=named())
def test_dotnet_values_are_read_back(values: dict[str, str]) -> None:
    """Under its flat key each value is there."""
    assert read_dotnet(render(values, "dotnet-json")) == {key.lower(): value for key, value in values.items()}


@pytest.mark.parametrize(("one", "other"), [("Db__Host", "DB__HOST"), ("a", "A")])
def test_dotnet_keys_alike_but_for_case_are_refused(one: str, other: str) -> None:
    """.NET would take two such keys for one: the error names both."""
    with pytest.raises(InvalidConfig, match=rf"^{other} can't be written as dotnet-json: it is the same as {one} to"):
        render({one: "canary", other: "canary"}, "dotnet-json")


@pytest.mark.parametrize("format", FORMATS)
def test_half_a_surrogate_pair_is_refused(format: str) -> None:  # noqa: A002  # As above.
    """What no UTF-8 can hold is refused by its key, wherever it came from, and stands in no error of the chain."""
    with pytest.raises(InvalidConfig, match=r"^BAD_KEY can't be written as .*surrogate") as caught:
        render({"BAD_KEY": "canary \udc80"}, format)

    assert caught.value.__context__ is None
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("jso", r"format 'jso' is not known; did you mean json\?"),
        ("dotenv", r"format 'dotenv' is not known; did you mean env\?"),
        ("JSON", r"format 'JSON' is not known; did you mean json\?"),
        ("env_no_quotes", r"format 'env_no_quotes' is not known; did you mean env-no-quotes\?"),
        ("xml", r"format 'xml' is not known; there is json, env, env-no-quotes, yaml, docker, dotnet-json"),
        ("toml", r"format 'toml' is not known"),
        ("", r"format '' is not known; there is json, "),
        (None, r"format None is not known; there is json, "),
        (["json"], r"format of type list is not known; there is json, "),
    ],
)
def test_an_unknown_format_is_refused(given: object, shown: str) -> None:
    """The error quotes what was given, and names the nearest of the formats, or all of them where none is near."""
    with pytest.raises(InvalidConfig, match=shown):
        render({}, given)  # type: ignore[arg-type]


def test_the_table_is_worth_it() -> None:
    """The table has no value twice, and none that no variable can hold."""
    assert len(set(TABLE)) == len(TABLE)
    assert not any("\0" in value for value in TABLE)
