"""A sample's stack is what sys._getframe() says, in every kind of frame."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from flamewire import _native

NEVER_NS = 10**12
"""A period that no test reaches: a timer's sample beside that of capture() would be a second record."""

pytestmark = pytest.mark.usefixtures("sampler")


@pytest.fixture
def sampler() -> Iterator[None]:
    _native.start(NEVER_NS, 128)
    yield
    _native.stop()


Frame = tuple[str, str, int, int]
Compare = Callable[[], None]


def stack_of(frame: FrameType | None) -> list[Frame]:
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append((code.co_qualname, code.co_filename, code.co_firstlineno, frame.f_lineno))
        frame = frame.f_back
    return stack


def compare() -> None:
    captured, expected = _native.capture(), stack_of(sys._getframe())
    assert len(captured) == 1
    frames = captured[0][0]
    assert frames == expected[: len(frames)]
    assert len(frames) == len(expected)


def recurse(depth: int) -> None:
    if depth:
        recurse(depth - 1)
    else:
        compare()


def generate() -> Iterator[int]:
    try:
        compare()
        yield 1
        compare()
    finally:
        compare()


def delegate() -> Iterator[int]:
    yield from generate()


async def coroutine(depth: int) -> None:
    compare()
    if depth:
        await coroutine(depth - 1)
    await asyncio.sleep(0)
    compare()


async def async_generate() -> AsyncIterator[int]:
    compare()
    yield 1
    await asyncio.sleep(0)
    compare()


async def async_main() -> None:
    await asyncio.gather(coroutine(0), coroutine(3))
    async for _ in async_generate():
        compare()
    with_comprehension = [item async for item in async_generate()]
    assert with_comprehension == [1]
    await asyncio.to_thread(compare)


class Meta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Meta:
        compare()
        return super().__new__(cls, name, bases, body)

    def __call__(cls, *args: Any) -> Any:
        compare()
        return super().__call__(*args)


class Simple:
    def __init__(self) -> None:
        compare()


class Rich:
    def __init__(self) -> None:
        compare()

    @property
    def prop(self) -> int:
        compare()
        return 1

    def __getattr__(self, name: str) -> int:
        compare()
        return 1

    def __lt__(self, other: object) -> bool:
        compare()
        return True

    def __enter__(self) -> None:
        compare()

    def __exit__(self, *_: object) -> None:
        compare()

    def __del__(self) -> None:
        compare()

    @classmethod
    def built(cls) -> Rich:
        compare()
        return cls()


def with_metaclass() -> None:
    class Made(metaclass=Meta):
        compare()

    Made()


def special_methods() -> None:
    thing = Rich.built()
    assert thing.prop == thing.missing
    sorted([Rich(), Rich()])
    with thing:
        compare()


def called_from_c() -> None:
    sorted([1, 2], key=lambda number: (compare(), number)[1])
    list(map(recurse, [0, 1]))
    functools.reduce(lambda _, __: compare(), [1, 2])  # type: ignore[arg-type,return-value]
    re.sub("a", lambda _: compare() or "", "a")
    max([1, 2], key=lambda number: (compare(), number)[1])


def comprehensions() -> None:
    assert [compare() for _ in range(2)] == [None, None]
    assert {number: compare() for number in range(2)}
    assert list(compare() for _ in range(2))  # noqa: C400


def specialised_calls() -> None:
    """A class call that the interpreter has specialised runs __init__ from a shim frame."""
    for _ in range(100):
        Simple()


def executed() -> None:
    names = {"compare": compare}
    exec("compare()\n\ndef f():\n\n    compare()\nf()", names)
    eval("compare()", names)
    exec(compile("\n\ncompare()", "größe.py", "exec"), names)
    exec(compile("compare()", "日本語.py", "exec"), names)
    exec("def größe():\n    compare()\ngröße()", names)
    exec("def f():\n" + "    x = 1\n" * 3000 + "    compare()\nf()", names)


def interrupted_generator() -> None:
    generator = generate()
    next(generator)
    generator.close()
    throwing = generate()
    next(throwing)
    with pytest.raises(KeyError):
        throwing.throw(KeyError())  # type: ignore[attr-defined]


CONSTRUCTS: list[Callable[[], Any]] = [
    compare,
    lambda: recurse(1),
    lambda: recurse(80),
    lambda: list(generate()),
    lambda: list(delegate()),
    interrupted_generator,
    lambda: asyncio.run(async_main()),
    with_metaclass,
    special_methods,
    called_from_c,
    comprehensions,
    specialised_calls,
    executed,
    functools.partial(compare),
    lambda: contextvars.copy_context().run(compare),
]


@pytest.mark.parametrize(
    "construct", CONSTRUCTS, ids=lambda construct: getattr(construct, "__name__", "partial")
)
def test_the_stack_is_the_interpreters_own(construct: Callable[[], Any]) -> None:
    _native.stop()
    _native.start(NEVER_NS, 1024)
    construct()


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile], ids=["settrace", "setprofile"])
def test_the_stack_is_right_under_a_tracer(install: Callable[[Any], None]) -> None:
    before = sys.gettrace() if install is sys.settrace else sys.getprofile()

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        return tracer

    install(tracer)
    try:
        recurse(5)
        list(delegate())
    finally:
        install(before)


def test_a_threads_stack_shows_no_frame_of_ours() -> None:
    hooked = threading.Thread.__dict__["_bootstrap_inner"]
    threading.Thread._bootstrap_inner = _native.ThreadHook(hooked)  # type: ignore[attr-defined]
    stacks: list[list[Frame]] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            compare()
            stacks.append(_native.capture()[0][0])
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join(30)
    finally:
        threading.Thread._bootstrap_inner = hooked  # type: ignore[attr-defined]
    assert not failures
    names = [frame[0].rpartition(".")[2] for frame in stacks[0]]
    assert names == ["body", "run", "_bootstrap_inner", "_bootstrap"]


def test_a_stack_deeper_than_the_limit_keeps_its_leaf_side() -> None:
    def deep(depth: int) -> list[Frame]:
        return deep(depth - 1) if depth else _native.capture()[0][0]

    frames = deep(200)
    assert len(frames) == 129
    assert frames[0][0].endswith("deep")
    assert frames[-1][0] == "(truncated)"


def test_code_that_takes_the_address_of_dead_code_is_told_apart() -> None:
    """Exec'd modules reuse the addresses of code, names and line tables; only bytes or versions differ."""
    for number in range(300):
        first, name = number % 5, f"made_{number % 7}"
        source = "\n" * first + f"def {name}():\n    return capture()\nresult = {name}()"
        names: dict[str, Any] = {"capture": _native.capture}
        exec(compile(source, f"<{name}>", "exec"), names)
        frames = names["result"][0][0]
        assert frames[0] == (name, f"<{name}>", first + 1, first + 2)
        assert frames[1] == ("<module>", f"<{name}>", 1, first + 3)
