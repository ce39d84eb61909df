"""Labels in every kind of context: a sample has those of its own task, thread, generator and greenlet."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing.pool
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sdk_support.pprof_reader import read_profile
from sdk_support.shares import Enough

from flamewire import _native
from flamewire.executors import ExecutorHook
from flamewire.scope import current_labels, decorate

Labels = dict[str, str]

DEADLINE_S = 120.0

pytestmark = pytest.mark.usefixtures("sampler")


def labels() -> Labels:
    """What a sample has that is taken here: read by the signal handler."""
    return _native.capture()[0][1]


def tags(**given: object) -> Any:
    return _native.tags(**given)


@pytest.fixture
def hooks() -> Iterator[None]:
    """What a session installs: threads announce themselves, executors and threads hand tags on."""
    original = threading.Thread.__dict__["_bootstrap_inner"]
    threading.Thread._bootstrap_inner = _native.ThreadHook(original)  # type: ignore[attr-defined]
    hook = ExecutorHook()
    hook.install()
    yield
    hook.remove()
    threading.Thread._bootstrap_inner = original  # type: ignore[attr-defined]


def in_thread(work: Callable[[], Any], **options: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), **options)
    thread.start()
    thread.join(DEADLINE_S)
    return results[0]


def run(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


# Tasks


def test_a_task_group_s_tasks_have_the_labels_of_the_group_and_their_own() -> None:
    async def child(name: str) -> list[Labels]:
        before = labels()
        with tags(child=name):
            await asyncio.sleep(0)
            return [before, labels()]

    async def main() -> list[list[Labels]]:
        with tags(request="1"):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(child(name)) for name in "ab"]
            assert labels() == {"request": "1"}
        assert labels() == {}
        return [task.result() for task in tasks]

    assert run(main) == [
        [{"request": "1"}, {"request": "1", "child": "a"}],
        [{"request": "1"}, {"request": "1", "child": "b"}],
    ]


def test_a_failing_task_group_leaves_the_labels_as_they_were() -> None:
    async def fail() -> None:
        with tags(child="fails"):
            await asyncio.sleep(0)
            raise KeyError

    async def wait() -> None:
        with tags(child="is cancelled"):
            await asyncio.sleep(DEADLINE_S)

    async def main() -> Labels:
        with tags(request="1"):
            with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group raises, at its end
                async with asyncio.TaskGroup() as group:
                    group.create_task(wait())
                    group.create_task(fail())
            return labels()

    assert run(main) == {"request": "1"}


def test_gathered_coroutines_do_not_see_each_other_s_labels() -> None:
    async def work(name: str) -> bool:
        with tags(task=name):
            for _ in range(10):
                await asyncio.sleep(0)
                if labels() != {"outer": "1", "task": name}:
                    return False
        return labels() == {"outer": "1"}

    async def main() -> list[bool]:
        with tags(outer=1):
            return await asyncio.gather(*(work(str(number)) for number in range(8)))

    assert run(main) == [True] * 8


def test_a_shielded_task_keeps_its_labels_when_its_waiter_is_cancelled() -> None:
    async def main() -> tuple[Labels, Labels]:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def inner() -> Labels:
            with tags(inner="1"):
                entered.set()
                await go_on.wait()
                return labels()

        async def outer() -> None:
            with tags(outer="1"):
                nonlocal shielded
                shielded = asyncio.ensure_future(inner())
                await asyncio.shield(shielded)

        shielded: asyncio.Future[Labels] | None = None
        waiter = asyncio.create_task(outer())
        await entered.wait()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        go_on.set()
        assert shielded is not None
        return await shielded, labels()

    assert run(main) == ({"outer": "1", "inner": "1"}, {})


def test_a_timeout_takes_the_labels_back() -> None:
    async def main() -> Labels:
        with tags(request="1"):
            with pytest.raises(TimeoutError):  # noqa: PT012 - the timeout raises, at its end
                async with asyncio.timeout(0):
                    with tags(slow="1"):
                        await asyncio.sleep(DEADLINE_S)
            return labels()

    assert run(main) == {"request": "1"}


def test_a_callback_of_the_loop_has_the_labels_of_the_place_that_scheduled_it() -> None:
    async def main() -> list[Labels]:
        loop, seen, done = asyncio.get_running_loop(), list[Labels](), asyncio.Event()
        with tags(request="1"):
            loop.call_soon(lambda: seen.append(labels()))
            loop.call_later(0, lambda: (seen.append(labels()), done.set()))
        with tags(other="1"):
            await done.wait()
        return seen

    assert run(main) == [{"request": "1"}] * 2


def test_of_interleaved_tasks_no_sample_has_another_s_label_under_a_loop_of_ones_own() -> None:
    """The same on a loop from a factory, which is how uvloop comes in: n is 60, none may be wrong."""
    assert wrong_and_right(asyncio.SelectorEventLoop) == (0, True)


def test_of_interleaved_tasks_no_sample_has_another_s_label_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert wrong_and_right(uvloop.new_event_loop) == (0, True)


def wrong_and_right(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> tuple[int, bool]:
    """CPU under another task's label, and whether there was any under the own one."""
    enough = Enough(60)

    def spin_a() -> None:
        sum(range(20_000))

    def spin_b() -> None:
        sum(range(20_000))

    async def task(name: str, work: Callable[[], None]) -> None:
        with tags(task=name):
            while not enough():
                work()
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(task("a", spin_a), task("b", spin_b))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    window = _native.take_window()
    assert window is not None
    wrong = right = 0
    for sample in read_profile(window[0]).samples:
        for name, function in (("a", spin_a), ("b", spin_b)):
            if function.__qualname__ in sample.functions:
                same = sample.labels == {"task": name}
                right, wrong = right + same * sample.values[0], wrong + (not same) * sample.values[0]
    return wrong, right > 0


# Generators


def test_an_asynchronous_generator_that_is_left_early_takes_its_labels_with_it() -> None:
    async def rows() -> AsyncIterator[Labels]:
        with tags(rows="1"):
            for _ in range(3):
                await asyncio.sleep(0)
                yield labels()

    async def main() -> tuple[list[Labels], Labels]:
        seen = []
        with tags(request="1"):
            generator = rows()
            async for inner in generator:
                seen.append(inner)
                break
            await generator.aclose()  # type: ignore[attr-defined]
            return seen, labels()

    assert run(main) == ([{"request": "1", "rows": "1"}], {"request": "1"})


def test_an_asynchronous_generator_that_the_loop_closes_disturbs_nobody() -> None:
    """Nobody closes it: the loop does so at its end, in a task of its own."""

    async def rows() -> AsyncIterator[int]:
        with tags(rows="1"):
            yield 1
            yield 2

    async def main() -> Labels:
        with tags(request="1"):
            generator = rows()
            await anext(generator)
            main.kept = generator  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return labels()

    # The labels of the suspended generator are still in force in the task that runs it, as of every `with`.
    assert run(main) == {"rows": "1"}
    assert labels() == {}


def test_a_decorated_generator_has_its_labels_anew_at_each_resume() -> None:
    """Resumed from three places: its own labels are over those of whoever resumes it, and stay inside."""

    @tags(rows="1")
    def rows() -> Iterator[Labels]:
        while True:
            yield labels()

    generator = rows()
    with tags(first="1"):
        assert next(generator) == {"first": "1", "rows": "1"}
        assert labels() == {"first": "1"}
    assert contextvars.copy_context().run(lambda: (next(generator), labels())) == ({"rows": "1"}, {})
    assert in_thread(lambda: (next(generator), labels())) == ({"rows": "1"}, {})
    with tags(last="1"):
        assert next(generator) == {"last": "1", "rows": "1"}
    assert labels() == {}


def test_a_decorated_asynchronous_generator_has_its_labels_anew_at_each_resume() -> None:
    @tags(rows="1")
    async def rows() -> AsyncIterator[Labels]:
        while True:
            await asyncio.sleep(0)
            yield labels()

    async def step(generator: AsyncIterator[Labels], name: str) -> tuple[Labels, Labels]:
        with tags(reader=name):
            return await anext(generator), labels()

    async def main() -> list[tuple[Labels, Labels]]:
        generator = rows()
        return [await asyncio.create_task(step(generator, name)) for name in "ab"]

    assert run(main) == [({"reader": name, "rows": "1"}, {"reader": name}) for name in "ab"]


# Scopes


def test_nested_scopes_come_back_one_by_one_whatever_ends_them() -> None:
    def fail() -> None:
        with tags(c="3"):
            raise KeyError

    with tags(a="1"):
        with tags(b="2", a="inner"):
            with pytest.raises(KeyError):
                fail()
            assert labels() == {"a": "inner", "b": "2"}
        assert labels() == {"a": "1"}
    assert labels() == {}


def test_a_reset_in_another_context_raises_nothing_and_changes_nothing_there() -> None:
    entered = tags(a="1")
    context = contextvars.copy_context()
    context.run(entered.__enter__)
    with tags(b="2"):
        entered.__exit__(None, None, None)
        assert labels() == {"b": "2"}
        in_thread(lambda: entered.__exit__(None, None, None))
        assert labels() == {"b": "2"}
    assert context.run(labels) == {"a": "1"}


def test_a_scope_that_was_ended_on_another_thread_labels_no_more() -> None:
    scope = _native.Scope({"kept": 1}, span_id="0123456789abcdef")
    token = _native.scope_variable.set(scope)
    assert labels() == {"kept": "1", "span_id": "0123456789abcdef"}
    in_thread(scope.end)
    assert labels() == {"kept": "1"}
    _native.scope_variable.reset(token)


# Threads and executors


def test_a_thread_has_the_tags_of_the_place_that_started_it(hooks: None) -> None:
    class Own(threading.Thread):
        def run(self) -> None:
            self.seen = labels()

    with tags(request="1"):
        assert in_thread(labels) == {"request": "1"}
        own, timer_seen = Own(), list[Labels]()
        timer = threading.Timer(0, lambda: timer_seen.append(labels()))
        own.start()
        timer.start()
    own.join(DEADLINE_S)
    timer.join(DEADLINE_S)
    assert own.seen == {"request": "1"}
    assert timer_seen == [{"request": "1"}]
    assert in_thread(labels) == {}


def test_a_thread_keeps_the_tags_that_it_began_with_when_its_starter_has_left_them(hooks: None) -> None:
    go_on, seen = threading.Event(), list[Labels]()

    def body() -> None:
        with tags(own="1"):
            assert go_on.wait(DEADLINE_S)
            seen.append(labels())
        seen.append(labels())

    with tags(request="1"):
        thread = threading.Thread(target=body)
        thread.start()
    go_on.set()
    thread.join(DEADLINE_S)
    assert seen == [{"request": "1", "own": "1"}, {"request": "1"}]


def test_a_stack_of_a_thread_with_tags_shows_no_frame_of_ours(hooks: None) -> None:
    def names() -> list[str]:
        return [frame[0].rpartition(".")[2] for frame in _native.capture()[0][0]]

    with tags(request="1"):
        assert in_thread(names) == ["names", "<lambda>", "run", "_bootstrap_inner", "_bootstrap"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads have contexts since 3.14")
def test_a_thread_that_was_given_a_context_has_the_tags_of_that_one(hooks: None) -> None:
    with tags(of="the context"):
        context = contextvars.copy_context()
    with tags(of="the starter"):
        assert in_thread(labels, context=context) == {"of": "the context"}


def test_a_pool_s_worker_never_keeps_the_tags_of_a_request(hooks: None) -> None:
    """Also not those of the request whose task made the pool start it."""
    with ThreadPoolExecutor(1) as pool:
        with tags(request="1"):
            assert pool.submit(labels).result(DEADLINE_S) == {"request": "1"}
        assert pool.submit(labels).result(DEADLINE_S) == {}
        with tags(request="2"), pytest.raises(KeyError):
            pool.submit({}.__getitem__, "fails").result(DEADLINE_S)
        assert pool.submit(labels).result(DEADLINE_S) == {}
        assert list(pool.map(lambda _: labels(), range(3))) == [{}] * 3
    with tags(request="1"), multiprocessing.pool.ThreadPool(1) as threads:
        assert threads.apply_async(labels).get(DEADLINE_S) == {}


def test_executor_hand_off_from_a_task_brings_its_labels_and_takes_none_back(hooks: None) -> None:
    def in_pool() -> Labels:
        with tags(pool="1"):
            return labels()

    async def request(name: str) -> list[Labels]:
        with tags(request=name):
            loop = asyncio.get_running_loop()
            found = [await loop.run_in_executor(None, in_pool), await asyncio.to_thread(in_pool)]
            return [*found, labels()]

    async def main() -> list[list[Labels]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        results = await asyncio.gather(*(request(str(number)) for number in range(4)))
        assert await asyncio.to_thread(current_labels) == {}
        return results

    assert run(main) == [
        [{"request": name, "pool": "1"}, {"request": name, "pool": "1"}, {"request": name}] for name in "0123"
    ]


def test_what_is_installed_is_taken_away_again() -> None:
    before = (ThreadPoolExecutor.submit, threading.Thread.start)
    hook = ExecutorHook()
    hook.install()
    hook.install()
    assert threading.Thread.start is not before[1]
    hook.remove()
    hook.remove()
    assert (ThreadPoolExecutor.submit, threading.Thread.start) == before


def test_a_wrapper_over_ours_stays_and_ours_does_nothing_in_it_until_the_next_session() -> None:
    """Another tool wraps Thread.start after us and outlives the session."""
    original, hook = threading.Thread.start, ExecutorHook()
    hook.install()
    ours = threading.Thread.start

    def wrapped(thread: threading.Thread) -> None:
        ours(thread)

    try:
        threading.Thread.start = wrapped  # type: ignore[method-assign]
        hook.remove()
        assert threading.Thread.start is wrapped
        with tags(request="1"):
            assert in_thread(labels) == {}
        hook.install()
        assert threading.Thread.start is wrapped
        hook.remove()
    finally:
        threading.Thread.start = original  # type: ignore[method-assign]


def test_decorated_functions_label_whoever_runs_them() -> None:
    async def coroutine() -> Labels:
        await asyncio.sleep(0)
        return labels()

    scope = tags(job="1")
    assert decorate(scope, labels)() == {"job": "1"}
    assert asyncio.run(decorate(scope, coroutine)()) == {"job": "1"}
    assert labels() == {}
