"""A context manager around each call of a function, of whatever kind the function is."""

from __future__ import annotations

import functools
import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

T = TypeVar("T")

#: The parameter by which a function asks for its lease.
_PARAMETER = "lease"


class Block(Protocol):
    """A context manager of both kinds, each of whose entries gives one thing."""

    def __enter__(self) -> object:
        """Return the thing."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        ...

    def __aenter__(self) -> Awaitable[object]:
        """Return the thing, in a task."""
        ...

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        """End it, in a task."""
        ...


def decorate(function: Callable[..., T], context: Callable[[], Block]) -> Callable[..., T]:
    """Return a function that enters a context for each call, and passes the lease to whoever has a parameter for it.

    Coroutine functions enter it with ``async with``; generators, of both kinds, keep it until they end. Generators may
    be at work side by side, so each call has a context of its own.
    """
    signature = inspect.signature(function)
    parameter = signature.parameters.get(_PARAMETER)
    if parameter is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):

        def bind(*args: Any, **kwargs: Any) -> Callable[[object], Any]:
            return lambda _: function(*args, **kwargs)

        return cast("Callable[..., T]", functools.wraps(function)(_wrapper(function, context, bind)))

    # Callers, and pytest, must not think that it is theirs to give.
    kept = [other for name, other in signature.parameters.items() if name != _PARAMETER]
    public = signature.replace(parameters=kept)

    def bind_lease(*args: Any, **kwargs: Any) -> Callable[[object], Any]:
        bound = public.bind(*args, **kwargs)
        bound.apply_defaults()

        def call(leased: object) -> Any:
            # The lease may stand between positional parameters, of which the caller knows nothing.
            whole = inspect.BoundArguments(signature, {**bound.arguments, _PARAMETER: leased})
            return function(*whole.args, **whole.kwargs)

        return call

    wrapper = functools.wraps(function)(_wrapper(function, context, bind_lease))
    wrapper.__signature__ = public  # type: ignore[attr-defined]
    return cast("Callable[..., T]", wrapper)


def _wrapper(
    function: Callable[..., Any], context: Callable[[], Block], bind: Callable[..., Callable[[object], Any]]
) -> Callable[..., Any]:
    """Return a function of the same kind. ``bind`` takes its arguments, and returns what calls it with a lease."""
    if inspect.isasyncgenfunction(function):
        return _async_generator(context, bind)

    if inspect.iscoroutinefunction(function):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            call = bind(*args, **kwargs)
            async with context() as leased:
                return await call(leased)

        return coroutine

    if inspect.isgeneratorfunction(function):

        def generator(*args: Any, **kwargs: Any) -> Any:
            call = bind(*args, **kwargs)
            with context() as leased:
                return (yield from call(leased))

        return generator

    def plain(*args: Any, **kwargs: Any) -> Any:
        call = bind(*args, **kwargs)
        with context() as leased:
            return call(leased)

    return plain


def _async_generator(context: Callable[[], Block], bind: Callable[..., Callable[[object], Any]]) -> Callable[..., Any]:
    """Return an asynchronous generator function; there is no ``yield from`` for these."""

    async def async_generator(*args: Any, **kwargs: Any) -> Any:
        call = bind(*args, **kwargs)
        async with context() as leased, aclosing(call(leased)) as items:
            step = items.asend(None)
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    step = items.asend((yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = items.athrow(error)

    return async_generator
