"""What the server says of a program is what the program did: split, total, and C code without the GIL."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from server_process import CPU, ServerProcess, read_flamegraph, recent

PROGRAM = Path(__file__).with_name("split_program.py")
SHARES_PCT = {"work_a": 70, "work_b": 20, "work_c": 10}

pytestmark = pytest.mark.accuracy


@contextmanager
def hogged_cores() -> Iterator[None]:
    """Keep every core busy with another process."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait(10)


def run_program(server: ServerProcess, service: str, kind: str, cpu_s: float) -> dict[str, Any]:
    """Run the program under the SDK; returns what it says that it burnt."""
    command = [sys.executable, str(PROGRAM), f"http://{server.host}:{server.port}", service, kind, str(cpu_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["engine"] == "native"
    return said


def read_profile(server: ServerProcess, service: str) -> tuple[int, dict[str, int]]:
    """Read the service's total and, by function, its total, both ns."""
    reply = server.query(
        "SelectMergeStacktraces",
        profileTypeID=CPU,
        labelSelector=f'{{service_name="{service}"}}',
        **recent(),
    )
    graph = reply["flamegraph"]
    by_function: dict[str, int] = {}
    for path, (total, _) in read_flamegraph(graph).items():
        name = path.rpartition(";")[2]
        by_function[name] = by_function.get(name, 0) + total
    return int(graph["total"]), by_function


def chance_pct(share_pct: float, samples: int) -> float:
    """Return 4.5 sigmas of a share of so many samples: 4.6 points of 70 % at 2,500, one in 150,000 beyond.

    Samples do not weigh the same (jitter, the kernel's ticks), which adds a quarter to the variance.
    """
    share = share_pct / 100
    return 450 * math.sqrt(1.25 * share * (1 - share) / samples)


@pytest.mark.parametrize("contended", [False, True], ids=["alone", "cores-hogged"])
def test_the_split_is_right_but_for_chance_and_the_total_within_three_percent(
    server: ServerProcess, contended: bool
) -> None:
    """A 70/20/10 split over 3 threads and 25 s of CPU; at 100 Hz n is 2,500, less where the kernel's ticks
    are rare because others want the cores."""
    service = f"split-{contended}"
    if contended:
        with hogged_cores():
            said = run_program(server, service, "split", 25.0)
    else:
        said = run_program(server, service, "split", 25.0)
    total_ns, by_function = read_profile(server, service)
    assert said["samples"] >= 600
    assert total_ns == pytest.approx(said["cpu_s"] * 1e9, rel=0.03)
    work_ns = sum(by_function[name] for name in SHARES_PCT)
    found_pct = {name: 100 * by_function[name] / work_ns for name in SHARES_PCT}
    for name, share_pct in SHARES_PCT.items():
        margin_pct = chance_pct(share_pct, said["samples"])
        assert found_pct[name] == pytest.approx(share_pct, abs=margin_pct), found_pct
    assert work_ns > 0.96 * total_ns, by_function


def test_code_that_releases_the_gil_is_counted(server: ServerProcess) -> None:
    """CPU that hashlib and zlib burn without the GIL stands under the functions that called them."""
    said = run_program(server, "native-code", "native", 6.0)
    total_ns, by_function = read_profile(server, "native-code")
    assert total_ns == pytest.approx(said["cpu_s"] * 1e9, rel=0.03)
    for function, cpu_s in said["by_function"].items():
        assert by_function[function] == pytest.approx(cpu_s * 1e9, rel=0.05)
    assert len(said["by_function"]) == 2
