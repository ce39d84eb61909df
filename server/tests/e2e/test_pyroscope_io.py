"""The official Python SDK, unmodified, pushes to the server, and what it sent is read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from server_process import CPU, ServerProcess, read_flamegraph, recent

PROGRAM = Path(__file__).with_name("pyroscope_io_program.py")


@pytest.mark.parametrize("implementation", ["PySpy", "Stack"])
def test_pyroscope_io_profile_is_read_back(server: ServerProcess, implementation: str) -> None:
    """Its stacks, its static tags and (where its engine keeps them) its dynamic tags arrive."""
    service = f"official-{implementation}"
    command = [sys.executable, str(PROGRAM), f"http://{server.host}:{server.port}", service, implementation]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    tags = f'{{service_name="{service}", region="eu"}}'
    if implementation == "PySpy":
        tags = tags.replace("}", ', route="/cart"}')
    reply = server.query("SelectMergeStacktraces", profileTypeID=CPU, labelSelector=tags, **recent())
    stacks = read_flamegraph(reply["flamegraph"])
    in_work_ns = max(total for path, (total, _) in stacks.items() if path.endswith("work_a"))
    assert in_work_ns > 1.0e9
    wanted = ["region", "otel.scope.name", "process.runtime.name"]
    (series,) = server.query("Series", matchers=[tags], labelNames=wanted, **recent())["labelsSet"]
    assert {pair["name"]: pair["value"] for pair in series["labels"]} == {
        "region": "eu",
        "otel.scope.name": "com.grafana.pyroscope/python",
        "process.runtime.name": "cpython",
    }
