"""Every case on servers fails on a server that is broken on purpose, and passes on one that is right.

The broken one is a proxy with one fault before flamewire-server, which has to be installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from flamewire_conformance.broken import break_target, read_faults
from flamewire_conformance.cases import Suite, read_suite
from flamewire_conformance.places import Places
from flamewire_conformance.runner import State, TargetResult, run_target
from flamewire_conformance.server.run import serving
from flamewire_conformance.targets import read_target

ROOT = Path(__file__).resolve().parent.parent
FAULTS = read_faults(ROOT / "broken" / "server.yaml", [case.id for case in read_suite(ROOT).cases])

Runs = dict[str, Future[TargetResult]]

needs_server = pytest.mark.skipif(
    find_spec("flamewire_server") is None, reason="flamewire-server is not installed"
)


@pytest.fixture(scope="module")
def runs(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All runs, under way: without a fault in every case, each fault in those that it turns red."""
    proxy, right = read_target(ROOT / "broken" / "server"), read_target(ROOT / "targets" / "server")
    out = tmp_path_factory.mktemp("broken")
    with serving(right, Places(ROOT, out / "state", out / "right")) as url, ThreadPoolExecutor(3) as pool:

        def run(fault: str) -> TargetResult:
            cases = [case for case in suite.cases if not fault or case.id in FAULTS[fault].turns_red]
            target = break_target(proxy, fault, UPSTREAM=url)
            return run_target(target, cases, Places(ROOT, out / "state", out / f"out-{fault}"), jobs=1)

        yield {fault: pool.submit(run, fault) for fault in ("", *FAULTS)}


@needs_server
def test_right_server_passes_every_case_through_the_proxy(runs: Runs) -> None:
    result = runs[""].result()
    assert {cell.case.id: cell.faults for cell in result.cells if cell.state is not State.PASS} == {}
    assert len(result.cells) > 150


@needs_server
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_turns_its_cases_red(runs: Runs, fault: str) -> None:
    cells = runs[fault].result().cells
    assert {cell.case.id: cell.state for cell in cells} == dict.fromkeys(FAULTS[fault].turns_red, State.FAIL)
    # It fails by what it answered, not because it broke down.
    assert [cell.faults for cell in cells if "the answer is 0" in cell.faults[0]] == []


def test_every_case_fails_on_a_fault(suite: Suite) -> None:
    red = {case for fault in FAULTS.values() for case in fault.turns_red}
    assert {case.id for case in suite.cases if case.kind == "server"} - red == set()
