"""Keeps the native scope in step with OpenTelemetry's current span.

What counts is the span of the current context, so ``attach`` and ``detach`` are followed. What moves contexts
between threads and tasks (asyncio, ``copy_context``) moves the scope along by itself, since both live in
context variables.
"""

from __future__ import annotations

import threading
from contextvars import Token
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import context as context_api
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace.propagation import _SPAN_KEY

from flamewire._native import follow_span
from flamewire.otel.span_labels import SpanLabels, labels_of

if TYPE_CHECKING:
    from flamewire._native import Scope

__all__ = ["follow_current_span", "follow_renaming"]

_installing = threading.Lock()


class _FollowedToken:
    """What ``attach`` returns where it changed the span: the way back for both."""

    __slots__ = ("inner", "previous", "previous_labels")

    def __init__(
        self, inner: Token[Context], previous: Scope | None, previous_labels: SpanLabels | None
    ) -> None:
        self.inner = inner
        self.previous = previous
        self.previous_labels = previous_labels


class _FollowingContext(_RuntimeContext):
    """Stands in front of the runtime context that was there, whichever that is.

    It is never taken away again: tokens that it handed out may come back at any time.
    """

    def __init__(self, inner: _RuntimeContext) -> None:
        self._inner = inner

    def attach(self, context: Context) -> Token[Context]:
        # Not get_current_span(): its isinstance() of an abstract class costs more than all the rest here.
        before = self._inner.get_current().get(_SPAN_KEY)
        token = self._inner.attach(context)
        span = context.get(_SPAN_KEY)
        if span is before:
            return token
        labels = labels_of(span)
        previous = follow_span(labels.scope() if labels is not None else None)
        return cast("Token[Context]", _FollowedToken(token, previous, labels_of(before)))

    def get_current(self) -> Context:
        return self._inner.get_current()

    def detach(self, token: Token[Context]) -> None:
        given: object = token
        if not isinstance(given, _FollowedToken):
            self._inner.detach(token)
            return
        # Raises where the token is of another context; then nothing is to be taken back here.
        self._inner.detach(given.inner)
        # Where the context had no span of ours, an executor may have brought the one of its submitter.
        labels = given.previous_labels
        follow_span(labels.scope() if labels is not None else given.previous)


def follow_current_span() -> None:
    """Follow the current span from now on, in the whole process; a second call does nothing."""
    with _installing:
        if not isinstance(context_api._RUNTIME_CONTEXT, _FollowingContext):
            context_api._RUNTIME_CONTEXT = _FollowingContext(context_api._RUNTIME_CONTEXT)


def follow_renaming() -> None:
    """Let ``update_name`` of a local root rename what samples carry from now on; a second call does nothing.

    In whatever threads and tasks the span, or a child of it, is current.
    """
    with _installing:
        original: Any = SdkSpan.update_name
        if hasattr(original, "_flamewire"):
            return

        @wraps(original)
        def update_name(span: SdkSpan, name: str) -> None:
            original(span, name)
            labels = labels_of(span)
            if labels is not None:
                labels.rename(span.name)

        setattr(update_name, "_flamewire", True)  # noqa: B010 - mypy: a function has no such attribute
        setattr(SdkSpan, "update_name", update_name)  # noqa: B010
