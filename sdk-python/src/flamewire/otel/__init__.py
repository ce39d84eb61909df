"""Span profiles: samples carry the OpenTelemetry span that they were taken in (extra ``[otel]``).

``flamewire.otel.start(service_name="shop")`` starts the session and follows the spans of the tracer provider;
``provider.add_span_processor(FlamewireSpanProcessor())`` does the latter alone. ``publish_metrics()`` offers
what the session counts to the program's own metrics.
"""

from __future__ import annotations

from flamewire.otel.metrics import publish_metrics
from flamewire.otel.processor import FlamewireSpanProcessor
from flamewire.otel.starting import start

__all__ = ["FlamewireSpanProcessor", "publish_metrics", "start"]
