"""What a span labels samples with: one native Scope per span, made when the span first becomes current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

try:
    from flamewire._native import Scope as NativeScope
except ImportError:
    # No native core here: nothing can be labelled, and nobody asks for a Scope.
    NativeScope = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["SpanLabels", "labels_of", "put_labels"]

_ATTRIBUTE: Final = "_flamewire_labels"


class SpanLabels:
    """The labels of one span; lives as long as the span, on which it is kept.

    Args:
        span_id: 16 hexadecimal digits.
        trace_id: 32 hexadecimal digits, or None where samples shall not carry it (SPN-004).
        name: the span's name.
        root: the labels of the local root span; None for a local root itself.
    """

    __slots__ = ("__weakref__", "_ended", "_name", "_root", "_scopes", "_span_id", "_trace_id")

    def __init__(self, span_id: str, trace_id: str | None, name: str, root: SpanLabels | None) -> None:
        self._span_id = span_id
        self._trace_id = trace_id
        self._name = name
        self._root = root  # not itself: a cycle would keep spans until the next garbage collection
        self._scopes: list[NativeScope] = []
        self._ended = False

    @property
    def root(self) -> SpanLabels:
        """The labels of the local root span, which may be these."""
        return self if self._root is None else self._root

    def scope(self) -> NativeScope | None:
        """Return the Scope to make current; None after the span's end."""
        if self._ended:
            return None
        return self._scopes[0] if self._scopes else self._made()

    def rename(self, name: str) -> None:
        """Let samples carry the new name in all threads and tasks, where the span is a local root."""
        self._name = name
        if self._root is None:
            for scope in self._scopes:
                scope.rename(name)

    def end(self) -> None:
        """Label nothing more, in whatever threads and tasks the span is still current (SPN-005)."""
        self._ended = True
        for scope in self._scopes:
            scope.end()

    def _made(self) -> NativeScope:
        """Return the Scope, made at the first call; of two that threads make at once the first counts."""
        if self._scopes:  # a root's, whose child asks
            return self._scopes[0]
        name = self.root._name
        self._scopes.append(
            NativeScope(
                {},
                span_id=self.root._span_id,
                child_span_id=self._span_id if self._root is not None else None,
                trace_id=self._trace_id,
                span_name=name,
                root=self._root._made() if self._root is not None else None,
            )
        )
        # What another thread did meanwhile.
        if self._ended:
            self.end()
        if self._root is None and self._name != name:
            self.rename(self._name)
        return self._scopes[0]


def labels_of(span: object) -> SpanLabels | None:
    """Return the labels of a span; None where it labels nothing (remote, unsampled, none)."""
    labels = getattr(span, _ATTRIBUTE, None)
    # A span that answers to every name (a mock, a proxy) has none.
    return labels if isinstance(labels, SpanLabels) else None


def put_labels(span: Span, labels: SpanLabels) -> None:
    """Keep the labels on the span, where looking them up costs least."""
    setattr(span, _ATTRIBUTE, labels)
