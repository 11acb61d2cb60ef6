"""Every way in which an object is commonly made visible, so that tests can look for a secret in all of them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import io
import json
import logging
import logging.handlers
import pickle
import pprint
import reprlib
import sys
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define
class _Holder:
    """An attrs class of somebody's program."""

    thing: object


@dataclasses.dataclass
class _Data:
    """A dataclass of somebody's program."""

    thing: object


def _logged(thing: object) -> str:
    """Log the thing in the usual ways and return what a handler writes, and what one that sends records would send."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("showing")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [handler]
    log.info(thing)
    log.info("%s", thing)
    log.info("%r %s", thing, [thing])
    log.info("extra", extra={"thing": thing})
    log.error("failed with %s", thing, exc_info=ValueError(thing))
    record = log.makeRecord("showing", logging.INFO, __file__, 1, "sent: %s", (thing,), None, extra={})
    sent = logging.handlers.SocketHandler("localhost", 0).makePickle(record).decode("latin-1")
    return stream.getvalue() + sent


def _fail(thing: object) -> NoReturn:
    """Raise an error about the thing."""
    raise RuntimeError("something went wrong", thing)


def _raised(thing: object, *, locals_too: bool) -> str:
    """Return the traceback of an error about the thing, whose frames hold it."""
    try:
        _fail(thing)
    except RuntimeError as error:
        error.add_note(f"{thing}")
        shown = traceback.TracebackException.from_exception(error, capture_locals=locals_too)
        return "".join(shown.format())


def _printed(thing: object) -> str:
    """Return what print, the interactive prompt and a failed key lookup show."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        print(thing, [thing])  # It is what is looked at.
        sys.displayhook(thing)
        try:
            dict[object, object]()[thing]
        except (KeyError, TypeError):
            traceback.print_exc()
    return stream.getvalue()


def _tracked(thing: Any) -> str:
    """Return what an error tracker sends: sentry-sdk asks an object's class first, and walks mappings else."""
    own = getattr(type(thing), "__sentry_repr__", None)
    if callable(own):
        return str(own(thing))
    if isinstance(thing, Mapping):
        return "".join(f"{key}: {_tracked(value)}" for key, value in thing.items())
    if isinstance(thing, list | tuple):
        return "".join(map(_tracked, thing))
    return thing if isinstance(thing, str) else repr(thing)


#: Ways that make a ``repr`` or hold the object in something else. Even text that must stay text can be safe in these.
INSIDE: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "repr": repr,
        "!r": lambda thing: f"{thing!r}",
        "ascii": ascii,
        "%r": lambda thing: "%r" % (thing,),  # noqa: UP031  # One of the ways.
        "list": lambda thing: f"{[thing]} {(thing,)}",
        "dict": lambda thing: f"{ {'key': thing} } {MappingProxyType({'key': thing})}",
        "pprint": lambda thing: pprint.pformat(thing) + pprint.pformat({"key": [thing]}, width=1),
        "reprlib": lambda thing: reprlib.repr(thing) + reprlib.repr([thing]),
        "attrs": lambda thing: repr(_Holder(thing)),
        "attrs.asdict": lambda thing: repr(attrs.asdict(_Holder([thing]))),
        "attrs.astuple": lambda thing: repr(attrs.astuple(_Holder({"key": thing}))),
        "dataclass": lambda thing: repr(_Data(thing)),
        "error tracker": lambda thing: _tracked(thing) + _tracked({"extra": [thing]}),
        "log record": lambda thing: repr(logging.makeLogRecord({"msg": "%s", "args": (thing,)}).__dict__),
    }
)

#: All the ways.
WAYS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        **INSIDE,
        "str": str,
        "format": lambda thing: format(thing) + f"{thing} {thing!s}",
        "format with a width": lambda thing: f"{thing:>200}",
        "%s": lambda thing: "%s" % thing,  # noqa: UP031  # A mapping on the right is special.
        "str.format": "{0} {0!r}".format,
        "print": _printed,
        "logging": _logged,
        "traceback": lambda thing: _raised(thing, locals_too=False),
        "traceback with locals": lambda thing: _raised(thing, locals_too=True),
        "json": lambda thing: json.dumps({"key": thing}, default=str),
        "vars": lambda thing: repr(vars(thing)),
        "members": lambda thing: repr(inspect.getmembers(thing)),
        "state": lambda thing: repr(thing.__getstate__()),
        "pickle": lambda thing: "".join(repr(pickle.dumps(thing, protocol)) for protocol in range(6)),
        "pickle in a list": lambda thing: repr(pickle.dumps([thing])),
        "copy": lambda thing: repr(copy.copy(thing)),
        "deepcopy": lambda thing: repr(copy.deepcopy([thing])),
        "dataclasses.asdict": lambda thing: repr(dataclasses.asdict(_Data(thing))),
        "attrs.asdict of itself": lambda thing: repr(attrs.asdict(thing)),
    }
)


def show(way: Callable[[Any], str], thing: object) -> str:
    """Return what a way shows of a thing; where the thing refuses, what the refusal shows."""
    try:
        return way(thing)
    except Exception:  # A refusal is shown like any other.
        return traceback.format_exc()
