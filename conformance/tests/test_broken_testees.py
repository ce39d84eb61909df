"""Every case on SDKs fails on a testee that is broken on purpose, and passes on one that is right."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from flamewire_conformance.broken import break_target, read_faults
from flamewire_conformance.cases import Suite, read_suite
from flamewire_conformance.places import Places
from flamewire_conformance.runner import State, TargetResult, run_target
from flamewire_conformance.targets import read_target

ROOT = Path(__file__).resolve().parent.parent
FAULTS = read_faults(ROOT / "broken" / "testee.yaml", [case.id for case in read_suite(ROOT).cases])

Runs = dict[str, Future[TargetResult]]


@pytest.fixture(scope="module")
def runs(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All runs, under way: the right testee in every case, each fault in those that it turns red."""
    target = read_target(ROOT / "broken" / "testee")
    out = tmp_path_factory.mktemp("broken")

    def run(fault: str) -> TargetResult:
        cases = [case for case in suite.cases if not fault or case.id in FAULTS[fault].turns_red]
        return run_target(
            break_target(target, fault), cases, Places(ROOT, out / "state", out / f"out-{fault}"), jobs=2
        )

    with ThreadPoolExecutor(4) as pool:
        yield {fault: pool.submit(run, fault) for fault in ("", *FAULTS)}


def test_right_testee_passes_every_case(runs: Runs) -> None:
    result = runs[""].result()
    assert {cell.case.id: cell.faults for cell in result.cells if cell.state is not State.PASS} == {}
    assert len(result.cells) > 60


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_turns_its_cases_red(runs: Runs, fault: str) -> None:
    cells = runs[fault].result().cells
    assert {cell.case.id: cell.state for cell in cells} == dict.fromkeys(FAULTS[fault].turns_red, State.FAIL)
    # It fails by what it did, not because it broke down.
    assert [cell.faults for cell in cells if "told no truth" in cell.faults[0]] == []


def test_every_case_fails_on_a_fault(suite: Suite) -> None:
    red = {case for fault in FAULTS.values() for case in fault.turns_red}
    assert {case.id for case in suite.cases if case.kind == "sdk"} - red == set()
