"""Where tags go beyond their own context: to tasks of executors, and to threads that are started within them.

A task has the tags and the span of the place that submitted it, for this task alone; a thread those of the
place that started it. Workers of pools are no such threads: they outlive the request that started them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["ExecutorHook", "is_of_a_pool", "leave_tags"]

_POOLS = {
    "anyio._backends._asyncio",
    "concurrent.futures.process",
    "concurrent.futures.thread",
    "multiprocessing.pool",
    "multiprocessing.queues",
}
"""Modules whose threads and processes serve whoever comes."""


class ExecutorHook:
    """Stands in for ``ThreadPoolExecutor.submit`` and ``Thread.start`` between ``install`` and ``remove``.

    Where somebody has wrapped one of them meanwhile, it stays and does nothing.
    """

    def __init__(self) -> None:
        self._active = False
        self._patches: list[_Patch] = []

    def install(self) -> None:
        """Begin; does nothing where there is no native core, which alone reads what tasks carry."""
        try:
            from flamewire import _native
        except ImportError:
            return
        if self._active:
            return
        from concurrent.futures.thread import ThreadPoolExecutor
        from threading import Thread

        self._active = True
        hooked = [patch.owner for patch in self._patches]
        if ThreadPoolExecutor not in hooked:
            self._patches.append(_Patch(ThreadPoolExecutor, "submit", self._submit(_native)))
        if Thread not in hooked:
            self._patches.append(_Patch(Thread, "start", self._start(_native)))

    def remove(self) -> None:
        """End; a second call does nothing."""
        self._active = False
        self._patches = [patch for patch in self._patches if not patch.take_back()]

    def _submit(self, native: Any) -> Callable[..., Any]:
        from concurrent.futures.thread import ThreadPoolExecutor

        original: Callable[..., Any] = ThreadPoolExecutor.submit

        def submit(executor: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            scope = native.scope_variable.get(None) if self._active else None
            if scope is None:
                return original(executor, function, *args, **kwargs)
            return original(executor, native.run_in_scope, scope, function, *args, **kwargs)

        return submit

    def _start(self, native: Any) -> Callable[..., Any]:
        from threading import Thread

        original: Callable[..., Any] = Thread.start

        def start(thread: Any) -> Any:
            scope = native.scope_variable.get(None) if self._active else None
            if scope is not None:
                _hand_over(native, thread, None if is_of_a_pool(thread) else scope)
            return original(thread)

        return start


class _Patch:
    """One function of a class, exchanged until it is taken back."""

    def __init__(self, owner: type, name: str, replacement: Callable[..., Any]) -> None:
        from functools import update_wrapper

        self.owner = owner
        self._name = name
        self._original = getattr(owner, name)
        self._replacement = update_wrapper(replacement, self._original)
        setattr(owner, name, replacement)

    def take_back(self) -> bool:
        """Put the original back; False where somebody wrapped ours."""
        if getattr(self.owner, self._name) is not self._replacement:
            return False
        setattr(self.owner, self._name, self._original)
        return True


def is_of_a_pool(thread_or_process: object) -> bool:
    """Tell whether the thread, or process of multiprocessing, is a worker of a pool that is known."""
    target = getattr(thread_or_process, "_target", None)
    return type(thread_or_process).__module__ in _POOLS or getattr(target, "__module__", None) in _POOLS


def leave_tags() -> None:
    """Take the calling thread out of all tags: a fork child is within those of the place that forked it."""
    try:
        from flamewire._native import scope_variable
    except ImportError:
        return
    scope_variable.set(None)


def _hand_over(native: Any, thread: Any, scope: object) -> None:
    """Let a thread that has not started begin with the scope.

    From 3.14 on a thread runs in a context that it has, the caller's own one where it was given one; before,
    in none, and the core's hook sets what it finds here when the thread begins.
    """
    if sys.version_info < (3, 14):
        thread._flamewire_scope = scope
        return
    if thread.__dict__.get("_context", thread) is not None:
        return
    from contextvars import Context, copy_context

    context = copy_context() if sys.flags.thread_inherit_context else Context()
    context.run(native.scope_variable.set, scope)
    thread._context = context
