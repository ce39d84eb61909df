"""``flamewire run``: a program, and the Python processes that it starts, with a session in each."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["BOOTSTRAP", "become", "command_line", "run"]

BOOTSTRAP: Final = Path(__file__).with_name("bootstrap")
"""Holds the ``sitecustomize`` that starts the session before the program's first line."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Become the program; returns only where it cannot be started, with the shell's exit status for that."""
    return become(command, environment, "run")


def become(command: Sequence[str], environment: Mapping[str, str], verb: str) -> int:
    """Become the program, with the bootstrap in front of it; returns only where it cannot be started."""
    line = command_line(command)
    path = environment.get("PYTHONPATH", "")
    seen = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, (str(BOOTSTRAP), path)))}
    try:
        os.execve(line[0], line, seen)  # noqa: S606 - the user's own command, without a shell
    except OSError as error:
        print(f"flamewire {verb}: {command[0]}: {error.strerror}", file=sys.stderr)
        return 126 if isinstance(error, PermissionError) else 127


def command_line(command: Sequence[str]) -> list[str]:
    """Return what to execute: a Python file and ``-m`` with this interpreter, all else as PATH has it."""
    first = command[0]
    if first == "-m" or first.endswith(".py"):
        return [sys.executable, *command]
    # A command beside this interpreter first: the environment may not have been activated.
    beside = shutil.which(first, path=os.path.dirname(sys.executable))
    return [beside or shutil.which(first) or first, *command[1:]]
