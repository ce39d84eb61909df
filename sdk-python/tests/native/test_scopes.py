"""What a sample is labelled with: the Scope of its own context, read by the handler."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from typing import Any

import pytest
from sdk_support.pprof_reader import read_profile
from sdk_support.shares import Enough, until_sampled

from flamewire import _native

pytestmark = pytest.mark.usefixtures("sampler")


def labels() -> dict[str, str]:
    return _native.capture()[0][1]


def test_a_sample_has_the_labels_in_force() -> None:
    assert labels() == {}
    with _native.tags(route="/cart", count=2):
        assert labels() == {"count": "2", "route": "/cart"}
        with _native.tags(route="/pay", größe="groß"):
            assert labels() == {"count": "2", "route": "/pay", "größe": "groß"}
        assert labels() == {"count": "2", "route": "/cart"}
    assert labels() == {}


def test_a_span_labels_until_it_ends_also_through_inner_tags() -> None:
    scope = _native.Scope({"a": 1}, span_id="0123456789abcdef", span_name="GET /cart")
    token = _native.scope_variable.set(scope)
    try:
        span = {"span_id": "0123456789abcdef", "span_name": "GET /cart"}
        assert labels() == {"a": "1", **span}
        with _native.tags(b=2):
            assert labels() == {"a": "1", "b": "2", **span}
            scope.end()
            assert labels() == {"a": "1", "b": "2"}
        assert labels() == {"a": "1"}
        assert (scope.ended, scope.span) == (True, {})
    finally:
        _native.scope_variable.reset(token)


def test_a_foreign_value_in_the_variable_labels_nothing() -> None:
    token = _native.scope_variable.set("nonsense")  # type: ignore[arg-type]
    try:
        assert labels() == {}
        with _native.tags(a=1):
            assert labels() == {"a": "1"}
    finally:
        _native.scope_variable.reset(token)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 31, 32, 33, 300, 2000])
def test_the_handler_finds_any_variable_among_many(count: int) -> None:
    def check() -> None:
        variables = [contextvars.ContextVar[object](f"v{number}") for number in range(count)]
        values = [object() for _ in range(count)]
        for variable, value in zip(variables, values, strict=True):
            variable.set(value)
        absent = contextvars.ContextVar[object]("absent")
        assert [_native.read_variable(variable) for variable in variables] == values
        assert _native.read_variable(absent) is None

    contextvars.copy_context().run(check)


def _folded(variable: contextvars.ContextVar[Any]) -> int:
    value = hash(variable) & 0xFFFFFFFFFFFFFFFF
    return (value & 0xFFFFFFFF) ^ (value >> 32)


def test_the_handler_finds_variables_whose_hashes_collide() -> None:
    """Variables with one 32-bit hash share a collision node; 300,000 of them have about ten such pairs."""
    by_hash: dict[int, contextvars.ContextVar[int]] = {}
    pairs = []
    for number in range(300_000):
        variable = contextvars.ContextVar[int](f"v{number}")
        other = by_hash.setdefault(_folded(variable), variable)
        if other is not variable:
            pairs.append((other, variable))
    assert pairs, "no collision in 300,000: the chance of that is below 1 in 10,000"

    def check() -> None:
        for first, second in pairs:
            first.set(1)
            second.set(2)
            assert (_native.read_variable(first), _native.read_variable(second)) == (1, 2)

    contextvars.copy_context().run(check)


def test_scopes_may_die_while_samples_still_name_them() -> None:
    for number, _ in enumerate(until_sampled(40), 1):
        with _native.tags(number=number % 50):
            _native.Scope({"other": number})
            sum(range(500))
        if number % 20_000 == 0:  # which takes some 50 ms, outside of the tags
            gc.collect()
    window = _native.take_window()
    assert window is not None
    seen = {sample.labels.get("number") for sample in read_profile(window[0]).samples}
    assert seen & {str(value) for value in range(50)}
    assert seen <= {None, *(str(value) for value in range(50))}


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(300))


def spin_a() -> None:
    spin(0.002)


def spin_b() -> None:
    spin(0.002)


def test_tasks_samples_have_their_own_tasks_labels() -> None:
    """Two interleaved tasks of 2 ms a turn, n = 100: none may carry the other task's label."""
    enough = Enough(100)

    async def task(name: str, work: Any) -> None:
        with _native.tags(task=name):
            while not enough():
                work()
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(task("a", spin_a), task("b", spin_b))

    asyncio.run(main())
    window = _native.take_window()
    assert window is not None
    right = wrong = 0
    for sample in read_profile(window[0]).samples:
        for name, function in (("a", "spin_a"), ("b", "spin_b")):
            if function in sample.functions:
                same = sample.labels.get("task") == name
                right, wrong = right + same * sample.values[0], wrong + (not same) * sample.values[0]
    assert window[3] >= 100
    assert right > 0
    assert wrong <= 0.01 * right


def test_threads_labels_do_not_mix() -> None:
    shared = _native.tags(shared="yes")
    results: list[bool] = []

    def work(name: str) -> None:
        right = True
        for _ in range(200):
            with _native.tags(worker=name), shared:
                right = right and labels() == {"shared": "yes", "worker": name}
            right = right and labels() == {}
        results.append(right)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 4


def test_tags_left_in_another_order_take_back_their_own() -> None:
    first, second = _native.tags(a=1), _native.tags(b=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert labels() == {"b": "2"}
    second.__exit__(None, None, None)
    assert labels() == {}


def test_tasks_that_are_in_the_same_tags_at_once_leave_them_each_for_itself() -> None:
    """They share one Scope, and it keeps the way back of one task only."""
    shared = _native.tags(route="/cart")
    seen: list[dict[str, str]] = []

    async def task(turns_inside: int) -> None:
        for _ in range(3):
            with shared:
                for _ in range(turns_inside):
                    await asyncio.sleep(0)
                    seen.append(_native.current_labels())
            assert _native.current_labels() == {"outer": "1"}

    async def run() -> None:
        with _native.tags(outer="1"):
            await asyncio.gather(*(task(turns) for turns in (1, 4, 2, 3)))

    asyncio.run(run())
    assert seen == [{"outer": "1", "route": "/cart"}] * 30
    assert _native.current_labels() == {}


def test_tags_left_in_another_context_change_nothing_there_and_stay_usable() -> None:
    shared = _native.tags(a=1)
    abandoned = contextvars.copy_context()
    abandoned.run(shared.__enter__)
    assert shared.__exit__(None, None, None) is False
    for _ in range(2):
        with shared:
            assert _native.current_labels() == {"a": "1"}
        assert _native.current_labels() == {}
    assert abandoned.run(_native.current_labels) == {"a": "1"}
    abandoned.run(shared.__exit__, None, None, None)
    assert abandoned.run(_native.current_labels) == {}


def test_a_context_that_was_given_up_inside_tags_is_freed() -> None:
    class Kept:
        pass

    def enter() -> weakref.ref[Kept]:
        kept, variable = Kept(), contextvars.ContextVar[Kept]("kept")
        context = contextvars.copy_context()
        context.run(variable.set, kept)
        context.run(_native.tags(number=7).__enter__)  # not of text only, so that nobody remembers the object
        return weakref.ref(kept)

    kept = enter()
    gc.collect()
    assert kept() is None


def test_positional_tags_are_refused() -> None:
    with pytest.raises(TypeError, match="by name"):
        _native.tags({"route": "/cart"})  # type: ignore[call-arg]
