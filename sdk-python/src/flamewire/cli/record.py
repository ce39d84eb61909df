"""``flamewire record``: one program, profiled from its first line to its end, into a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from flamewire.cli.run import become

__all__ = ["DURATION", "ENGINE", "FORMATS", "OUT", "form_of", "record"]

FORMATS: Final = {
    ".pb.gz": "pprof",
    ".pprof": "pprof",
    ".pb": "pprof",
    ".folded": "folded",
    ".txt": "folded",
    ".html": "html",
}
"""What the end of a file's name says of what is to be in it."""

OUT: Final = "_FLAMEWIRE_RECORD_OUT"
ENGINE: Final = "_FLAMEWIRE_RECORD_ENGINE"
DURATION: Final = "_FLAMEWIRE_RECORD_DURATION_S"
"""How the program's process is told; it takes them out of its environment before the program begins."""


def record(
    command: Sequence[str], environment: Mapping[str, str], out: str, engine: str, duration_s: float | None
) -> int:
    """Become the program, with a recorder in it; returns only where that cannot be done.

    Args:
        command: a Python file, ``-m`` and a module, or a command that is a Python script; with its arguments.
        environment: the program's.
        out: the file; its name's end is one of ``FORMATS``.
        engine: its name, or "auto".
        duration_s: profile only that long from the start; None: to the end.
    """
    if form_of(out) is None:
        print(
            f"flamewire record: {out}: give a name that ends in one of {', '.join(FORMATS)}", file=sys.stderr
        )
        return 2
    path = Path(out).absolute()
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        print(f"flamewire record: {out} cannot be written; give another with -o", file=sys.stderr)
        return 2
    told = {OUT: str(path), ENGINE: engine}
    if duration_s is not None:
        told[DURATION] = str(duration_s)
    return become(command, {**environment, **told}, "record")


def form_of(name: str) -> str | None:
    """Return the format that a file's name asks for."""
    return next((form for suffix, form in FORMATS.items() if name.endswith(suffix)), None)
