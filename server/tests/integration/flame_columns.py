"""Reads a flame graph in columns, as docs/reference/flame-columns.md describes it."""

from __future__ import annotations

import array
import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlameColumns:
    """The header, and each column with the divisor applied."""

    header: dict[str, Any]
    columns: dict[str, list[int]]

    def levels(self) -> list[list[int]]:
        """Give the levels of the flamebearer that says the same."""
        rows = list(zip(*(self.columns[name] for name in self.header["columns"]), strict=True))
        result, at = [], 0
        for size in self.header["levels"]:
            result.append([value for row in rows[at : at + size] for value in row])
            at += size
        assert at == len(rows)
        return result


def read_columns(body: bytes) -> FlameColumns:
    assert body[:8] == b"FWFLAME1"
    length = int.from_bytes(body[8:12], "little")
    header = json.loads(body[12 : 12 + length])
    words = array.array("I", body[-(-(12 + length) // 4) * 4 :])
    assert words.itemsize == 4
    if sys.byteorder == "big":
        words.byteswap()
    frames, divisor, at = header["frames"], int(header["divisor"]), 0
    columns: dict[str, list[int]] = {}
    for name in header["columns"]:
        if name == "name":
            columns[name] = list(words[at : at + frames])
            at += frames
            continue
        step = header["words"]
        part = words[at : at + frames * step]
        at += frames * step
        values = list(part)
        if step == 2:
            values = [low | high << 32 for low, high in zip(part[::2], part[1::2], strict=True)]
        columns[name] = [value * divisor for value in values]
    assert at == len(words)
    return FlameColumns(header, columns)
