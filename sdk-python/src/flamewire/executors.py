"""Tasks of a ThreadPoolExecutor run with the tags and the span of the place that submitted them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ExecutorHook"]


class ExecutorHook:
    """Stands in for ``ThreadPoolExecutor.submit`` between ``install`` and ``remove``.

    A worker thread serves many submitters, so what a task brings is taken away after it. Where somebody has
    wrapped ``submit`` meanwhile, it stays and does nothing.
    """

    def __init__(self) -> None:
        self._active = False
        self._original: Callable[..., Any] | None = None
        self._hook: Callable[..., Any] | None = None

    def install(self) -> None:
        """Begin; does nothing where there is no native core, which alone reads what tasks carry."""
        try:
            from flamewire._native import run_in_scope, scope_variable
        except ImportError:
            return
        from concurrent.futures.thread import ThreadPoolExecutor
        from functools import wraps

        if self._active:
            return
        self._active = True
        if self._hook is not None:
            return
        original: Callable[..., Any] = ThreadPoolExecutor.submit

        @wraps(original)
        def submit(executor: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            scope = scope_variable.get(None) if self._active else None
            if scope is None:
                return original(executor, function, *args, **kwargs)
            return original(executor, run_in_scope, scope, function, *args, **kwargs)

        self._original, self._hook = original, submit
        setattr(ThreadPoolExecutor, "submit", submit)  # noqa: B010 - mypy: a method is assigned on purpose

    def remove(self) -> None:
        """End; a second call does nothing."""
        self._active = False
        if self._hook is None:
            return
        from concurrent.futures.thread import ThreadPoolExecutor

        if ThreadPoolExecutor.submit is self._hook:
            setattr(ThreadPoolExecutor, "submit", self._original)  # noqa: B010
            self._hook = self._original = None
