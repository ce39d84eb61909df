"""A flame graph as one HTML page that loads nothing from anywhere."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Final

from flamewire.view.tree import Capture, Frame

__all__ = ["page"]

_TEMPLATE: Final = Path(__file__).with_name("page.html")
_LEAST_SHARE: Final = 1e-5
"""Frames below it are not drawn at any zoom that shows their parent whole."""


def page(capture: Capture, title: str) -> str:
    """Return the page.

    Args:
        capture: what to draw.
        title: shown at the top, in plain text.
    """
    names: dict[str, int] = {}
    frames: list[tuple[int, int, int, int]] = []
    # Flat, parents first: a nested form would hit the recursion limits of every JSON reader and writer.
    waiting: list[tuple[Frame, int]] = [(capture.root, -1)]
    least = capture.root.total * _LEAST_SHARE
    while waiting:
        frame, parent = waiting.pop()
        frames.append((parent, names.setdefault(frame.name, len(names)), frame.total, frame.self_value))
        own = len(frames) - 1
        shown = [child for child in frame.children if child.total > 0 and child.total >= least]
        waiting += [(child, own) for child in sorted(shown, key=lambda child: child.name, reverse=True)]
    drawn = {"names": [*names], "frames": frames, "unit": capture.unit, "type": capture.sample_type}
    # "</script>" in a function's name must not end the script, nor U+2028 a line of it.
    data = json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    template = _TEMPLATE.read_text(encoding="utf-8")
    return template.replace("{{title}}", html.escape(title)).replace("{{data}}", data)
