"""Work that is handed to an executor has span and tags of the place that handed it over, for itself alone."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.trace import Span, Tracer

import flamewire
from flamewire.executors import ExecutorHook

Labels = Callable[[], dict[str, str]]
IdOf = Callable[[Span], str]

DEADLINE_S = 60


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    hook = ExecutorHook()
    hook.install()
    yield
    hook.remove()


def in_span(span: Span, id_of: IdOf, **tags: str) -> dict[str, str]:
    return {"span_id": id_of(span), "span_name": "request", **tags}


def test_what_counts_is_the_place_of_each_submit(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with ThreadPoolExecutor(1) as pool:
        for number in ("1", "2"):
            with tracer.start_as_current_span("request") as span, flamewire.tags(n=number):
                assert pool.submit(labels).result(DEADLINE_S) == in_span(span, id_of, n=number)
            assert pool.submit(labels).result(DEADLINE_S) == {}


def test_asyncio_hands_over_to_threads(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    async def request(pool: ThreadPoolExecutor, number: str) -> None:
        loop = asyncio.get_running_loop()
        with tracer.start_as_current_span("request") as span, flamewire.tags(n=number):
            expected = in_span(span, id_of, n=number)
            assert await asyncio.to_thread(labels) == expected
            assert await loop.run_in_executor(None, labels) == expected
            assert await loop.run_in_executor(pool, labels) == expected

    async def main() -> dict[str, str]:
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(*(request(pool, str(number)) for number in range(8)))
            return await asyncio.get_running_loop().run_in_executor(pool, labels)

    assert asyncio.run(main()) == {}


class Counting(ThreadPoolExecutor):
    """One of a program's own, which wraps what it is given."""

    submitted = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(lambda: function(*args, **kwargs))


def test_a_subclass_that_wraps_its_work_is_no_exception(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with Counting(1) as pool:
        with tracer.start_as_current_span("request") as span:
            assert pool.submit(labels).result(DEADLINE_S) == in_span(span, id_of)
            assert list(pool.map(lambda _: labels(), [1], timeout=DEADLINE_S)) == [in_span(span, id_of)]
        assert pool.submit(labels).result(DEADLINE_S) == {}
        assert pool.submitted == 3


def test_work_that_hands_on_work_hands_on_its_labels(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:

        def hand_on() -> tuple[dict[str, str], dict[str, str]]:
            with flamewire.tags(step="second"):
                return second.submit(labels).result(DEADLINE_S), labels()

        with tracer.start_as_current_span("request") as span:
            theirs, own = first.submit(hand_on).result(DEADLINE_S)
        assert theirs == own == in_span(span, id_of, step="second")
        assert second.submit(labels).result(DEADLINE_S) == {}


def test_an_error_in_the_work_leaves_nothing_behind(tracer: Tracer, labels: Labels) -> None:
    with ThreadPoolExecutor(1) as pool:
        with tracer.start_as_current_span("request"):
            assert isinstance(pool.submit(lambda: 1 / 0).exception(DEADLINE_S), ZeroDivisionError)
        assert pool.submit(labels).result(DEADLINE_S) == {}


class OneThread(Executor):
    """An executor that is no ThreadPoolExecutor: it passes the context on itself, as the guide says."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        run = threading.Thread(target=lambda: future.set_result(context.run(function, *args, **kwargs)))
        run.start()
        run.join(DEADLINE_S)
        return future


def test_an_executor_of_ones_own_passes_the_context_on(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with OneThread() as pool, tracer.start_as_current_span("request") as span:
        assert pool.submit(labels).result(DEADLINE_S) == in_span(span, id_of)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_work_for_other_processes_is_handed_over_as_it_is(tracer: Tracer) -> None:
    """What goes through pickle must not be wrapped."""
    with ProcessPoolExecutor(1) as pool, tracer.start_as_current_span("request"):
        assert pool.submit(abs, -3).result(DEADLINE_S) == 3
