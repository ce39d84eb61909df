"""The registry of push formats: a new one is a file beside this one and a line in FORMATS."""

from __future__ import annotations

from flamewire_server.ingest import file_import, otlp, push_v1, pyroscope
from flamewire_server.ingest.format import Format

__all__ = ["FORMATS"]

FORMATS: tuple[Format, ...] = (
    push_v1.PROTO,
    push_v1.JSON,
    pyroscope.INGEST,
    pyroscope.PYROSCOPE_INGEST,
    *otlp.FORMATS,
    file_import.IMPORT,
)
