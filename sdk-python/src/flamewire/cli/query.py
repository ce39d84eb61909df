"""``flamewire query``: what a server stores, in the terminal or as a file."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from flamewire.cli.querier import Querier, TimeRange, full_profile_type, parse_range
from flamewire.errors import FlamewireError
from flamewire.view.terminal import Painter
from flamewire.view.tree import Capture, Frame, frame_tree

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = [
    "FILE_FORMATS",
    "FunctionRow",
    "add_arguments",
    "add_selection",
    "fetch_tree",
    "function_rows",
    "print_rows",
    "query",
]

FILE_FORMATS: Final = ("pprof", "folded", "speedscope", "flamebearer", "svg", "csv")
_LEAST_SHARE: Final = 0.01
_MAX_FRAMES: Final = 65536

FunctionRow = tuple[str, int, int]
"""Name, value of its own, value with all that it calls; recursion counts once."""


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add what says which profiles are meant."""
    parser.add_argument(
        "selector", nargs="?", default="{}", metavar="SELECTOR", help="""'{service_name="shop"}'"""
    )
    parser.add_argument(
        "--type", default="cpu", metavar="TYPE", help="a profile type, or a word of it; default cpu"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes, beside the options of the session."""
    add_selection(parser)
    parser.add_argument("--from", dest="start", default="now-1h", metavar="TIME", help="default now-1h")
    parser.add_argument("--until", dest="end", default="now", metavar="TIME", help="default now")
    parser.add_argument("--by", metavar="LABEL", help="how much each value of a label has")
    parser.add_argument("--base-from", metavar="TIME", help="compare with another range, from here")
    parser.add_argument("--base-until", metavar="TIME", help="to there; default: where --from begins")
    parser.add_argument(
        "--format", default="table", choices=("table", "tree", *FILE_FORMATS), help="default table"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="rows of a table; default 20")


def query(given: argparse.Namespace, options: Options) -> int:
    """Ask and show; returns the exit status."""
    try:
        querier = Querier(options)
        time_range = parse_range(given.start, given.end)
        kind = full_profile_type(querier, given.type, time_range)
        if given.format in FILE_FORMATS:
            return _write_file(querier, given, kind, time_range)
        out: TextIO = sys.stdout
        if given.by:
            _print_values(querier, given, kind, time_range, out)
        elif given.base_from or given.base_until:
            _print_changes(querier, given, kind, time_range, out)
        else:
            _print_profile(querier, given, kind, time_range, out)
    except (FlamewireError, OSError) as error:
        print(f"flamewire query: {error}", file=sys.stderr)
        return 1
    return 0


def _write_file(querier: Querier, given: argparse.Namespace, kind: str, time_range: TimeRange) -> int:
    body = querier.fetch(
        "/api/v1/export",
        query=kind + given.selector,
        format=given.format,
        **_ends("from", "until", time_range),
    )
    if given.output:
        Path(given.output).write_bytes(body)
        print(f"wrote {given.output}")
        return 0
    if given.format == "pprof" and sys.stdout.isatty():
        print("flamewire query: a pprof is no text; give -o FILE, or send it on", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
    return 0


def _print_profile(
    querier: Querier, given: argparse.Namespace, kind: str, time_range: TimeRange, out: TextIO
) -> None:
    root = fetch_tree(querier, given.selector, kind, time_range)
    if given.format == "tree":
        painter = Painter(out, shutil.get_terminal_size((100, 24)).columns)
        painter.heading(f"{given.selector}: {_shown(kind, root.total)}")
        painter.tree(root, _LEAST_SHARE)
        return
    print(f"{given.selector}: {_shown(kind, root.total)}", file=out)
    print_rows(function_rows(root)[: given.limit], kind, root.total, out)


def _print_values(
    querier: Querier, given: argparse.Namespace, kind: str, time_range: TimeRange, out: TextIO
) -> None:
    base = _base_range(given, time_range)
    ends = _ends("baseFrom", "baseUntil", base) if base else {}
    answer = json.loads(
        querier.fetch(
            "/api/v1/compare/values",
            query=kind + given.selector,
            by=given.by,
            **_ends("from", "until", time_range),
            **ends,
        )
    )
    print(f"{given.selector} by {given.by}: {_shown(kind, int(answer['total']))}", file=out)
    print(f"{'share':>7} {'change' if base else '':>7} {'value':>12}  {given.by}", file=out)
    for row in answer["values"][: given.limit]:
        change = f"{row['shareDelta']:+7.1%}" if base else ""
        value = row["value"] or "(none)"
        print(f"{row['share']:7.1%} {change:>7} {_shown(kind, int(row['total'])):>12}  {value}", file=out)


def _print_changes(
    querier: Querier, given: argparse.Namespace, kind: str, time_range: TimeRange, out: TextIO
) -> None:
    base = _base_range(given, time_range)
    assert base is not None
    selection = kind + given.selector
    answer = json.loads(
        querier.fetch(
            "/api/v1/compare/functions",
            leftQuery=selection,
            rightQuery=selection,
            **_ends("leftFrom", "leftUntil", base),
            **_ends("rightFrom", "rightUntil", time_range),
        )
    )
    totals = [int(answer[side]["total"]) for side in ("left", "right")]
    print(f"{given.selector}: {_shown(kind, totals[0])} before, {_shown(kind, totals[1])} now", file=out)
    print(f"{'before':>7} {'now':>7} {'change':>7}  function   (* more than chance explains)", file=out)
    for row in answer["functions"][: given.limit]:
        shares = [
            row[side]["total"] / total if total else 0.0
            for side, total in zip(("left", "right"), totals, strict=True)
        ]
        sure = "*" if row["significant"] else " "
        print(f"{shares[0]:7.1%} {shares[1]:7.1%} {row['shareDelta']:+7.1%}{sure} {row['name']}", file=out)


def fetch_tree(querier: Querier, selector: str, kind: str, time_range: TimeRange) -> Frame:
    """Ask for the tree of a selection; any server of querier.v1 answers it."""
    start, end = time_range
    answer = querier.ask(
        "SelectMergeStacktraces",
        profileTypeID=kind,
        labelSelector=selector,
        start=start,
        end=end,
        maxNodes=_MAX_FRAMES,
    )
    graph = answer.get("flamegraph") or {}
    return frame_tree({"names": graph.get("names", []), "levels": graph.get("levels", [])})


def function_rows(root: Frame) -> list[FunctionRow]:
    """Add the frames of each function up, the largest value of its own first."""
    own: dict[str, int] = {}
    totals: dict[str, int] = {}
    active: dict[str, int] = {}
    pending: list[tuple[Frame, bool]] = [(child, False) for child in root.children]
    while pending:
        frame, leave = pending.pop()
        if leave:
            active[frame.name] -= 1
            continue
        own[frame.name] = own.get(frame.name, 0) + frame.self_value
        active[frame.name] = active.get(frame.name, 0) + 1
        if active[frame.name] == 1:
            totals[frame.name] = totals.get(frame.name, 0) + frame.total
        pending.append((frame, True))
        pending += [(child, False) for child in frame.children]
    rows = [(name, own[name], total) for name, total in totals.items()]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def print_rows(rows: list[FunctionRow], kind: str, whole: int, out: TextIO) -> None:
    """Write a table of functions."""
    print(f"{'self':>7} {'total':>7} {'self':>12}  function", file=out)
    for name, own, total in rows:
        shares = f"{own / whole:7.1%} {total / whole:7.1%}" if whole else f"{'':7} {'':7}"
        print(f"{shares} {_shown(kind, own):>12}  {name}", file=out)


def _base_range(given: argparse.Namespace, time_range: TimeRange) -> TimeRange | None:
    if not (given.base_from or given.base_until):
        return None
    end = parse_range("now", given.base_until)[1] if given.base_until else time_range[0]
    start = (
        parse_range(given.base_from, "now")[0] if given.base_from else end - (time_range[1] - time_range[0])
    )
    return start, end


def _ends(start: str, end: str, time_range: TimeRange) -> dict[str, str]:
    return {start: str(time_range[0]), end: str(time_range[1])}


def _shown(kind: str, value: int) -> str:
    _, sample_type, unit, _, _ = kind.split(":")
    return Capture(sample_type, unit, Frame("total"), ()).shown(value)
