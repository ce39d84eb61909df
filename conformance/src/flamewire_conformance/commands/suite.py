"""``validate``, ``golden`` and ``coverage``: the suite's own files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from flamewire_conformance.cases import Suite, read_suite, sentences
from flamewire_conformance.commands.selection import select_targets
from flamewire_conformance.coverage import coverage_of, coverage_text, proven_cases
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.golden.files import drift, write
from flamewire_conformance.mutations import PACKAGES, check_areas, read_mutations

__all__ = ["add_suite"]


def add_suite(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the command line."""
    validate = verbs.add_parser("validate", help="check cases, targets, lists and mutations, running nothing")
    validate.set_defaults(perform=_validate)
    golden = verbs.add_parser("golden", help="write the golden vectors, or check them")
    golden.add_argument("--to", type=Path, default=Path("protocol/golden"), help="their folder")
    golden.add_argument("--check", action="store_true", help="only say what is not as the generators make it")
    golden.set_defaults(perform=_golden)
    coverage = verbs.add_parser("coverage", help="tell which sentences of the specification are proven")
    coverage.add_argument(
        "--at-least-pct", type=float, default=0.0, help="fail below this share of MUST sentences"
    )
    coverage.set_defaults(perform=_coverage)


def _validate(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    targets = select_targets(options.targets, []) if options.targets.is_dir() else []
    for target in targets:
        target.check_known(case.id for case in suite.cases)
    count = _check_mutations(suite, options.tree)
    print(f"{len(suite.cases)} cases, {len(targets)} targets, {count} mutations")
    if options.spec.is_dir():
        _check_sentences(suite, sentences(options.spec))
    return 0


def _check_mutations(suite: Suite, tree: Path) -> int:
    """Check the mutations, and where our sources are there, that each applies to them; returns how many."""
    mutations = read_mutations(suite.root, [case.id for case in suite.cases])
    if mutations:
        check_areas(mutations, [case.area for case in suite.cases])
    if all((tree / package.folder).is_dir() for package in PACKAGES):
        for mutation in mutations:
            mutation.applied(tree)
    return len(mutations)


def _check_sentences(suite: Suite, known: Mapping[str, str]) -> None:
    for case in suite.cases:
        for number in case.spec:
            if number not in known:
                raise SuiteError(f"{case.id}: names {number}, which the specification does not have")
            if case.level == "MUST" and known[number] != "MUST":
                raise SuiteError(f"{case.id}: is a MUST, and {number} is not")


def _golden(options: argparse.Namespace) -> int:
    if options.check:
        changed = drift(options.to)
        for name in changed:
            print(f"{options.to / name}: is not what `flamewire-conformance golden` makes")
        return 1 if changed else 0
    print(f"wrote {write(options.to)} files below {options.to}")
    return 0


def _coverage(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    found = coverage_of(sentences(options.spec), suite.cases, proven_cases(suite))
    print(coverage_text(found))
    return 0 if found.proven_pct >= options.at_least_pct else 1
