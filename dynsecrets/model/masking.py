"""How secrets are held: a box that shows itself masked, and text that prints masked but still is text.

``field(repr=False)`` would not do: pytest's diffs, ``attrs.asdict``, ``pickle`` and validators show such a field.
"""

from __future__ import annotations

from typing import Final, NoReturn

MASK: Final = "********"


class MaskedStr(str):
    """Text whose ``repr`` is masked; ``str()``, formatting, encoding and comparing see the text itself.

    A mapping that holds it can be printed, logged and compared in an assertion without showing it, and still be
    handed to ``os.environ``, ``json`` or boto3.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the mask."""
        return repr(MASK)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickle as plain text: whoever took it out of its lease decides where it goes."""
        return str, (str.__str__(self),)


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
