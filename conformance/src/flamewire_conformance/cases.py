"""Cases: one sentence or a few of the specification, a scenario, and what to expect of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flamewire_conformance.checks.registry import CHECKS
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.golden.files import vectors
from flamewire_conformance.scenario import Scenario, load_yaml, read_scenarios
from flamewire_conformance.schema import Fields
from flamewire_conformance.server.steps import check_steps

__all__ = ["FEATURES", "LEVELS", "Case", "Suite", "read_suite", "sentences"]

LEVELS = ("MUST", "SHOULD", "MAY")

FEATURES = frozenset(
    {
        "cpu", "transport.push", "transport.ingest", "tags.static", "tags.dynamic", "tags.tasks", "fork",
        "restart", "retry", "gzip", "sample_rate", "tenant", "auth.basic", "auth.bearer", "http_headers",
        "native_code", "sigterm", "enabled", "spans", "flush", "threads",
        "server.push", "server.ingest", "server.query", "server.tenants",
    }
)  # fmt: skip
"""What a target can declare and a case can need."""

_SERVER_FEATURES = {"push": "server.push", "ingest": "server.ingest"}


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        id: area/name, as its file.
        text: the promise in one sentence.
        spec: numbers of the sentences that it proves.
        needs: features without which it does not apply.
        quick: belongs to the quick subset.
        scenario: what an SDK is run through; absent in cases on servers.
        steps: what is done to a server.
        expect: name of a check -> its argument, for SDKs.
    """

    id: str
    text: str
    level: str
    spec: tuple[str, ...]
    needs: tuple[str, ...]
    quick: bool
    scenario: Scenario | None
    steps: tuple[Mapping[str, Any], ...]
    expect: Mapping[str, Any]

    @property
    def area(self) -> str:
        """The folder of its file."""
        return self.id.partition("/")[0]

    @property
    def kind(self) -> str:
        """What it is a case for: "sdk" or "server"."""
        return "sdk" if self.scenario is not None else "server"


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
    if idle := scenarios.keys() - {case.scenario.name for case in cases if case.scenario}:
        raise SuiteError(f"no case uses the scenario {', '.join(sorted(idle))}")
    return Suite(root, tuple(sorted((*cases, *_golden()), key=lambda case: case.id)))


def _golden() -> Iterator[Case]:
    """Yield a case for each golden vector."""
    for vector in vectors().values():
        form, _, name = vector.name.partition("/")
        yield Case(
            id=f"server-ingest/{form}-{name}",
            text=vector.about.removesuffix("."),
            level="MUST",
            spec=vector.spec,
            needs=(_SERVER_FEATURES[form], "server.query"),
            quick=True,
            scenario=None,
            steps=({"vector": vector.name},),
            expect={},
        )


def _read(name: str, path: Path, scenarios: Mapping[str, Scenario]) -> Case:
    where = f"cases/{name}.yaml"
    fields = Fields(where, load_yaml(path))
    if (stated := fields.take("id", str)) != name:
        raise SuiteError(f"{where}: its id is {stated}")
    steps = fields.take("steps", list, [])
    check_steps(where, steps)
    scenario = fields.take("scenario", str, "")
    if not steps and scenario not in scenarios:
        raise SuiteError(f"{where}: there is no scenario {scenario}")
    expect = fields.take("expect", dict, {})
    if unknown := expect.keys() - CHECKS.keys():
        raise SuiteError(
            f"{where}: expect knows no {', '.join(sorted(unknown))}; known are {', '.join(CHECKS)}"
        )
    if bool(expect) == bool(steps):
        raise SuiteError(f"{where}: has a scenario and what to expect of it, or steps")
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
        scenario=scenarios[scenario] if scenario else None,
        steps=tuple(steps),
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
