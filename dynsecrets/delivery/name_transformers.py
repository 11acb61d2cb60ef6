"""Names as those who read them spell them: camel case, Terraform's, .NET's. Pure.

A name is taken for words in upper case with underscores between them; a word that has lower-case letters already
keeps its letters, but for the first one.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def rename(values: Mapping[str, _T], transformer: str | None) -> dict[str, _T]:
    """Return values under the names that a transformer gives them.

    Args:
        values: The values by name; their order is kept.
        transformer: One of :data:`NAME_TRANSFORMERS`; ``None`` keeps the names.

    Raises:
        InvalidConfig: The transformer is not known, or gives two values the same name.
    """
    if transformer is None:
        return dict(values)
    transform = _TRANSFORMERS.get(transformer) if isinstance(transformer, str) else None
    if transform is None:
        near = did_you_mean(transformer if isinstance(transformer, str) else "", NAME_TRANSFORMERS)
        raise InvalidConfig(f"name transformer {safe_repr(transformer)} is not known{near}")
    origins: dict[str, str] = {}
    for name in values:
        new = transform(name)
        other = origins.setdefault(new, name)
        if other != name:
            raise InvalidConfig(f"{transformer} makes {new} of both {other} and {name}; rename one of them")
    return {new: values[name] for new, name in origins.items()}


def rename_variables(values: Mapping[str, _T], *, transformer: str | None) -> dict[str, _T]:
    """Return values as :func:`rename` does, and raise ``InvalidConfig`` where a child's environment can't have one."""
    renamed = rename(values, transformer)
    for name in renamed:
        check_variable(name, "a child")
    return renamed


def check_variable(name: str, what: str) -> None:
    """Raise ``InvalidConfig`` unless a name can be that of an environment variable; ``what`` is what needs it to be."""
    if not _VARIABLE.fullmatch(name):
        raise InvalidConfig(
            f"{safe_repr(name)} can't be the name of an environment variable, which {what} needs; "
            "use another name transformer, or none"
        )


def _upper_camel(name: str) -> str:
    words = filter(None, name.split("_"))
    return "".join(word.capitalize() if word.upper() == word else word[0].upper() + word[1:] for word in words) or name


def _camel(name: str) -> str:
    first, _, rest = name.strip("_").partition("_")
    small = first.lower() if first.upper() == first else first[:1].lower() + first[1:]
    return (small + _upper_camel(rest)) or name


def _dotnet(name: str, separator: str = ":") -> str:
    return separator.join(map(_upper_camel, name.split("__")))


_TRANSFORMERS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "camel": _camel,
        "upper-camel": _upper_camel,
        "lower-snake": str.lower,
        "lower-kebab": lambda name: name.lower().replace("_", "-"),
        "tf-var": lambda name: f"TF_VAR_{name.lower()}",
        "dotnet": _dotnet,
        "dotnet-env": lambda name: _dotnet(name, "__"),
    }
)

#: The names of the transformers.
NAME_TRANSFORMERS: Final = tuple(_TRANSFORMERS)
