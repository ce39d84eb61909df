"""What pyroscope-io itself only warns about."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

__all__ = ["build_summary", "change_name", "remove_tags", "stop", "tag", "test_logger"]


def stop() -> None:
    """Warn; ``shutdown`` stops."""
    _warn("deprecated, no longer applicable")


def change_name(name: str) -> None:
    """Warn."""
    _warn("deprecated, no longer applicable")


def tag(tags: Mapping[str, object]) -> None:
    """Warn; ``tag_wrapper`` tags."""
    _warn("deprecated, use tag_wrapper function")


def remove_tags(*keys: str) -> None:
    """Warn."""
    _warn("deprecated, no longer applicable")


def build_summary() -> None:
    """Warn."""
    _warn("deprecated, no longer applicable")


def test_logger() -> None:
    """Warn."""
    _warn("deprecated, no longer applicable")


def _warn(message: str) -> None:
    warnings.warn(message, DeprecationWarning, stacklevel=3)
