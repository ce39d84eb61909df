"""Cases: one sentence or a few of the specification, a scenario, and what to expect of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flamewire_conformance.checks.registry import CHECKS
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.scenario import Scenario, load_yaml, read_scenarios
from flamewire_conformance.schema import Fields

__all__ = ["FEATURES", "LEVELS", "Case", "Suite", "read_suite", "sentences"]

LEVELS = ("MUST", "SHOULD", "MAY")

FEATURES = frozenset(
    {
        "cpu", "transport.push", "transport.ingest", "tags.static", "tags.dynamic", "tags.tasks", "fork",
        "restart", "retry", "gzip", "sample_rate", "tenant", "auth.basic", "auth.bearer", "http_headers",
        "native_code", "sigterm", "enabled",
    }
)  # fmt: skip
"""What a target can declare and a case can need."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        id: area/name, as its file.
        text: the promise in one sentence.
        spec: numbers of the sentences that it proves.
        needs: features without which it does not apply.
        quick: belongs to the quick subset.
        expect: name of a check -> its argument.
    """

    id: str
    text: str
    level: str
    spec: tuple[str, ...]
    needs: tuple[str, ...]
    quick: bool
    scenario: Scenario
    expect: Mapping[str, Any]

    @property
    def area(self) -> str:
        """The folder of its file."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Suite:
    """All cases and the folder that they came from."""

    root: Path
    cases: tuple[Case, ...]


def read_suite(root: Path) -> Suite:
    """Read scenarios and cases below a folder.

    Raises:
        SuiteError: a file is wrong, or a scenario is used by no case.
    """
    scenarios = read_scenarios(root / "scenarios")
    folder = root / "cases"
    cases = tuple(
        _read(path.relative_to(folder).with_suffix("").as_posix(), path, scenarios)
        for path in sorted(folder.glob("*/*.yaml"))
    )
    if idle := scenarios.keys() - {case.scenario.name for case in cases}:
        raise SuiteError(f"no case uses the scenario {', '.join(sorted(idle))}")
    return Suite(root, cases)


def _read(name: str, path: Path, scenarios: Mapping[str, Scenario]) -> Case:
    where = f"cases/{name}.yaml"
    fields = Fields(where, load_yaml(path))
    if (stated := fields.take("id", str)) != name:
        raise SuiteError(f"{where}: its id is {stated}")
    scenario = fields.take("scenario", str)
    if scenario not in scenarios:
        raise SuiteError(f"{where}: there is no scenario {scenario}")
    expect = fields.take("expect", dict)
    if unknown := expect.keys() - CHECKS.keys():
        raise SuiteError(
            f"{where}: expect knows no {', '.join(sorted(unknown))}; known are {', '.join(CHECKS)}"
        )
    if not expect:
        raise SuiteError(f"{where}: expects nothing")
    needs = fields.texts("needs", ())
    if unknown := set(needs) - FEATURES:
        raise SuiteError(f"{where}: needs {', '.join(sorted(unknown))}, which is no feature")
    case = Case(
        id=name,
        text=fields.take("text", str),
        level=fields.choice("level", LEVELS),
        spec=fields.texts("spec"),
        needs=needs,
        quick=fields.take("quick", bool, False),
        scenario=scenarios[scenario],
        expect=expect,
    )
    if not case.spec:
        raise SuiteError(f"{where}: proves no sentence of the specification")
    fields.done()
    return case


def sentences(folder: Path) -> dict[str, str]:
    """Return the numbered sentences of a specification: number -> strictest word in it."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.md")):
        for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
            if match := re.match(r"\*\*([A-Z]{3}-\d{3})\*\* (.+)", paragraph, re.DOTALL):
                found[match[1]] = next(
                    (word for word in LEVELS if re.search(rf"\b{word}\b", match[2])), "MAY"
                )
    return found
