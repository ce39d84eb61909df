"""``report``: results of several runs on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from flamewire_conformance.cases import read_suite, sentences
from flamewire_conformance.coverage import coverage_of, coverage_text, proven_cases
from flamewire_conformance.html import write_html
from flamewire_conformance.report import INTRODUCTION, markdown, merge, read_matrix, without_alien_cases

__all__ = ["add_report"]


def add_report(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    report = verbs.add_parser("report", help="merge matrix.json files of one commit")
    report.add_argument("matrix", type=Path, nargs="+")
    report.add_argument("--to", type=Path, required=True, help="the page of Markdown to write")
    report.add_argument("--html", type=Path, help="a page of HTML to write, with what explains each failure")
    report.set_defaults(perform=_report)


def _report(options: argparse.Namespace) -> int:
    suite = read_suite(options.suite)
    data = without_alien_cases(merge([read_matrix(path) for path in options.matrix]), suite)
    text = INTRODUCTION + markdown(data)
    if options.spec.is_dir():
        found = coverage_of(sentences(options.spec), suite.cases, proven_cases(suite))
        text += f"\n## The specification\n\n{coverage_text(found)}\n"
    options.to.write_text(text, encoding="utf-8", errors="replace")
    print(f"wrote {options.to}")
    if options.html:
        write_html(data, [path.parent for path in options.matrix], options.html)
        print(f"wrote {options.html}")
    return 0
