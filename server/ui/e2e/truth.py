"""What the page should show, worked out from the API's answer without the page's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Function:
    """A function's values as the API's flame graph adds up to."""

    self_value: int
    total: int


class Truth:
    """The API's answer, read independently of the page's own decoder."""

    def __init__(self, flame_graph: Mapping[str, Any]) -> None:
        names: Sequence[str] = flame_graph["names"]
        rows: list[list[tuple[int, int, int, str]]] = []
        for level in flame_graph["levels"]:
            numbers = [int(value) for value in level["values"]]
            row, x = [], 0
            for offset, total, self_value, name in zip(*[iter(numbers)] * 4, strict=True):
                x += offset
                row.append((x, total, self_value, names[name]))
                x += total
            rows.append(row)
        self.rows = rows
        self.total = int(flame_graph["total"])
        self.frame_count = sum(map(len, rows))

    def functions(self) -> dict[str, Function]:
        """Sum by function; a frame below another of the same function adds nothing to the total."""
        sums: dict[str, Function] = {}
        for depth, row in enumerate(self.rows[1:], 1):
            for x, total, self_value, name in row:
                recursive = any(
                    above_name == name and above_x <= x < above_x + above_total
                    for above in self.rows[1:depth]
                    for above_x, above_total, _, above_name in above
                )
                known = sums.get(name, Function(0, 0))
                sums[name] = Function(
                    known.self_value + self_value, known.total + (0 if recursive else total)
                )
        return sums
