"""Results as JUnit's XML, for CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from flamewire_conformance.runner import State, TargetResult

__all__ = ["write_junit"]


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
