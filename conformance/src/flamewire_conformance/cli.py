"""The command ``flamewire-conformance``: run, mutate, record, assess, report, coverage, golden,
validate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flamewire_conformance.commands.capture import add_capture
from flamewire_conformance.commands.mutate import add_mutate
from flamewire_conformance.commands.report import add_report
from flamewire_conformance.commands.run import add_run
from flamewire_conformance.commands.suite import add_suite
from flamewire_conformance.errors import FlamewireError

__all__ = ["main"]


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
    parser.add_argument(
        "--tree", type=Path, default=Path(), help="folder with our sources, which mutations are of"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for add in (add_run, add_mutate, add_capture, add_report, add_suite):
        add(verbs)
    options = parser.parse_args(arguments)
    try:
        code: int = options.perform(options)
    except FlamewireError as error:
        print(f"flamewire-conformance: {error}", file=sys.stderr)
        return 2
    return code


def _suite_folder() -> Path:
    """Return where the cases are: beside the sources, or within the installed package."""
    package = Path(__file__).resolve().parent
    beside = package.parent.parent
    return beside if (beside / "cases").is_dir() else package / "suite"
