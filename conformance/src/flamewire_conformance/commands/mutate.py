"""``mutate``: applies mutations one by one and demands that a case notices each."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flamewire_conformance.cases import Case, Suite, read_suite
from flamewire_conformance.commands.selection import select_targets
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.mutant import caught_by, install_mutant, installed_folder, over
from flamewire_conformance.mutations import PACKAGES, Mutation, Package, read_mutations
from flamewire_conformance.places import Places
from flamewire_conformance.runner import Cell, State, default_jobs, run_target
from flamewire_conformance.targets import Target

__all__ = ["add_mutate"]


def add_mutate(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    mutate = verbs.add_parser("mutate", help="mutate our SDK and server and see that cases notice")
    mutate.add_argument("--mutation", action="append", default=[], help="pattern of names; default: all")
    mutate.add_argument("--jobs", type=int, default=default_jobs(), help="scenarios at one time")
    mutate.add_argument(
        "--work", type=Path, default=Path(".nox/mutants"), help="folder for copies and results"
    )
    mutate.set_defaults(perform=_mutate)


def _mutate(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    mutations = [
        mutation
        for mutation in read_mutations(suite.root, [case.id for case in suite.cases])
        if not options.mutation or any(fnmatch.fnmatchcase(mutation.name, one) for one in options.mutation)
    ]
    if not mutations:
        raise SuiteError("no mutation was chosen")
    for mutation in mutations:
        mutation.applied(options.tree)
    failures = []
    for package in PACKAGES:
        (target,) = select_targets(options.targets, [package.target])
        mine = [mutation for mutation in mutations if mutation.package is package]
        failures += _of_package(package, target, mine, suite, options)
    print(f"{len(mutations)} mutations, {len(failures)} failures")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _of_package(
    package: Package,
    target: Target,
    mutations: Sequence[Mutation],
    suite: Suite,
    options: argparse.Namespace,
) -> list[str]:
    """Return what went wrong with the mutations of one package, in words."""
    if not mutations:
        return []
    installed = installed_folder(package)
    wanted = {case for mutation in mutations for case in mutation.turns_red}
    # Red says something only of a case that is green without the mutation.
    before = _not_green(target, _cases(suite, wanted), "without", options)
    if before:
        return [f"without a mutation {case} does not pass: {words}" for case, words in before.items()]
    failures = []
    for mutation in mutations:
        began_s = time.monotonic()
        overlay = install_mutant(mutation, options.tree, installed, options.work)
        built_s = time.monotonic()
        cases = _cases(suite, set(mutation.turns_red))
        cells = _run(over(target, overlay), cases, mutation.name, options)
        caught = caught_by(cells)
        spent = f"{built_s - began_s:.0f} s to install, {time.monotonic() - built_s:.0f} s to run"
        print(f"{mutation.name}: {', '.join(caught) or 'SURVIVED'} ({spent})", flush=True)
        if not caught:
            seen = "; ".join(
                f"{cell.case.id} is {cell.state} {' '.join(cell.faults[:1])}".strip() for cell in cells
            )
            failures.append(f"the mutation {mutation.name} survived ({mutation.does}): {seen}")
    return failures


def _cases(suite: Suite, ids: set[str]) -> list[Case]:
    return [case for case in suite.cases if case.id in ids]


def _run(target: Target, cases: Sequence[Case], name: str, options: argparse.Namespace) -> list[Cell]:
    work = options.work.resolve()
    places = Places(options.suite.resolve(), work / "state", work / "out" / name, sys.executable)
    return list(run_target(target, cases, places, jobs=options.jobs).cells)


def _not_green(
    target: Target, cases: Sequence[Case], name: str, options: argparse.Namespace
) -> dict[str, str]:
    return {
        cell.case.id: "; ".join((str(cell.state), *cell.faults[:3], *filter(None, [cell.reason])))[:400]
        for cell in _run(target, cases, f"{name}-{target.name}", options)
        if cell.state is not State.PASS
    }
