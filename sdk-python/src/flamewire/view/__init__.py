"""Profiles in files: read, merged into one tree, shown in the terminal or as a page."""

from __future__ import annotations

from flamewire.view.reading import read
from flamewire.view.tree import Capture, Frame

__all__ = ["Capture", "Frame", "read"]
