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
    """What the program says of its spans: name -> id, CPU seconds and the CPU seconds between two samples."""
    command = [sys.executable, str(PROGRAM), f"http://{server.host}:{server.port}", "spans"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["engine"] == "native"
    return {name: {**span, "sample_s": said["sample_s"]} for name, span in said["spans"].items()}


def about(span: dict[str, Any]) -> object:
    """Where a turn ends between two samples, the next sample has CPU of both. Over the 80 ends of a task that
    adds up to sqrt(80 / 24) = 1.8 times what lies between two samples (1 sigma): 18 ms if that is 10 ms."""
    return pytest.approx(span["cpu_s"] * 1e9, abs=(4.5 * 1.8 * span["sample_s"] + 0.01 * span["cpu_s"]) * 1e9)


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
    """2 s a task in 40 turns."""
    found = work_in(server, spans[span]["id"])
    assert found.keys() == functions
    assert sum(found.values()) == about(spans[span])


def test_a_root_span_holds_the_work_of_its_child_and_the_child_only_its_own(
    server: ServerProcess, spans: dict[str, dict[str, Any]]
) -> None:
    root, child = (work_in(server, spans[name]["id"]) for name in ("parent", "child"))
    assert root.keys() == {"work_of_parent", "work_of_child"}
    assert child.keys() == {"work_of_child"}
    assert sum(root.values()) == about(spans["parent"])
    assert sum(child.values()) == about(spans["child"])
