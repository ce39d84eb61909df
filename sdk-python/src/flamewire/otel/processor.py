"""The span processor: which spans label samples, and when they stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from flamewire.log import warn
from flamewire.otel.span_labels import SpanLabels, labels_of, put_labels

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

__all__ = ["FlamewireSpanProcessor"]

PROFILE_ID_ATTRIBUTES: Final = ("pyroscope.profile.id", "flamewire.profile.id")
"""Set on local root spans, by Grafana's name and by ours: a trace view links to the profile by them."""


class FlamewireSpanProcessor(SpanProcessor):
    """Labels samples with the span that is current where they are taken.

    ``provider.add_span_processor(FlamewireSpanProcessor())``, before or after ``flamewire.start()``; a
    session that starts later finds everything in place. Spans that are not sampled, and remote ones, label
    nothing. Works with the native engine; with the fallback, which cannot read labels, it does nothing but
    log that once.

    Args:
        trace_id: let samples also carry the id of the trace. For a flamewire server, which keeps it beside
            the sample; others make a series of each value.
    """

    def __init__(self, *, trace_id: bool = False) -> None:
        self._trace_id = trace_id
        # A span that is dropped without an end must not stay here for ever.
        self._open: WeakValueDictionary[tuple[int, int], SpanLabels] = WeakValueDictionary()
        try:
            from flamewire.otel.following import follow_current_span, follow_renaming
        except ImportError as error:
            self._works = False
            warn("spans", "samples carry no spans here: %s", error)
            return
        self._works = True
        follow_current_span()
        follow_renaming()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Prepare the labels of a sampled span; those of a local root name it on its samples."""
        context = span.get_span_context()
        if not self._works or context is None or not context.trace_flags.sampled:
            return
        parent = self._parent_labels(span, parent_context)
        span_id = format_span_id(context.span_id)
        labels = SpanLabels(
            span_id,
            format_trace_id(context.trace_id) if self._trace_id else None,
            span.name,
            parent.root if parent is not None else None,
        )
        put_labels(span, labels)
        self._open[context.trace_id, context.span_id] = labels
        if parent is None:
            span.set_attributes(dict.fromkeys(PROFILE_ID_ATTRIBUTES, span_id))

    def _parent_labels(self, span: Span, parent_context: Context | None) -> SpanLabels | None:
        """Return those of the parent in this process, also where the SDK calls from a thread of its own."""
        found = labels_of(get_current_span(parent_context))
        if found is None and span.parent is not None and not span.parent.is_remote:
            found = self._open.get((span.parent.trace_id, span.parent.span_id))
        return found

    def on_end(self, span: ReadableSpan) -> None:
        """Let the span label nothing more, wherever it is still current."""
        context = span.get_span_context()
        labels = self._open.pop((context.trace_id, context.span_id), None) if context is not None else None
        if labels is not None:
            labels.end()

    def shutdown(self) -> None:
        """Let no further span label samples; those that are open end when they end."""
        self._works = False

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing waits here."""
        return True
