"""The flame graph of a span is the work that was done in it, read back from the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from server_process import CPU, ServerProcess, read_flamegraph, recent

PROGRAM = Path(__file__).with_name("span_program.py")
SELECTOR = '{service_name="spans", service_version="3"}'

pytestmark = pytest.mark.accuracy


@pytest.fixture(scope="module")
def spans(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """What the program says of its spans: name -> id and CPU seconds."""
    command = [sys.executable, str(PROGRAM), f"http://{server.host}:{server.port}", "spans"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["engine"] == "native"
    spans: dict[str, dict[str, Any]] = said["spans"]
    return spans


def work_in(server: ServerProcess, span_id: str) -> dict[str, int]:
    """Read the work functions of one span's flame graph: name -> total ns."""
    reply = server.query(
        "SelectMergeSpanProfile",
        profileTypeID=CPU,
        labelSelector=SELECTOR,
        spanSelector=[span_id],
        **recent(),
    )
    found: dict[str, int] = {}
    for path, (total, _) in read_flamegraph(reply["flamegraph"]).items():
        name = path.rpartition(";")[2]
        if name.startswith("work_"):
            found[name] = found.get(name, 0) + total
    return found


@pytest.mark.parametrize(("span", "functions"), [("a", {"work_a"}), ("b", {"work_b"})])
def test_two_interleaved_tasks_share_no_sample(
    server: ServerProcess, spans: dict[str, dict[str, Any]], span: str, functions: set[str]
) -> None:
    """200 samples a task in 40 turns; where a turn ends between two samples, the next sample has up to 10 ms
    of both, which adds up to 18 ms (1 sigma) of 2 s."""
    found = work_in(server, spans[span]["id"])
    assert found.keys() == functions
    assert sum(found.values()) == pytest.approx(spans[span]["cpu_s"] * 1e9, rel=0.05)


def test_a_root_span_holds_the_work_of_its_child_and_the_child_only_its_own(
    server: ServerProcess, spans: dict[str, dict[str, Any]]
) -> None:
    root, child = (work_in(server, spans[name]["id"]) for name in ("parent", "child"))
    assert root.keys() == {"work_of_parent", "work_of_child"}
    assert child.keys() == {"work_of_child"}
    assert sum(root.values()) == pytest.approx(spans["parent"]["cpu_s"] * 1e9, rel=0.05)
    assert sum(child.values()) == pytest.approx(spans["child"]["cpu_s"] * 1e9, rel=0.05)
