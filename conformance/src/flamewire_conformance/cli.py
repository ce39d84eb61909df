"""The command ``flamewire-conformance``: run, validate, report."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from flamewire_conformance.cases import Case, Suite, read_suite, sentences
from flamewire_conformance.errors import FlamewireError, SuiteError
from flamewire_conformance.report import markdown, matrix, merge, read_matrix, uncovered, write_junit
from flamewire_conformance.runner import Cell, Places, State, TargetResult, default_jobs, run_target
from flamewire_conformance.targets import Target, read_target

__all__ = ["main"]

_INTRODUCTION = """# Conformance

Made by `flamewire-conformance report` from the results of `nox -s conformance`; do not edit. *fails*: the SDK
does not keep the promise; *no*: it does not claim to.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 where all is as it should be, 1 if a case failed, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="flamewire-conformance", description=__doc__)
    parser.add_argument("--suite", type=Path, default=_suite_folder(), help="folder with cases and scenarios")
    parser.add_argument(
        "--targets", type=Path, default=Path("conformance/targets"), help="folder of the targets"
    )
    parser.add_argument(
        "--spec", type=Path, default=Path("protocol/spec"), help="folder of the specification"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run cases on targets")
    run.add_argument("--target", action="append", default=[], help="name of a target; default: all")
    run.add_argument("--case", action="append", default=[], help="pattern of case ids; default: all")
    run.add_argument("--quick", action="store_true", help="only the quick subset")
    run.add_argument("--require-all", action="store_true", help="what cannot run fails")
    run.add_argument("--jobs", type=int, default=default_jobs(), help="scenarios at one time")
    run.add_argument("--out", type=Path, default=Path("conformance/out"), help="folder for the results")
    run.add_argument("--state", type=Path, default=Path(".nox/conformance-targets"), help="folder for builds")
    run.add_argument("--python", default=sys.executable, help="interpreter of targets that use {python}")
    verbs.add_parser("validate", help="check cases, targets and lists without running anything")
    report = verbs.add_parser("report", help="merge matrix.json files into one page")
    report.add_argument("matrix", type=Path, nargs="+")
    report.add_argument("--to", type=Path, required=True, help="the page to write")
    options = parser.parse_args(arguments)
    try:
        return {"run": _run, "validate": _validate, "report": _report}[options.verb](options)
    except FlamewireError as error:
        print(f"flamewire-conformance: {error}", file=sys.stderr)
        return 2


def _suite_folder() -> Path:
    """Return where the cases are: beside the sources, or within the installed package."""
    package = Path(__file__).resolve().parent
    beside = package.parent.parent
    return beside if (beside / "cases").is_dir() else package / "suite"


def _targets(folder: Path, names: Iterable[str]) -> list[Target]:
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/target.toml"))}
    if unknown := [name for name in names if name not in found]:
        raise SuiteError(f"{folder}: has no target {', '.join(unknown)}; known are {', '.join(found)}")
    return [read_target(found[name].resolve()) for name in (names or found)]


def _select(suite: Suite, patterns: Sequence[str], quick: bool) -> list[Case]:
    chosen = [
        case
        for case in suite.cases
        if (not patterns or any(fnmatch.fnmatchcase(case.id, one) for one in patterns))
        and (case.quick or not quick)
    ]
    if not chosen:
        raise SuiteError("no case was chosen")
    return chosen


def _run(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    targets = _targets(options.targets, options.target)
    for target in targets:
        target.check_known(case.id for case in suite.cases)
    cases = _select(suite, options.case, options.quick)
    places = Places(suite.root.resolve(), options.state.resolve(), options.out.resolve(), options.python)
    places.out.mkdir(parents=True, exist_ok=True)
    results = []
    for target in targets:
        began_s = time.monotonic()
        results.append(
            run_target(target, cases, places, jobs=options.jobs, told=functools.partial(_tell, target))
        )
        print(f"{target.name}: {_summary(results[-1])} in {time.monotonic() - began_s:.0f} s", flush=True)
    data = matrix(results)
    (places.out / "matrix.json").write_text(json.dumps(data, indent=1) + "\n")
    (places.out / "matrix.md").write_text(markdown(data), encoding="utf-8", errors="replace")
    write_junit(results, places.out / "junit.xml")
    cells = [cell for result in results for cell in result.cells]
    if missing := [cell for cell in cells if cell.state is State.NOT_RUN]:
        print(f"not run: {len(missing)} cases: {missing[0].reason}", file=sys.stderr)
    failed = any(cell.state.breaks_run for cell in cells) or (options.require_all and bool(missing))
    return 1 if failed else 0


def _tell(target: Target, cell: Cell) -> None:
    if cell.state is State.PASS:
        return
    words = "; ".join((*cell.faults[:3], *filter(None, [cell.reason])))
    print(
        f"{target.name}: {cell.case.id}: {cell.state}: {words}".encode("ascii", "replace").decode(),
        flush=True,
    )


def _summary(result: TargetResult) -> str:
    counts = {state: sum(cell.state is state for cell in result.cells) for state in State}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _validate(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    targets = _targets(options.targets, []) if options.targets.is_dir() else []
    for target in targets:
        target.check_known(case.id for case in suite.cases)
    print(f"{len(suite.cases)} cases, {len(targets)} targets")
    if options.spec.is_dir():
        known = sentences(options.spec)
        for case in suite.cases:
            for number in case.spec:
                if number not in known:
                    raise SuiteError(
                        f"cases/{case.id}.yaml: names {number}, which the specification does not have"
                    )
                if case.level == "MUST" and known[number] != "MUST":
                    raise SuiteError(f"cases/{case.id}.yaml: is a MUST, and {number} is not")
        named = {number for case in suite.cases for number in case.spec}
        print(f"{len(named)} of {len(known)} sentences of the specification have a case")
    return 0


def _report(options: argparse.Namespace) -> int:
    data = merge([read_matrix(path) for path in options.matrix])
    text = _INTRODUCTION + markdown(data)
    if options.spec.is_dir():
        missing = uncovered(data, sentences(options.spec))
        text += f"\n## Sentences without a case\n\n{len(missing)} MUST sentences: {', '.join(missing)}.\n"
    options.to.write_text(text, encoding="utf-8", errors="replace")
    print(f"wrote {options.to}")
    return 0
