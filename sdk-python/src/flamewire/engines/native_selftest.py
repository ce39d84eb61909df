"""The native engine's self-test: its stacks must be those of ``sys._getframe()`` before it may sample."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from types import FrameType

from flamewire import _native

__all__ = ["check_stacks"]

_MODULE_CODE = compile("probe()", "<flamewire self-test>", "exec")


def check_stacks() -> None:
    """Compare the native walk with the interpreter's own in every kind of frame that differs in memory.

    Takes about a millisecond.

    Raises:
        RuntimeError: they differ; this interpreter must not be sampled natively.
    """
    _probe()
    _recurse(20)
    list(_generate())
    sorted([2, 1], key=_called_from_c)
    _Constructed()
    eval(_MODULE_CODE, {"probe": _probe})  # noqa: S307 - our own constant
    list(map(_called_from_c, [1]))
    _check_scopes()


def _probe() -> None:
    captured = _native.capture()
    expected = _stack(sys._getframe())
    if len(captured) != 1:
        raise RuntimeError("self-test: no sample came; is SIGPROF blocked in this thread?")
    frames = captured[0][0]
    # The two lines of this function differ: capture() stands above _getframe().
    if [frame[:3] for frame in frames[:1]] != [frame[:3] for frame in expected[:1]]:
        raise RuntimeError(f"self-test: the leaf is {frames[:1]}, sys._getframe() says {expected[:1]}")
    if _shortened(frames[1:]) != _shortened(expected[1 : len(frames)]):
        raise RuntimeError(f"self-test: the stack is {frames}, sys._getframe() says {expected}")


def _shortened(frames: list[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """The frames without the end of a stack that the depth limit cut."""
    return [frame for frame in frames if frame[0] != "(truncated)"]


def _stack(frame: FrameType | None) -> list[tuple[str, str, int, int]]:
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append((_text(code.co_qualname), _text(code.co_filename), code.co_firstlineno, frame.f_lineno))
        frame = frame.f_back
    return stack


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _recurse(depth: int) -> None:
    if depth:
        _recurse(depth - 1)
    else:
        _probe()


def _generate() -> Iterator[None]:
    _probe()
    yield
    yield from _once()


def _once() -> Iterator[None]:
    _probe()
    yield


def _called_from_c(value: int) -> int:
    _probe()
    return value


class _Constructed:
    def __init__(self) -> None:
        _probe()


def _check_scopes() -> None:
    """The handler must find the labels in small contexts and in large ones (other nodes of the HAMT)."""
    _in_scope()
    copy_context().run(_in_large_context, _in_scope)


def _in_large_context(check: Callable[[], None]) -> None:
    variables = [ContextVar[int](f"flamewire_probe_{number}") for number in range(300)]
    for number, variable in enumerate(variables):
        variable.set(number)
    check()


def _in_scope() -> None:
    with _native.tags(probe="outer"):
        _expect_label("outer")
        with _native.tags(probe="inner"):
            _expect_label("inner")
        _expect_label("outer")


def _expect_label(value: str) -> None:
    captured = _native.capture()
    if [labels.get("probe") for _, labels in captured] != [value]:
        raise RuntimeError(f"self-test: the labels are {captured}, expected probe={value!r}")
