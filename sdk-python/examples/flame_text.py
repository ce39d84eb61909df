"""A flame graph as text: a tree with bars, and the functions that cost most."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

BAR_WIDTH = 20
BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass
class Frame:
    """One frame of the merged tree; values are in the sample type's unit."""

    name: str
    total: int
    self_value: int
    children: list[Frame] = field(default_factory=list)


def frame_tree(flamegraph: Mapping[str, Any]) -> Frame:
    """Build the tree from the JSON of a querier.v1.FlameGraph.

    A level is a row of quadruples [gap to the frame before, total, self, index of the name]; a frame's parent
    is the frame of the row above that it lies under.
    """
    names = flamegraph["names"]
    above: list[tuple[int, Frame]] = []
    root: Frame | None = None
    for level in flamegraph["levels"]:
        row: list[tuple[int, Frame]] = []
        values = [int(value) for value in level["values"]]
        position = parent = 0
        for gap, total, self_value, name in zip(*[iter(values)] * 4, strict=True):
            position += gap
            frame = Frame(names[name], total, self_value)
            row.append((position, frame))
            if root is None:
                root = frame
            else:
                while position >= above[parent][0] + above[parent][1].total:
                    parent += 1
                above[parent][1].children.append(frame)
            position += total
        above = row
    return root if root is not None else Frame("total", 0, 0)


def top_functions(root: Frame) -> list[tuple[str, int]]:
    """Return (name, self value), most first."""
    costs: dict[str, int] = {}
    for frame in walk(root):
        costs[frame.name] = costs.get(frame.name, 0) + frame.self_value
    return sorted(costs.items(), key=lambda pair: -pair[1])


def walk(frame: Frame) -> Iterator[Frame]:
    """Yield the frame and all below it."""
    stack = [frame]
    while stack:
        current = stack.pop()
        yield current
        stack += current.children


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
        self._branch(root, root.total, least_share, "", "")

    def table(self, rows: Sequence[tuple[str, int]], total: int) -> None:
        """Write names with their share of the total."""
        for name, value in rows:
            self._write(self._line(value / max(1, total), name))

    def _branch(self, frame: Frame, total: int, least_share: float, lead: str, below: str) -> None:
        # A chain in which nothing is spent on the way is one line: frameworks call through dozens of
        # functions.
        chain = [frame]
        while len(frame.children) == 1 and frame.children[0].total >= 0.99 * frame.total:
            frame = frame.children[0]
            chain.append(frame)
        self._write(self._line(frame.total / total, lead + chain_name([link.name for link in chain])))
        shown = [child for child in frame.children if child.total >= least_share * total]
        shown.sort(key=lambda child: -child.total)
        for child in shown:
            last = child is shown[-1]
            self._branch(
                child, total, least_share, below + ("└ " if last else "├ "), below + ("  " if last else "│ ")
            )

    def _line(self, share: float, text: str) -> str:
        eighths = round(share * BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")
        colour = "31" if share >= 0.25 else "33" if share >= 0.1 else "32" if share >= 0.03 else "2"
        room = max(20, self._width - BAR_WIDTH - 11)
        if len(text) > room:
            text = text[: room - 1] + "…"
        return f"{share:7.1%} {self._paint(bar.ljust(BAR_WIDTH), colour)} {text}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text

    def _write(self, line: str) -> None:
        print(line, file=self._out, flush=True)
