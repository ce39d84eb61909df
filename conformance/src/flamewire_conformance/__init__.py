"""flamewire-conformance: one suite for every profiling SDK and server that speaks the wire."""

from __future__ import annotations

__version__ = "0.1.0"
