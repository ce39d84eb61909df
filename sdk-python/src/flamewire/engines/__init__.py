"""The engines, and which of them runs."""

from __future__ import annotations

from flamewire.engines.base import Engine, EngineStats, WallStats, Window
from flamewire.engines.registry import start_engine

__all__ = ["Engine", "EngineStats", "WallStats", "Window", "start_engine"]
