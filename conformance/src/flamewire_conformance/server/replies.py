"""Reads the replies of queries: flame graphs, trees, diffs and pprof, into folded stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flamewire_conformance.errors import WireError
from flamewire_conformance.protowire import Message

__all__ = ["flamegraph_of", "folded_of_levels", "folded_of_tree", "levels_of"]


def levels_of(graph: Mapping[str, Any]) -> list[list[int]]:
    """Return a flame graph's levels as numbers."""
    return [[int(value) for value in level.get("values", [])] for level in graph.get("levels", [])]


def flamegraph_of(body: bytes) -> dict[str, Any]:
    """Read field 1 of a binary reply as the JSON of a flame graph.

    Raises:
        WireError: it is none.
    """
    found = Message(body).messages(1)
    if not found:
        return {}
    graph = found[-1]
    return {
        "names": graph.texts(1),
        "levels": [{"values": level.integers(1)} for level in graph.messages(2)],
        "total": graph.integer(3),
        "maxSelf": graph.integer(4),
    }


def folded_of_levels(graph: Mapping[str, Any], width: int = 4) -> dict[str, tuple[int, ...]]:
    """Return folded stack (root left out, ``""`` for the root itself) -> its numbers.

    Args:
        width: 4: (total, self); 7, a diff: (left total, left self, right total, right self).

    Raises:
        WireError: a frame lies in no frame of the level above, or names what is not there.
    """
    names = graph.get("names", [])
    result: dict[str, tuple[int, ...]] = {}
    parents: list[tuple[tuple[int, int], ...]] = []
    paths: list[str] = []
    trees = 1 if width == 4 else 2
    for depth, values in enumerate(levels_of(graph)):
        if len(values) % width:
            raise WireError(f"level {depth} has {len(values)} numbers, which is no multiple of {width}")
        ends, row, own_paths = [0] * trees, [], []
        for at in range(0, len(values), width):
            spans, numbers = [], []
            for tree in range(trees):
                gap, total, own = values[at + 3 * tree : at + 3 * tree + 3]
                begin = ends[tree] + gap
                ends[tree] = begin + total
                spans.append((begin, ends[tree]))
                numbers += [total, own]
            name = values[at + width - 1]
            if not 0 <= name < len(names):
                raise WireError(f"level {depth} names {name}, and there are {len(names)} names")
            place = tuple(spans)
            path = _path(depth, str(names[name]), place, parents, paths)
            if path in result:
                raise WireError(f"{path!r} stands twice")
            result[path] = tuple(numbers)
            row.append(place)
            own_paths.append(path)
        parents, paths = row, own_paths
    return result


def _path(
    depth: int, name: str, place: tuple[tuple[int, int], ...], parents: Sequence[tuple[tuple[int, int], ...]],
    paths: Sequence[str],
) -> str:  # fmt: skip
    if depth == 0:
        return ""
    for parent, path in zip(parents, paths, strict=True):
        inside = all(
            left <= begin and end <= right for (begin, end), (left, right) in zip(place, parent, strict=True)
        )
        if inside:
            return name if depth == 1 else f"{path};{name}"
    raise WireError(f"{name!r} on level {depth} lies in no frame of the level above")


def folded_of_tree(body: bytes) -> dict[str, int]:
    """Read the tree format of QRY-062: folded stack -> self value, where that is not 0.

    Raises:
        WireError: it is cut off.
    """
    result: dict[str, int] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(body):
                raise WireError("the tree is cut off")
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    pending: list[tuple[str, int]] = [("", 1)]
    while pending:
        prefix, left = pending.pop()
        if not left:
            continue
        pending.append((prefix, left - 1))
        size = number()
        name = body[at : at + size].decode("utf-8", "replace")
        at += size
        own, children = number(), number()
        path = f"{prefix};{name}" if prefix else name
        if own:
            result[path] = result.get(path, 0) + own
        pending.append((path, children))
    return result
