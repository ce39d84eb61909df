"""``flamewire.tags``: labels for the samples of the code that runs within it.

The truth is one ContextVar that holds a Scope, so tags follow threads and asyncio tasks by themselves. The
native core has types of its own for it, which its signal handler can read; these are what everyone else uses,
with the same behaviour. Nothing here raises into user code.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

__all__ = ["Scope", "current_labels", "decorate", "tags"]

_F = TypeVar("_F", bound=Callable[..., Any])

# inspect.CO_*; importing inspect costs more than the rest of this package.
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Scope:
    """The labels in force in one context: immutable, merged, with the way back to the enclosing scope."""

    __slots__ = ("labels", "owner", "parent")

    def __init__(self, labels: dict[str, str], parent: Scope | None, owner: object) -> None:
        self.labels = labels
        self.parent = parent
        self.owner = owner


# What servers take is 2048 bytes, and UTF-8 makes 4 of a character at most (LAB-036).
_MOST_CHARACTERS = 512

_current: ContextVar[Scope | None] = ContextVar("flamewire_scope", default=None)


class _PythonTags:
    """Label what runs within: ``with tags(route="/cart"):`` or ``@tags(route="/cart")``.

    One object may be used again and by many threads and tasks at once. Inner values win; the outer ones are
    back after the exit. Decorates functions, coroutine functions, generators and asynchronous generators; a
    generator's labels do not leak to the code that iterates over it.

    Args:
        labels: name -> value; values that are not strings are turned into such.
    """

    __slots__ = ("_labels",)

    def __init__(self, /, **labels: object) -> None:
        self._labels = {
            _utf8(name): text for name, value in labels.items() if (text := _text(value)) is not None
        }

    def __enter__(self) -> _PythonTags:
        parent = _current.get()
        merged = self._labels if parent is None else {**parent.labels, **self._labels}
        _current.set(Scope(merged, parent, self))
        return self

    def __exit__(self, *_: object) -> None:
        scope = _current.get()
        while scope is not None:
            if scope.owner is self:
                _current.set(scope.parent)
                return
            scope = scope.parent
        # Entered in another context (an asynchronous generator that the event loop closes): nothing to undo
        # here.

    def __call__(self, function: _F) -> _F:
        return decorate(self, function)


def _python_labels() -> dict[str, str]:
    scope = _current.get()
    return dict(scope.labels) if scope is not None else {}


def _text(value: object) -> str | None:
    """Return the value as text that UTF-8 can carry; None where the object cannot say what it is."""
    try:
        text = _utf8(value if isinstance(value, str) else str(value))
    except Exception as error:  # noqa: BLE001 - str() runs user code, and tags() must not raise
        _warn("tag", "a tag's value cannot be turned into text and is left out: %r", error)
        return None
    if len(text) <= _MOST_CHARACTERS:
        return text
    start = text[:_MOST_CHARACTERS]
    _warn("tag_length", "a tag's value is cut after 512 characters: %.40s...", start)
    return start


def _warn(cause: str, message: str, what: object) -> None:
    from flamewire.log import warn  # here, since most programs never need it

    warn(cause, message, what)


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def decorate(scope: Any, function: _F) -> _F:
    """Return the function wrapped in the scope; a context manager object that can be entered again and again.

    Each step of a generator runs within the scope, the code between two steps does not.
    """
    flags = _code_flags(function)
    if flags & _CO_ASYNC_GENERATOR:

        @wraps(function)
        def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            return _drive_async(scope, function(*args, **kwargs))

        return cast(_F, async_generator)
    if flags & _CO_COROUTINE:

        @wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with scope:
                return await function(*args, **kwargs)

        return cast(_F, coroutine)
    if flags & _CO_GENERATOR:

        @wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _drive(scope, function(*args, **kwargs)))

        return cast(_F, generator)

    @wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with scope:
            return function(*args, **kwargs)

    return cast(_F, plain)


def _code_flags(function: Any) -> int:
    """Return the code flags of a function, method or partial; 0 for any other callable."""
    while (inner := getattr(function, "func", None) or getattr(function, "__func__", None)) is not None:
        function = inner
    return getattr(getattr(function, "__code__", None), "co_flags", 0)


def _drive(scope: Any, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = generator.__next__
    while True:
        try:
            with scope:
                value = step()
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
        except GeneratorExit:
            with scope:
                generator.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to the generator, whatever it is
            step = _Step(generator.throw, error)
        else:
            step = _Step(generator.send, sent)


async def _drive_async(scope: Any, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    step: Callable[[], Any] = generator.__anext__
    while True:
        try:
            with scope:
                value = await step()
        except StopAsyncIteration:
            return
        try:
            sent = yield value
        except GeneratorExit:
            with scope:
                await generator.aclose()
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to the generator, whatever it is
            step = _Step(generator.athrow, error)
        else:
            step = _Step(generator.asend, sent)


class _Step:
    """A call with its argument, without the closure's trap of binding a loop variable late."""

    __slots__ = ("_argument", "_method")

    def __init__(self, method: Callable[[Any], Any], argument: object) -> None:
        self._method = method
        self._argument = argument

    def __call__(self) -> Any:
        return self._method(self._argument)


if TYPE_CHECKING:
    tags = _PythonTags
    current_labels = _python_labels
else:
    try:
        from flamewire._native import current_labels, tags
    except ImportError:
        # No native core for this interpreter or platform.
        tags, current_labels = _PythonTags, _python_labels
