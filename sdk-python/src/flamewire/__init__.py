"""flamewire: continuous profiling of this process, pushed to a flamewire (or Grafana Pyroscope) server.

``flamewire.start(service_name="shop")`` begins, ``with flamewire.tags(route="/"):`` labels what runs in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flamewire._version import __version__
from flamewire.default import flush, pause, resume, start, status, stop, update
from flamewire.errors import AlreadyStartedError, ConfigurationError, EngineError, FlamewireError
from flamewire.scope import tags

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.session import Session
    from flamewire.snapshot import Status

__all__ = [
    "AlreadyStartedError",
    "ConfigurationError",
    "EngineError",
    "FlamewireError",
    "Options",
    "Session",
    "Status",
    "__version__",
    "flush",
    "pause",
    "resume",
    "start",
    "status",
    "stop",
    "tags",
    "update",
]

# Loaded at first use: importing flamewire must stay cheap in programs that may never start it.
_LAZY = {"Options": "config", "Session": "session", "Status": "snapshot"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"flamewire.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'flamewire' has no attribute {name!r}")
