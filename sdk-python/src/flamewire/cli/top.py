"""``flamewire top``: the functions that cost most right now, again and again."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from flamewire.cli.querier import Querier, full_profile_type
from flamewire.cli.query import add_selection, fetch_tree, function_rows, print_rows
from flamewire.errors import FlamewireError

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["add_arguments", "top"]

_CLEAR: Final = "\x1b[H\x1b[J"
# Lines of the screen that are no rows of the table.
_HEAD_LINES: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes, beside the options of the session."""
    add_selection(parser)
    parser.add_argument("--live", action="store_true", help="show it again and again, until Ctrl-C")
    parser.add_argument(
        "--window-s", type=_above_zero, default=60.0, metavar="S", help="how far back; default 60"
    )
    parser.add_argument(
        "--every-s", type=_above_zero, default=5.0, metavar="S", help="with --live; default 5"
    )
    parser.add_argument("--count", type=int, metavar="N", help="with --live: so many times")
    parser.add_argument("--limit", type=int, metavar="N", help="rows; default: what the screen holds")


def top(given: argparse.Namespace, options: Options) -> int:
    """Show the table, with --live until Ctrl-C; returns the exit status."""
    times = given.count if given.live else 1
    shown = 0
    try:
        querier = Querier(options)
        while times is None or shown < times:
            if shown:
                time.sleep(given.every_s)
            _show(querier, given, sys.stdout)
            shown += 1
    except KeyboardInterrupt:
        return 0
    except (FlamewireError, OSError) as error:
        print(f"flamewire top: {error}", file=sys.stderr)
        return 1
    return 0


def _show(querier: Querier, given: argparse.Namespace, out: TextIO) -> None:
    end = int(time.time() * 1000)
    time_range = (end - int(given.window_s * 1000), end)
    # Types are looked for in the last hour: a quiet minute has none.
    kind = full_profile_type(querier, given.type, (end - 3_600_000, end))
    root = fetch_tree(querier, given.selector, kind, time_range)
    terminal = shutil.get_terminal_size((100, 24))
    limit = given.limit or max(1, terminal.lines - _HEAD_LINES)
    if given.live and out.isatty():
        out.write(_CLEAR)
    cores = root.total / 1e9 / given.window_s if kind.split(":")[2] == "nanoseconds" else None
    busy = "" if cores is None else f", {cores:.2f} cores"
    clock = time.strftime("%H:%M:%S", time.localtime(end / 1000))
    print(f"{clock}  {given.selector}  {kind.split(':')[1]}, last {given.window_s:g} s{busy}", file=out)
    print_rows(function_rows(root)[:limit], kind, root.total, out)
    out.flush()


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e7:
        raise argparse.ArgumentTypeError("give a number of seconds above 0")
    return number
