"""The flamewire profile server: takes profiles over push.v1, stores them durably, answers querier.v1."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
