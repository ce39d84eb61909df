"""Which targets and cases a command is about."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

from flamewire_conformance.cases import Case, Suite
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.targets import Target, read_target

__all__ = ["select_cases", "select_targets"]


def select_targets(folder: Path, names: Iterable[str]) -> list[Target]:
    """Read the named targets of a folder, or all.

    Raises:
        SuiteError: one is not there or wrong.
    """
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/target.toml"))}
    if unknown := [name for name in names if name not in found]:
        raise SuiteError(f"{folder}: has no target {', '.join(unknown)}; known are {', '.join(found)}")
    return [read_target(found[name].resolve()) for name in (names or found)]


def select_cases(suite: Suite, patterns: Sequence[str], quick: bool) -> list[Case]:
    """Return the cases that match one of the patterns, all without one.

    Raises:
        SuiteError: there is none.
    """
    chosen = [
        case
        for case in suite.cases
        if (not patterns or any(fnmatch.fnmatchcase(case.id, one) for one in patterns))
        and (case.quick or not quick)
    ]
    if not chosen:
        raise SuiteError("no case was chosen")
    return chosen
