"""Results as files: matrix.json is the source, matrix.md and docs/conformance.md are made from it."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from flamewire_conformance import __version__
from flamewire_conformance.cases import Case
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.runner import State, TargetResult

__all__ = ["markdown", "matrix", "merge", "read_matrix", "uncovered", "write_junit"]

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
        SuiteError: they come from different versions of the suite.
    """
    if len({part["suite"] for part in parts}) != 1:
        raise SuiteError("the matrices come from different versions of the suite")
    merged: dict[str, Any] = {"format": _FORMAT, "suite": parts[0]["suite"], "cases": {}, "targets": {}}
    for part in parts:
        merged["cases"].update(part["cases"])
        merged["targets"].update(part["targets"])
    merged["cases"] = dict(sorted(merged["cases"].items()))
    return merged


def uncovered(matrix_: Mapping[str, Any], sentences: Mapping[str, str]) -> list[str]:
    """Return the numbers of the MUST sentences that no case names."""
    named = {number for case in matrix_["cases"].values() for number in case["spec"]}
    return sorted(number for number, level in sentences.items() if level == "MUST" and number not in named)


def markdown(matrix_: Mapping[str, Any]) -> str:
    """Return the matrix as tables, one an area, and below them why cells are not a pass."""
    targets = matrix_["targets"]
    lines = [
        "| target | SDK | runtime | pass | fail | not supported | not run | date |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for name, target in targets.items():
        states = [cell["state"] for cell in target["cells"].values()]
        failed = sum(states.count(state) for state in (State.FAIL, State.EXPECTED_FAIL))
        counts = [
            states.count(State.PASS) + states.count(State.UNEXPECTED_PASS), failed,
            states.count(State.UNSUPPORTED), states.count(State.NOT_RUN),
        ]  # fmt: skip
        about = [name, target["sdk"] or "-", target["runtime"] or "-", *map(str, counts), target["date"]]
        lines.append(f"| {' | '.join(about)} |")
    area = ""
    for case_id, case in matrix_["cases"].items():
        if case_id.partition("/")[0] != area:
            area = case_id.partition("/")[0]
            lines += ["", f"## {area}", ""]
            lines += [
                f"| case | promise | level | {' | '.join(targets)} |",
                f"|---|---|---|{'---|' * len(targets)}",
            ]
        cells = [
            _SIGNS[State(target["cells"].get(case_id, {"state": State.NOT_RUN})["state"])]
            for target in targets.values()
        ]
        text = f"{case['text']} ({', '.join(case['spec'])})"
        lines.append(f"| {case_id.partition('/')[2]} | {text} | {case['level']} | {' | '.join(cells)} |")
    for name, target in targets.items():
        told = [line for case_id, cell in target["cells"].items() if (line := _why(case_id, cell))]
        if told:
            lines += ["", f"## What {name} does instead", "", *told]
    return "\n".join(lines) + "\n"


def _why(case_id: str, cell: Mapping[str, Any]) -> str:
    if cell["state"] == State.PASS:
        return ""
    words = [*cell["faults"][:1], *([cell["reason"]] if cell["reason"] else [])]
    return f"- `{case_id}`: {'; '.join(words)}"


def write_junit(results: Sequence[TargetResult], path: Path) -> None:
    """Write JUnit's XML: unsupported and not-run are skipped, expected failures too, with their words."""
    root = ElementTree.Element("testsuites")
    for result in results:
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=result.target.name,
            tests=str(len(result.cells)),
            failures=str(sum(cell.state.breaks_run for cell in result.cells)),
        )
        for cell in result.cells:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{result.target.name}.{cell.case.area}"
            )
            case.set("name", cell.case.id)
            words = "; ".join((*cell.faults, *filter(None, [cell.reason])))
            words = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in words)
            if cell.state.breaks_run:
                ElementTree.SubElement(case, "failure", message=f"{cell.state}: {words}")
            elif cell.state is not State.PASS:
                ElementTree.SubElement(case, "skipped", message=f"{cell.state}: {words}")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
