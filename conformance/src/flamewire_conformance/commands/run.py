"""``run``: cases on targets."""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from pathlib import Path

from flamewire_conformance.cases import read_suite
from flamewire_conformance.commands.selection import select_cases, select_targets
from flamewire_conformance.junit import write_junit
from flamewire_conformance.places import Places
from flamewire_conformance.report import markdown, matrix, summary
from flamewire_conformance.runner import Cell, State, TargetResult, default_jobs, run_target
from flamewire_conformance.targets import Target, endpoint

__all__ = ["add_run"]


def add_run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    run = verbs.add_parser("run", help="run cases on targets")
    run.add_argument("--target", action="append", default=[], help="name of a target; default: all")
    run.add_argument("--url", help="judge the server at this address instead of a target")
    run.add_argument("--header", action="append", default=[], help="NAME: VALUE of every request to --url")
    run.add_argument("--case", action="append", default=[], help="pattern of case ids; default: all")
    run.add_argument("--quick", action="store_true", help="only the quick subset")
    run.add_argument("--require-all", action="store_true", help="what cannot run fails")
    run.add_argument("--jobs", type=int, default=default_jobs(), help="scenarios at one time")
    run.add_argument("--out", type=Path, default=Path("conformance/out"), help="folder for the results")
    run.add_argument("--state", type=Path, default=Path(".nox/conformance-targets"), help="folder for builds")
    run.add_argument("--python", default=sys.executable, help="interpreter of targets that use {python}")
    run.set_defaults(perform=_run)


def _run(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    if options.url:
        headers = [header.partition(":") for header in options.header]
        targets = [endpoint(options.url, {name.strip(): value.strip() for name, _, value in headers})]
    else:
        targets = select_targets(options.targets, options.target)
    for target in targets:
        target.check_known(case.id for case in suite.cases)
    cases = select_cases(suite, options.case, options.quick)
    places = Places(suite.root.resolve(), options.state.resolve(), options.out.resolve(), options.python)
    places.out.mkdir(parents=True, exist_ok=True)
    results = []
    for target in targets:
        began_s = time.monotonic()
        told = functools.partial(_tell, target)
        results.append(run_target(target, cases, places, jobs=options.jobs, told=told))
        print(f"{target.name}: {_counts(results[-1])} in {time.monotonic() - began_s:.0f} s", flush=True)
    data = matrix(results)
    (places.out / "matrix.json").write_text(json.dumps(data, indent=1) + "\n")
    (places.out / "matrix.md").write_text(markdown(data), encoding="utf-8", errors="replace")
    write_junit(results, places.out / "junit.xml")
    print(summary(data))
    cells = [cell for result in results for cell in result.cells]
    if missing := [cell for cell in cells if cell.state is State.NOT_RUN]:
        print(f"not run: {len(missing)} cases: {missing[0].reason}", file=sys.stderr)
    failed = any(cell.state.breaks_run for cell in cells) or (options.require_all and bool(missing))
    return 1 if failed else 0


def _tell(target: Target, cell: Cell) -> None:
    if cell.state is State.PASS:
        return
    words = "; ".join((*cell.faults[:3], *filter(None, [cell.reason])))
    line = f"{target.name}: {cell.case.id}: {cell.state}: {words}"[:600]
    print(line.encode("ascii", "replace").decode(), flush=True)


def _counts(result: TargetResult) -> str:
    counts = {state: sum(cell.state is state for cell in result.cells) for state in State}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
