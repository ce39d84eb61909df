"""A flame graph as text: a tree with bars, and the functions that cost most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TextIO

from flamewire.view.tree import Frame

__all__ = ["Painter", "chain_name"]

_BAR_WIDTH: Final = 20
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_DEEPEST: Final = 200


def chain_name(names: Sequence[str]) -> str:
    """Name a chain of frames by its ends."""
    if len(names) <= 2:
        return " > ".join(names)
    return f"{names[0]} > ({len(names) - 2} more) > {names[-1]}"


class Painter:
    """Writes trees and tables to a stream; in colour where it is a terminal and NO_COLOR is not set."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def heading(self, text: str) -> None:
        """Write a line that stands out."""
        self._write(f"\n{self._paint(text, '1')}")

    def tree(self, root: Frame, least_share: float) -> None:
        """Write every frame that has the least share of the root, children below their parent, largest
        first."""
        if not root.total:
            self._write("(no samples)")
            return
        self._branch(root, root.total, least_share, "", "", _DEEPEST)

    def table(self, rows: Sequence[tuple[str, int]], total: int) -> None:
        """Write names with their share of the total."""
        for name, value in rows:
            self._write(self._line(value / max(1, total), name))

    def _branch(
        self, frame: Frame, total: int, least_share: float, lead: str, below: str, levels: int
    ) -> None:
        # A chain in which nothing is spent on the way is one line: frameworks call through dozens of
        # functions.
        chain = [frame]
        while len(frame.children) == 1 and frame.children[0].total >= 0.99 * frame.total:
            frame = frame.children[0]
            chain.append(frame)
        self._write(self._line(frame.total / total, lead + chain_name([link.name for link in chain])))
        shown = [child for child in frame.children if child.total > 0 and child.total >= least_share * total]
        shown.sort(key=lambda child: -child.total)
        for child in shown:
            last = child is shown[-1]
            if not levels:
                self._write(self._line(child.total / total, "(deeper)"))
                return
            self._branch(
                child,
                total,
                least_share,
                below + ("└ " if last else "├ "),
                below + ("  " if last else "│ "),
                levels - 1,
            )

    def _line(self, share: float, text: str) -> str:
        eighths = round(share * _BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
        colour = "31" if share >= 0.25 else "33" if share >= 0.1 else "32" if share >= 0.03 else "2"
        room = max(20, self._width - _BAR_WIDTH - 11)
        if len(text) > room:
            text = text[: room - 1] + "…"
        return f"{share:7.1%} {self._paint(bar.ljust(_BAR_WIDTH), colour)} {text}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text

    def _write(self, line: str) -> None:
        print(line, file=self._out, flush=True)
