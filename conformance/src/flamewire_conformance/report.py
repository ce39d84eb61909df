"""Results as data: matrix.json is the source, matrix.md and docs/conformance.md are made from it."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flamewire_conformance import __version__
from flamewire_conformance.cases import Case, Suite
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.runner import State, TargetResult

__all__ = ["INTRODUCTION", "markdown", "matrix", "merge", "read_matrix", "summary", "without_alien_cases"]

INTRODUCTION = """# Conformance

Made by `flamewire-conformance report` from the results of `nox -s conformance`; do not edit. *fails*: it
does not keep the promise, as its list of known failures says with a reason. *no*: it does not claim to.
*not run* is no pass. A case is judged by what was on the wire, against the CPU time that the program itself
measured. How to run the cases on another profiler or server: [guide](guide/conformance.md).

"""

_FORMAT = 1
_SIGNS = {
    State.PASS: "pass",
    State.FAIL: "**FAIL**",
    State.EXPECTED_FAIL: "fails",
    State.UNEXPECTED_PASS: "**passes, listed as failing**",
    State.UNSUPPORTED: "no",
    State.NOT_RUN: "not run",
}


def matrix(results: Sequence[TargetResult]) -> dict[str, Any]:
    """Return the results as plain data."""
    cases: dict[str, Case] = {cell.case.id: cell.case for result in results for cell in result.cells}
    return {
        "format": _FORMAT,
        "suite": __version__,
        "commit": _commit(),
        "cases": {
            case.id: {"text": case.text, "level": case.level, "spec": list(case.spec)}
            for case in sorted(cases.values(), key=lambda one: one.id)
        },
        "targets": {
            result.target.name: {
                "origin": result.target.origin,
                "language": result.target.language,
                "sdk": result.sdk,
                "runtime": result.runtime,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "machine": f"{platform.system()} {platform.machine()}",
                "cells": {
                    cell.case.id: {
                        "state": str(cell.state),
                        "faults": list(cell.faults),
                        "reason": cell.reason,
                    }
                    for cell in result.cells
                },
            }
            for result in results
        },
    }


def _commit() -> str:
    """Return the commit of the working folder, marked where it was changed; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def read_matrix(path: Path) -> dict[str, Any]:
    """Read a matrix.json.

    Raises:
        SuiteError: it is none, or one of another format.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise SuiteError(f"{path}: is no matrix of format {_FORMAT}")
    return found


def merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put matrices of single targets together; of a target that stands in several, the last one counts.

    Raises:
        SuiteError: they come from different versions of the suite, or from different commits.
    """
    for what in ("suite", "commit"):
        if len(found := {str(part.get(what, "")) for part in parts}) != 1:
            raise SuiteError(f"the matrices are of different {what}s: {', '.join(sorted(found))}")
    merged: dict[str, Any] = {key: parts[0].get(key, "") for key in ("format", "suite", "commit")}
    merged |= {"cases": {}, "targets": {}}
    for part in parts:
        merged["cases"].update(part["cases"])
        merged["targets"].update(part["targets"])
    merged["cases"] = dict(sorted(merged["cases"].items()))
    return merged


def without_alien_cases(data: dict[str, Any], suite: Suite) -> dict[str, Any]:
    """Leave out cases that the suite no longer has."""
    known = {case.id for case in suite.cases}
    data["cases"] = {case_id: case for case_id, case in data["cases"].items() if case_id in known}
    for target in data["targets"].values():
        target["cells"] = {case_id: cell for case_id, cell in target["cells"].items() if case_id in known}
    return data


def summary(data: Mapping[str, Any]) -> str:
    """Return the first table: how many cases each target passes, fails and does not run."""
    lines = [
        "| target | SDK | runtime | pass | fail | not supported | not run | date |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for name, target in data["targets"].items():
        states = [cell["state"] for cell in target["cells"].values()]
        failed = sum(states.count(state) for state in (State.FAIL, State.EXPECTED_FAIL))
        counts = [
            states.count(State.PASS) + states.count(State.UNEXPECTED_PASS), failed,
            states.count(State.UNSUPPORTED), states.count(State.NOT_RUN),
        ]  # fmt: skip
        about = [name, target["sdk"] or "-", target["runtime"] or "-", *map(str, counts), target["date"]]
        lines.append(f"| {' | '.join(about)} |")
    return "\n".join(lines)


def markdown(data: Mapping[str, Any]) -> str:
    """Return the matrix as tables, one an area, and below them why cells are not a pass."""
    targets = data["targets"]
    lines = [summary(data)]
    area, shown = "", []
    for case_id, case in data["cases"].items():
        if case_id.partition("/")[0] != area:
            area = case_id.partition("/")[0]
            shown = [name for name in targets if _speaks_of(targets[name], area)]
            lines += ["", f"## {area}", "", f"| case | promise | level | {' | '.join(shown)} |"]
            lines += [f"|---|---|---|{'---|' * len(shown)}"]
        cells = [
            _SIGNS[State(targets[name]["cells"].get(case_id, {"state": State.NOT_RUN})["state"])]
            for name in shown
        ]
        text = f"{case['text']} ({', '.join(case['spec'])})"
        lines.append(f"| {case_id.partition('/')[2]} | {text} | {case['level']} | {' | '.join(cells)} |")
    for name, target in targets.items():
        told = [line for case_id, cell in target["cells"].items() if (line := _why(case_id, cell))]
        if told:
            lines += ["", f"## What {name} does instead", "", *told]
    return "\n".join(lines) + "\n"


def _speaks_of(target: Mapping[str, Any], area: str) -> bool:
    """Tell whether a target has anything to say of an area: SDKs have none of servers."""
    return any(case_id.partition("/")[0] == area for case_id in target["cells"])


def _why(case_id: str, cell: Mapping[str, Any]) -> str:
    if cell["state"] == State.PASS:
        return ""
    words = [*cell["faults"][:1], *([cell["reason"]] if cell["reason"] else [])]
    return f"- `{case_id}`: {'; '.join(words)}"
