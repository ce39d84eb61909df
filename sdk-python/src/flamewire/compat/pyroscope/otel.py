"""The span processor of pyroscope-otel, right under asyncio and in executors (needs the extra ``[otel]``)."""

from __future__ import annotations

from typing import Final

from flamewire.otel.processor import FlamewireSpanProcessor

__all__ = [
    "PROFILE_ID_PYROSCOPE_TAG_KEY",
    "PROFILE_ID_SPAN_ATTRIBUTE_KEY",
    "SPAN_NAME_PYROSCOPE_TAG_KEY",
    "TRACE_ID_PYROSCOPE_TAG_KEY",
    "PyroscopeSpanProcessor",
]

PROFILE_ID_SPAN_ATTRIBUTE_KEY: Final = "pyroscope.profile.id"
PROFILE_ID_PYROSCOPE_TAG_KEY: Final = "span_id"
SPAN_NAME_PYROSCOPE_TAG_KEY: Final = "span_name"
TRACE_ID_PYROSCOPE_TAG_KEY: Final = "trace_id"


class PyroscopeSpanProcessor(FlamewireSpanProcessor):
    """``provider.add_span_processor(PyroscopeSpanProcessor())``.

    Samples carry the trace's id only with ``trace_id=True``: Grafana's servers up to 2.0 make a series of it.
    """
