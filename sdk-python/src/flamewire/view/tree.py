"""Stacks merged into a tree of frames, which is what a flame graph draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Capture", "Frame", "frame_tree", "merge", "top_functions", "walk"]


@dataclass(slots=True)
class Frame:
    """One frame of the merged tree; values are in the capture's unit."""

    name: str
    total: int = 0
    self_value: int = 0
    children: list[Frame] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Capture:
    """What a file holds of one sample type.

    Attributes:
        sample_type: for example "cpu"; "" where the file does not say.
        unit: for example "nanoseconds"; "" where the file does not say.
        root: the merged stacks, under one frame that stands for all of them.
        stacks: (names, root first; value), as they are in the file.
        sample_types: all that the file has.
    """

    sample_type: str
    unit: str
    root: Frame
    stacks: Sequence[tuple[tuple[str, ...], int]]
    sample_types: tuple[str, ...] = ()

    def shown(self, value: int) -> str:
        """Return a value for people: seconds, mebibytes or the bare number."""
        if self.unit == "nanoseconds":
            return f"{value / 1e9:.2f} s" if value >= 1e9 else f"{value / 1e6:.1f} ms"
        if self.unit == "bytes":
            return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.1f} KiB"
        return f"{value:,} {self.unit}".rstrip()


def merge(stacks: Iterable[tuple[Sequence[str], int]]) -> Frame:
    """Merge (names, root first; value) into a tree; O(frames), a depth of thousands is no matter."""
    root = Frame("total")
    below: dict[int, dict[str, Frame]] = {}
    for names, value in stacks:
        frame = root
        frame.total += value
        for name in names:
            known = below.setdefault(id(frame), {})
            child = known.get(name)
            if child is None:
                child = known[name] = Frame(name)
                frame.children.append(child)
            child.total += value
            frame = child
        frame.self_value += value
    return root


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
    return root if root is not None else Frame("total")


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
