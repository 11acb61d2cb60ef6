"""``@lease(...)`` on functions of all kinds: a lease for each call."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import InvalidConfig, Lease, ProvisionError, lease
from support.fakes import PATIENCE_S
from support.world import World, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from dynsecrets.leasing.lease_context import LeaseContext


@pytest.fixture(name="leased")
def leased_fixture(world: World) -> LeaseContext:
    """What decorates: a context of the world's config."""
    return lease(world.config(), manager=world.manager)


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def _functions(world: World) -> dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]]:
    """Return a function of each kind, which tells of its lease, and how to get at what it tells."""

    def plain(lease: Lease) -> list[Lease]:
        assert lease.check()
        return [lease]

    def generator(lease: Lease) -> Iterator[Lease]:
        yield lease
        assert lease.check()

    async def coroutine(lease: Lease) -> list[Lease]:
        await asyncio.sleep(0)
        assert lease.check()
        return [lease]

    async def async_generator(lease: Lease) -> AsyncIterator[Lease]:
        yield lease
        await asyncio.sleep(0)
        assert lease.check()

    return {
        "plain": (plain, list),
        "generator": (generator, list),
        "coroutine": (coroutine, asyncio.run),
        "async generator": (async_generator, lambda items: asyncio.run(_all(items))),
    }


_KINDS = ("plain", "generator", "coroutine", "async generator")


@pytest.mark.parametrize("kind", _KINDS)
def test_each_call_has_a_lease(world: World, leased: LeaseContext, kind: str) -> None:
    """A function of whatever kind has a lease of its own for each call, which is gone after that."""
    function, get = _functions(world)[kind]
    decorated = leased(function)

    (first,), (second,) = get(decorated()), get(decorated())

    assert first.id != second.id
    assert first.revoked
    assert second.revoked
    assert world.integration.live == {}


@pytest.mark.parametrize("kind", _KINDS)
def test_the_kind_stays(world: World, leased: LeaseContext, kind: str) -> None:
    """What is decorated is still of its kind, with its name, module and documentation, for frameworks that look."""
    function, _ = _functions(world)[kind]
    decorated = leased(function)

    for look in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert look(decorated) == look(function)
    assert (decorated.__name__, decorated.__module__) == (function.__name__, function.__module__)
    assert list(inspect.signature(decorated).parameters) == []


@pytest.mark.parametrize("kind", _KINDS)
def test_a_lease_that_cannot_be_had_calls_nobody(world: World, leased: LeaseContext, kind: str) -> None:
    """Where no lease can be had the function isn't called, and the next call starts afresh."""
    function, get = _functions(world)[kind]
    decorated = leased(function)
    world.integration.fail("provision", ProvisionError("no"))

    with pytest.raises(ProvisionError):
        get(decorated())

    assert len(get(decorated())) == 1
    assert world.integration.live == {}


def test_functions_need_not_ask(world: World, leased: LeaseContext) -> None:
    """A function without a parameter for it has a lease all the same, and its arguments and result as ever."""

    @leased
    def add(a: int, b: int = 2, *rest: int, c: int, **more: int) -> tuple[int, ...]:
        """Add."""
        assert len(world.integration.live) == 1
        return (a, b, *rest, c, *more.values())

    assert add(1, c=3) == (1, 2, 3)
    assert add(1, 5, 6, 7, c=3, d=9) == (1, 5, 6, 7, 3, 9)
    assert add.__doc__ == "Add."
    assert list(inspect.signature(add).parameters) == ["a", "b", "rest", "c", "more"]


def _first(lease: Lease, a: int, b: int = 2) -> tuple[Any, ...]:
    return lease, a, b


def _middle(a: int, lease: Lease, b: int = 2) -> tuple[Any, ...]:
    return lease, a, b


def _last(a: int, b: int = 2, lease: Lease | None = None) -> tuple[Any, ...]:
    return lease, a, b


def _by_name(a: int, b: int = 2, *, lease: Lease) -> tuple[Any, ...]:
    return lease, a, b


def _by_place(a: int, b: int = 2, lease: Lease | None = None, /) -> tuple[Any, ...]:
    return lease, a, b


_ARGUMENTS: list[tuple[tuple[int, ...], dict[str, int]]] = [((1,), {}), ((1, 3), {}), ((), {"a": 1}), ((1,), {"b": 3})]


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        *((function, *given) for function in (_first, _middle, _last, _by_name) for given in _ARGUMENTS),
        # Its parameters have no names.
        *((_by_place, *given) for given in _ARGUMENTS[:2]),
    ],
)
def test_the_lease_may_stand_anywhere(
    leased: LeaseContext, function: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    """Wherever the parameter stands, callers give the other arguments as if it weren't there."""
    decorated = leased(function)

    got, *rest = decorated(*args, **kwargs)

    assert isinstance(got, Lease)
    assert rest == [1, 3 if 3 in (*args, *kwargs.values()) else 2]
    assert list(inspect.signature(decorated).parameters) == ["a", "b"]


def test_open_arguments_are_passed_on(leased: LeaseContext) -> None:
    """A function that takes whatever comes gets it, beside its lease."""

    @leased
    def work(lease: Lease, *args: int, **kwargs: int) -> tuple[Any, ...]:
        return isinstance(lease, Lease), args, kwargs

    assert work(1, 2, x=3) == (True, (1, 2), {"x": 3})


def test_a_parameter_for_all_the_rest_is_not_for_the_lease(leased: LeaseContext) -> None:
    """Parameters that collect what comes don't ask for a lease by being called so."""

    @leased
    def work(*lease: int) -> tuple[int, ...]:
        return lease

    assert work(1, 2) == (1, 2)


def test_wrong_arguments_lease_nothing(world: World, leased: LeaseContext) -> None:
    """A call that doesn't fit the function is a ``TypeError`` before anything is leased."""

    @leased
    def work(lease: Lease, a: int) -> None:
        pytest.fail("the function was called")

    for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"b": 2})):
        with pytest.raises(TypeError):
            work(*args, **kwargs)

    assert world.integration.calls == []


def test_methods_are_functions(world: World, leased: LeaseContext) -> None:
    """Methods, class methods and static methods can be decorated, below their own decorator."""

    class Job:
        kind = "job"

        def __init__(self) -> None:
            self.seen: list[Lease] = []

        @leased
        def run(self, number: int, lease: Lease) -> int:
            self.seen.append(lease)
            return number

        @classmethod
        @leased
        def of_class(cls, lease: Lease) -> str:
            return cls.kind if lease.is_valid() else ""

        @staticmethod
        @leased
        def static(lease: Lease) -> bool:
            return lease.is_valid()

    job = Job()

    assert job.run(5) == 5
    assert job.seen[0].revoked
    assert Job.of_class() == "job"
    assert Job.static()
    assert world.integration.count("provision") == 3


def test_one_context_decorates_many(leased: LeaseContext) -> None:
    """A context is a decorator of any number of functions, and still a context."""
    one, two = leased(_by_name), leased(_last)

    with leased as own:
        (first, *_), (second, *_) = one(1), two(1)

    assert len({own.id, first.id, second.id}) == 3


def test_recursion_nests(world: World, leased: LeaseContext) -> None:
    """A decorated function that calls itself has a lease for each call."""

    @leased
    def count(n: int, lease: Lease) -> int:
        assert lease.check()
        deeper = count(n - 1) if n else len(world.integration.live)
        assert lease.check()
        return deeper

    assert count(3) == 4
    assert world.integration.live == {}


def test_threads_call_at_the_same_time(world: World, leased: LeaseContext) -> None:
    """Calls in many threads have leases of their own."""
    decorated: Callable[[int], Any] = leased(_last)

    results = together(*[lambda: decorated(1)[0]] * 6)

    assert len({result.id for result in results}) == 6
    assert all(result.revoked for result in results)


def test_an_error_goes_on(world: World, leased: LeaseContext) -> None:
    """What the function raises goes on, after the lease was revoked."""
    error = ValueError("mine")

    @leased
    def work() -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        work()

    assert caught.value is error
    assert world.integration.live == {}


def test_generators_side_by_side_keep_their_leases(world: World, leased: LeaseContext) -> None:
    """Of two generators at work at the same time, one that ends leaves the other's lease alone."""

    @leased
    def work(lease: Lease) -> Iterator[Lease]:
        yield lease
        yield lease

    one, two = work(), work()
    first, second = next(one), next(two)

    one.close()  # type: ignore[attr-defined]

    assert (first.revoked, second.revoked) == (True, False)
    assert next(two).is_valid()
    del two
    gc.collect()
    assert second.revoked
    assert world.integration.live == {}


def test_a_generator_leases_when_it_begins(world: World, leased: LeaseContext) -> None:
    """A generator that is never begun leases nothing."""

    @leased
    def work() -> Iterator[int]:
        yield 1

    items = work()
    before = world.integration.count("provision")
    next(items)

    assert (before, world.integration.count("provision")) == (0, 1)
    items.close()  # type: ignore[attr-defined]
    assert world.integration.live == {}


def test_generators_are_delegated_to(leased: LeaseContext) -> None:
    """What is sent and thrown into a generator reaches it, and its result is the result."""

    @leased
    def work() -> Any:
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"
        return "result"

    items = work()
    seen = [next(items), items.send("sent"), items.throw(KeyError())]
    with pytest.raises(StopIteration) as done:
        next(items)

    assert seen == ["first", "sent", "caught"]
    assert done.value.value == "result"


def test_asynchronous_generators_are_delegated_to(leased: LeaseContext) -> None:
    """What is sent and thrown into an asynchronous generator reaches it."""

    @leased
    async def work() -> Any:
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"

    async def main() -> list[Any]:
        items = work()
        seen = [await anext(items), await items.asend("sent"), await items.athrow(KeyError())]
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        return seen

    assert asyncio.run(main()) == ["first", "sent", "caught"]


def test_an_asynchronous_generator_ends_with_its_lease(world: World, leased: LeaseContext) -> None:
    """One that is closed early cleans up while it still has its lease; one that fails lets its error out."""
    seen: list[bool] = []

    @leased
    async def work(lease: Lease) -> AsyncIterator[int]:
        try:
            yield 1
            raise ValueError("mine")
        finally:
            await asyncio.sleep(0)
            seen.append(lease.is_valid())

    async def main() -> None:
        closed = work()
        await anext(closed)
        await closed.aclose()  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="mine"):
            await _all(work())

    asyncio.run(main())

    assert seen == [True, True]
    assert world.integration.live == {}


def test_asynchronous_generators_side_by_side_keep_their_leases(leased: LeaseContext) -> None:
    """Two of one task that are at work at the same time have leases of their own."""

    @leased
    async def work(lease: Lease) -> AsyncIterator[Lease]:
        yield lease
        yield lease

    async def main() -> None:
        one, two = work(), work()
        first, second = await anext(one), await anext(two)
        await one.aclose()  # type: ignore[attr-defined]
        assert (first.revoked, second.revoked) == (True, False)
        await two.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_a_cancelled_coroutine_revokes(world: World, leased: LeaseContext) -> None:
    """A call that is cancelled ends when its lease is revoked."""

    async def main() -> None:
        inside = asyncio.Event()

        @leased
        async def work() -> None:
            inside.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.wait_for(inside.wait(), PATIENCE_S)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())

    assert world.integration.live == {}


def test_partial_functions_are_functions(leased: LeaseContext) -> None:
    """What ``functools.partial`` makes can be decorated too."""
    decorated = leased(functools.partial(_by_name, b=5))

    got, a, b = decorated(1)

    assert isinstance(got, Lease)
    assert (a, b) == (1, 5)


@pytest.mark.parametrize("thing", [None, 5, "function"], ids=repr)
def test_only_functions_are_decorated(leased: LeaseContext, thing: Any) -> None:
    """Decorating something else is an ``InvalidConfig``."""
    with pytest.raises(InvalidConfig, match="decorates functions"):
        leased(thing)


def test_pytest_gets_along(pytester: pytest.Pytester) -> None:
    """Pytest asks no fixture called ``lease`` of a decorated test, and gives all the others."""
    pytester.makepyfile(
        """
        import pytest
        from dynsecrets import DynamicSecretConfig, Lease, LeaseManager, MemoryLeaseStore, lease
        from support.fakes import FakeIntegration

        manager = LeaseManager(MemoryLeaseStore())
        leased = lease(DynamicSecretConfig("X", FakeIntegration(), wait=None), manager=manager)

        def teardown_module():
            manager.close()

        @pytest.fixture
        @leased
        def name(lease):
            yield lease.name

        @pytest.mark.parametrize("number", [1, 2])
        @leased
        def test_function(lease, name, number):
            assert isinstance(lease, Lease) and name == "X" and number in (1, 2)

        class TestClass:
            @leased
            def test_method(self, name, lease):
                assert lease.is_valid()
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")

    result.assert_outcomes(passed=3)
