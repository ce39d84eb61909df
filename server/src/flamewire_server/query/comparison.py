"""Two profiles against one another: by function with how sure the difference is, and by the values of a
label."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flamewire_server._native import Tree
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.time_series import TimeSeriesQueries, TimeSeriesQuery

__all__ = ["compare_functions", "compare_values", "z_score"]

# Standard deviations from which a difference is called significant: by chance one function in 16,000 has it.
_SIGNIFICANT_Z = 4.0


@dataclass(frozen=True, slots=True)
class _Side:
    """A function in one of the profiles."""

    own: int = 0
    total: int = 0
    samples: int = 0


def z_score(left: tuple[float, int], right: tuple[float, int]) -> float:
    """Say by how many standard deviations two shares differ: right above left is positive.

    The two-proportion z-test with a pooled share. A share is of the value; what it was found from is the
    number of stored samples, each of which adds up at least one sample of the profiler: so a difference is
    made less sure by that, never surer.

    Args:
        left: (share of the value, all stored samples).
        right: the same of the other profile.
    """
    (left_share, left_all), (right_share, right_all) = left, right
    if not left_all or not right_all:
        return 0.0
    pooled = (left_share * left_all + right_share * right_all) / (left_all + right_all)
    variance = pooled * (1 - pooled) * (1 / left_all + 1 / right_all)
    if variance <= 0:
        return 0.0
    return (right_share - left_share) / math.sqrt(variance)


def compare_functions(left: Tree, right: Tree, *, limit: int) -> dict[str, object]:
    """Lay the functions of two profiles side by side, those whose share of the total changed most first."""
    sides = [
        {name: _Side(own, total, samples) for name, own, total, samples in tree.functions()}
        for tree in (left, right)
    ]
    wholes = (left, right)

    def share(number: int, name: str) -> float:
        whole = wholes[number].total
        return sides[number].get(name, _Side()).total / whole if whole else 0.0

    names = sorted(
        sides[0].keys() | sides[1].keys(), key=lambda name: (-abs(share(1, name) - share(0, name)), name)
    )
    rows = []
    for name in names[:limit]:
        before, after = (side.get(name, _Side()) for side in sides)
        score = z_score((share(0, name), left.samples), (share(1, name), right.samples))
        rows.append(
            {
                "name": name,
                "left": {"self": before.own, "total": before.total, "samples": before.samples},
                "right": {"self": after.own, "total": after.total, "samples": after.samples},
                "shareDelta": share(1, name) - share(0, name),
                "z": round(score, 3),
                "significant": abs(score) >= _SIGNIFICANT_Z,
            }
        )
    return {
        "left": {"total": left.total, "samples": left.samples},
        "right": {"total": right.total, "samples": right.samples},
        "functions": rows,
        "allFunctions": len(names),
        "significantZ": _SIGNIFICANT_Z,
    }


def compare_values(
    series: TimeSeriesQueries, selection: ProfileSelection, base: ProfileSelection | None, label: str
) -> dict[str, object]:
    """Say what each value of a label has of the whole, the largest first; and of the base, where there is
    one.

    Series without the label have the value "".
    """

    def totals(of: ProfileSelection) -> dict[str, float]:
        # One step as wide as the range, which then reaches back from its end.
        width_ms = (of.time_range.end_ns - of.time_range.start_ns) // 1_000_000 + 1
        end = type(of.time_range)(of.time_range.end_ns - 999_999, of.time_range.end_ns)
        whole = ProfileSelection(of.tenants, of.selector, end, of.guard)
        query = TimeSeriesQuery((label,), width_ms, 0)
        return {
            dict(one.labels).get(label, ""): sum(value for _, value in one.points)
            for one in series.time_series(whole, query)
        }

    now, before = totals(selection), totals(base) if base is not None else {}
    now_total, before_total = sum(now.values()), sum(before.values())
    rows = []
    for value in sorted(now.keys() | before.keys(), key=lambda value: (-now.get(value, 0.0), value)):
        share = now.get(value, 0.0) / now_total if now_total else 0.0
        row: dict[str, object] = {"value": value, "total": now.get(value, 0.0), "share": share}
        if base is not None:
            row["baseTotal"] = before.get(value, 0.0)
            row["shareDelta"] = share - (before.get(value, 0.0) / before_total if before_total else 0.0)
        rows.append(row)
    answer: dict[str, object] = {"label": label, "total": now_total, "values": rows}
    if base is not None:
        answer["baseTotal"] = before_total
    return answer
