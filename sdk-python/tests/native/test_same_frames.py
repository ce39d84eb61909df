"""The same stack has the same frames, whichever engine saw it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sdk_support.pprof_reader import read_profile

from flamewire.config import Options
from flamewire.engines.base import Engine
from flamewire.engines.native import NativeEngine
from flamewire.engines.python import PythonEngine

DEADLINE_S = 300.0
SAMPLES = 5
OPTIONS = Options(service_name="test", sample_rate_hz=200)

Burn = Callable[[], None]


def function(burn: Burn) -> None:
    def inner() -> None:
        burn()

    inner()


def recursion(burn: Burn, depth: int = 3) -> None:
    if depth:
        recursion(burn, depth - 1)
    else:
        burn()


class Methods:
    def __init__(self, burn: Burn) -> None:
        self.burn = burn

    def method(self) -> None:
        self.burn()

    @classmethod
    def of_the_class(cls, burn: Burn) -> None:
        cls(burn).method()

    @property
    def value(self) -> None:
        self.method()


def a_property(burn: Burn) -> None:
    _ = Methods(burn).value


def generator(burn: Burn) -> None:
    def numbers() -> Iterator[int]:
        burn()
        yield 1

    def delegated() -> Iterator[int]:
        yield from numbers()

    list(delegated())


def comprehension(burn: Burn) -> None:
    assert [burn() for _ in range(1)] == [None]
    assert list(burn() for _ in range(1)) == [None]  # noqa: C400 - a generator expression has a frame


def from_c(burn: Burn) -> None:
    list(map(function, [burn, burn]))


def coroutine(burn: Burn) -> None:
    async def inner() -> None:
        burn()

    async def outer() -> None:
        await asyncio.gather(inner(), inner())

    asyncio.run(outer())


def class_body(burn: Burn) -> None:
    class Body:
        burn()


def made_at_run_time(burn: Burn) -> None:
    exec(compile("\n\ndef made():\n    burn()\nmade()", "größe/made.py", "exec"), {"burn": burn})


CONSTRUCTS: list[Callable[[Burn], None]] = [
    function,
    recursion,
    Methods.of_the_class,
    a_property,
    generator,
    comprehension,
    from_c,
    coroutine,
    class_body,
    made_at_run_time,
    functools.partial(recursion, depth=0),
]

Stack = tuple[tuple[object, ...], ...]


def stacks_of(engine: Engine, construct: Callable[[Burn], None]) -> set[Stack]:
    """Run it under the engine; returns its stacks as (function, file, first line, line), leaf first.

    The leaf's own line is left out: which one of its loop a sample hits is chance.
    """
    failures: list[BaseException] = []

    def burn() -> None:
        enough = engine.stats().samples_gathered + SAMPLES
        given_up = time.thread_time() + 60
        while engine.stats().samples_gathered < enough:
            spin()
            engine.poll()
            assert time.thread_time() < given_up

    def body() -> None:
        try:
            construct(burn)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    engine.start(OPTIONS)
    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    finally:
        (window,) = engine.stop()
    assert not failures
    found = [sample.stack for sample in read_profile(window.pprof).samples]
    return {(stack[0][:3], *stack[1:]) for stack in found if stack[0][0] == spin.__qualname__}


def spin() -> None:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize(
    "construct", CONSTRUCTS, ids=lambda construct: getattr(construct, "__name__", "partial")
)
def test_the_same_stack_has_the_same_frames_whichever_engine_saw_it(
    construct: Callable[[Burn], None],
) -> None:
    native, python = (stacks_of(engine, construct) for engine in (NativeEngine(), PythonEngine()))
    assert native == python != set()
