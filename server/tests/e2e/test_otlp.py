"""The SDK's OTLP exporter against our server: what push.v1 shows, OTLP shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from server_process import CPU, ServerProcess, read_flamegraph, recent

PROGRAM = Path(__file__).with_name("span_program.py")

pytestmark = pytest.mark.accuracy


@pytest.fixture(scope="module")
def spans(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """What the program says of its spans: name -> id and CPU seconds."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), f"http://{server.host}:{server.port}", "otlp"],
        env={**os.environ, "FLAMEWIRE_EXPORT_PROTOCOL": "otlp"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["spans"]
    return found


def work(server: ServerProcess, method: str, **question: object) -> dict[str, int]:
    """Read the totals of the program's functions: name -> ns."""
    selector = '{service_name="otlp"}'
    reply = server.query(method, profileTypeID=CPU, labelSelector=selector, **question, **recent())
    found: dict[str, int] = {}
    for path, (total, _) in read_flamegraph(reply["flamegraph"]).items():
        name = path.rpartition(";")[2]
        if name.startswith("work_"):
            found[name] = found.get(name, 0) + total
    return found


def test_the_profile_stands_where_those_of_push_stand(
    server: ServerProcess, spans: dict[str, dict[str, Any]]
) -> None:
    found = work(server, "SelectMergeStacktraces")
    assert found.keys() == {"work_a", "work_b", "work_of_parent", "work_of_child"}
    assert sum(found.values()) == pytest.approx(
        sum(spans[name]["cpu_s"] for name in ("a", "b", "parent")) * 1e9, rel=0.05
    )


@pytest.mark.parametrize(
    ("span", "functions"),
    [("a", {"work_a"}), ("parent", {"work_of_parent", "work_of_child"})],
)
def test_a_span_is_found_by_the_attributes_of_its_samples(
    server: ServerProcess, spans: dict[str, dict[str, Any]], span: str, functions: set[str]
) -> None:
    found = work(server, "SelectMergeSpanProfile", spanSelector=[spans[span]["id"]])
    assert found.keys() == functions
    assert sum(found.values()) == pytest.approx(spans[span]["cpu_s"] * 1e9, rel=0.05)
