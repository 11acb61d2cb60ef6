"""How secrets are held: a box that shows itself masked, and text that prints masked but still is text.

``field(repr=False)`` would not do: pytest's diffs, ``attrs.asdict``, ``pickle`` and validators show such a field.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MASK: Final = "********"


class MaskedStr(str):
    """Text whose ``repr`` is masked; ``str()``, formatting, encoding and comparing see the text itself.

    A mapping that holds it can be printed, logged and compared in an assertion without showing it, and still be
    handed to ``os.environ``, ``json`` or boto3. What its own methods take out of it (a slice, ``split()``, ``strip()``,
    ``lower()``) is masked too. What is composed with it (``+``, ``join``, formatting, ``encode``) is plain: whoever
    builds a URL or a header means to use it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the mask."""
        return repr(MASK)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the characters, each masked."""
        return map(MaskedStr, super().__iter__())

    # What sentry-sdk asks for, of text too, before it walks an object.
    __sentry_repr__ = __repr__

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickle as plain text: whoever took it out of its lease decides where it goes."""
        return str, (str.__str__(self),)


def _masking(name: str) -> Callable[..., Any]:
    """Return a method of ``str`` whose results are masked."""
    method = getattr(str, name)

    @functools.wraps(method)
    def call(self: MaskedStr, *args: Any, **kwargs: Any) -> Any:
        return _masked(method(self, *args, **kwargs))

    return call


def _masked(result: Any) -> Any:
    if isinstance(result, list | tuple):
        return type(result)(map(_masked, result))
    return MaskedStr(result)


_PARTS: Final = (
    *("__getitem__", "split", "rsplit", "splitlines", "partition", "rpartition", "strip", "lstrip", "rstrip"),
    *("removeprefix", "removesuffix", "replace", "translate", "expandtabs", "center", "ljust", "rjust", "zfill"),
    *("lower", "upper", "casefold", "capitalize", "swapcase", "title"),
)
for _name in _PARTS:
    setattr(MaskedStr, _name, _masking(_name))


class Secret:
    """A box around one secret text. It shows itself masked and can't be pickled; :meth:`reveal` opens it."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        # Masked in here too: debuggers and ``inspect.getmembers`` look into slots.
        self.__text = MaskedStr(text)

    def reveal(self) -> MaskedStr:
        """Return the secret text."""
        return self.__text

    def __repr__(self) -> str:
        """Return the mask."""
        return f"Secret({MASK!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied."""
        msg = "a secret is revealed once and can't be pickled or copied"
        raise TypeError(msg)
