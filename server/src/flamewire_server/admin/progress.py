"""How far a verb has come, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["with_progress"]

_Item = TypeVar("_Item")
_WIDTH = 30


def with_progress(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """Yield the items; where stderr is a terminal, draw a bar there."""
    shown = sys.stderr.isatty()
    for number, item in enumerate(items):
        if shown:
            done = _WIDTH * number // len(items)
            bar = "#" * done + "." * (_WIDTH - done)
            sys.stderr.write(f"\r[{bar}] {what} {number} of {len(items)}")
            sys.stderr.flush()
        yield item
    if shown:
        sys.stderr.write("\r\x1b[K")
