"""The span processor of pyroscope-otel, right under asyncio and in executors (needs the extra ``[otel]``)."""

from __future__ import annotations

from flamewire.otel.processor import FlamewireSpanProcessor

__all__ = ["PyroscopeSpanProcessor"]


class PyroscopeSpanProcessor(FlamewireSpanProcessor):
    """``provider.add_span_processor(PyroscopeSpanProcessor())``."""
