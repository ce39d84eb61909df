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

    __slots__ = ("__weakref__", "_ended", "_root", "_scopes", "_scopes_name", "_span_id", "_trace_id", "name")

    def __init__(self, span_id: str, trace_id: str | None, name: str, root: SpanLabels | None) -> None:
        self._span_id = span_id
        self._trace_id = trace_id
        self.name = name
        self._root = root  # not itself: a cycle would keep spans until the next garbage collection
        self._scopes: list[NativeScope] = []
        self._scopes_name = ""
        self._ended = False

    @property
    def root(self) -> SpanLabels:
        """The labels of the local root span, which may be these."""
        return self if self._root is None else self._root

    def scope(self) -> NativeScope | None:
        """Return the Scope to make current; another one after the local root was renamed, None at the end."""
        if self._ended:
            return None
        if not self._scopes or self._scopes_name != self.root.name:
            root_id = self.root._span_id
            self._scopes_name = self.root.name
            self._scopes.append(
                NativeScope(
                    {},
                    span_id=root_id,
                    child_span_id=self._span_id if self._span_id != root_id else None,
                    trace_id=self._trace_id,
                    span_name=self._scopes_name,
                )
            )
            if self._ended:  # on another thread, meanwhile
                self.end()
        return self._scopes[-1]

    def end(self) -> None:
        """Label nothing more, in whatever threads and tasks the span is still current (SPN-005)."""
        self._ended = True
        for scope in self._scopes:
            scope.end()


def labels_of(span: object) -> SpanLabels | None:
    """Return the labels of a span; None where it labels nothing (remote, unsampled, none)."""
    labels = getattr(span, _ATTRIBUTE, None)
    # A span that answers to every name (a mock, a proxy) has none.
    return labels if isinstance(labels, SpanLabels) else None


def put_labels(span: Span, labels: SpanLabels) -> None:
    """Keep the labels on the span, where looking them up costs least."""
    setattr(span, _ATTRIBUTE, labels)
