"""Measure what sampling costs and how true its totals are, beside pyroscope-io's two engines in the same run;
and what wall-clock sampling costs, beside what else reads all threads.

Usage: python sampler_cost.py [--seconds 4] [--repetitions 5] [--samplers NAME,NAME] [--workloads NAME,NAME]

Every cell runs in a process of its own, in turn, so that all samplers see the same machine; each pushes to a
flamewire-server of this run, from which its total is read back. Printed are medians and, in brackets, the
spread. Needs flamewire, flamewire-server and pyroscope-io in this interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import _workloads as workloads
from _profiled import SAMPLERS, WALL_SAMPLERS

HERE = Path(__file__).parent
CPU_TYPE = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
Runs = dict[tuple[str, str], list[dict[str, float | None]]]


@contextmanager
def running_server() -> Iterator[str]:
    """Start a flamewire-server on a free port with a data folder of its own; yields its URL."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "flamewire_server", "--listen", "127.0.0.1:0", "--data", data]
        server = subprocess.Popen([*command, "--log-format", "json"], stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        try:
            for line in server.stderr:
                event = json.loads(line)
                if event["event"] == "listening":
                    yield event["url"]
                    break
            else:
                raise SystemExit("flamewire-server did not start")
        finally:
            server.terminate()
            server.communicate(timeout=30)


def query_flamegraph(server_url: str, service: str) -> dict[str, object]:
    """The merged CPU flame graph of the last hour of one service."""
    now_ms = int(time.time() * 1000)
    query = {
        "profileTypeID": CPU_TYPE,
        "labelSelector": f'{{service_name="{service}"}}',
        "start": now_ms - 3_600_000,
        "end": now_ms + 60_000,
    }
    request = urllib.request.Request(
        f"{server_url}/querier.v1.QuerierService/SelectMergeStacktraces",
        data=json.dumps(query).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply).get("flamegraph", {})


def self_values(flamegraph: dict) -> dict[str, int]:
    """Self value by function name, from the levels of a flamebearer."""
    names = flamegraph.get("names", [])
    totals: dict[str, int] = {}
    for level in flamegraph.get("levels", []):
        values = [int(value) for value in level["values"]]
        for index in range(0, len(values), 4):
            name = names[values[index + 3]]
            totals[name] = totals.get(name, 0) + values[index + 2]
    return totals


def run_once(sampler: str, workload: str, seconds: float, server_url: str, service: str) -> dict:
    """Run one cell and add what the server holds of it."""
    command = [sys.executable, "_profiled.py", sampler, workload, str(seconds), server_url, service]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=seconds * 10 + 60)
    if done.returncode != 0:
        raise SystemExit(f"{sampler} / {workload} failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    flamegraph = query_flamegraph(server_url, service)
    result["reported_s"] = int(flamegraph.get("total", 0)) / 1e9
    in_sleep = self_values(flamegraph).get("burst_sleep", 0) / 1e9
    result["in_sleep_pct"] = 100 * in_sleep / result["reported_s"] if result["reported_s"] else 0.0
    return result


def spread(values: list[float], digits: int) -> str:
    """Median and, in brackets, the lowest and the highest value."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def cost_pct(run: dict) -> float:
    """What the sampler used, % of the CPU that the program itself used."""
    used = run["sampler_cpu_s"] + (run["handler_cpu_s"] or 0.0)
    return 100 * used / (run["process_cpu_s"] - run["sampler_cpu_s"])


def core_pct(run: dict) -> float:
    """What the sampler used, % of one core for the time of the run."""
    used = run["sampler_cpu_s"] + (run["handler_cpu_s"] or 0.0) + run["children_cpu_s"]
    return 100 * used / run["wall_s"]


def wall_thread_pct(run: dict) -> float:
    """The same of the thread that reads the others alone."""
    return 100 * run["wall_thread_cpu_s"] / run["wall_s"]


def true_ratio(run: dict) -> float:
    """Reported CPU over the CPU that the program (without the sampler's threads) used."""
    return run["reported_s"] / (run["process_cpu_s"] - run["sampler_cpu_s"])


def print_wall_report(runs: Runs, chosen: list[str]) -> None:
    """Print the table of wall-clock sampling."""
    names = list(WALL_SAMPLERS)
    print("\nWall-clock sampling, % of a core\n")
    print("| workload | flamewire's thread for it |" + "".join(f" {name} |" for name in names))
    print("|---|---|" + "---|" * len(names))
    for workload in chosen:
        own = spread([wall_thread_pct(run) for run in runs["flamewire cpu+wall", workload]], 2)
        cells = "".join(f" {spread([core_pct(run) for run in runs[name, workload]], 2)} |" for name in names)
        print(f"| {workload} | {own} |{cells}")


def print_report(runs: Runs, samplers: list[str], chosen: list[str]) -> None:
    """Print one Markdown table for each question."""
    columns = "".join(f" {sampler} |" for sampler in samplers)

    def table(title: str, names: list[str], cell) -> None:
        print(f"\n{title}\n\n| workload |{columns}\n|---|{'---|' * len(samplers)}")
        for name in names:
            cells = "".join(f" {cell(runs[sampler, name])} |" for sampler in samplers)
            print(f"| {name} |{cells}")

    cost = [name for name in chosen if name in workloads.COST]
    table("Sampler, % of the program's CPU", cost, lambda all_: spread([cost_pct(run) for run in all_], 2))
    table("Reported CPU / true CPU", chosen, lambda all_: spread([true_ratio(run) for run in all_], 2))
    if "burst" in chosen:
        table(
            "CPU put into the sleep, %",
            ["burst"],
            lambda all_: spread([run["in_sleep_pct"] for run in all_], 1),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="wall time of one run")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--samplers", default=",".join(name for name in SAMPLERS if name != "none"))
    parser.add_argument("--workloads", default=",".join(workloads.ALL))
    parser.add_argument(
        "--wall-workloads", default=",".join(workloads.WALL), help="empty: no wall-clock sampling"
    )
    options = parser.parse_args()
    samplers, chosen, in_wall = (
        list(filter(None, names.split(",")))
        for names in (options.samplers, options.workloads, options.wall_workloads)
    )
    cells = [(sampler, name) for name in chosen for sampler in samplers]
    cells += [(sampler, name) for name in in_wall for sampler in WALL_SAMPLERS]
    peers = ", ".join(f"{package} {version(package)}" for package in ("flamewire", "pyroscope-io"))
    print(f"{platform.platform()}, CPython {platform.python_version()}, {os.cpu_count()} cores, {peers}")
    print(f"{options.repetitions} repetitions of {options.seconds} s; load before: {os.getloadavg()}")
    runs: Runs = {cell: [] for cell in cells}
    with running_server() as server_url:
        for repetition in range(options.repetitions):
            for index, (sampler, name) in enumerate(cells):
                service = f"bench-{index}-{repetition}"
                runs[sampler, name].append(run_once(sampler, name, options.seconds, server_url, service))
            print(f"# repetition {repetition + 1} of {options.repetitions} done", file=sys.stderr, flush=True)
    print(f"load after: {os.getloadavg()}")
    if samplers and chosen:
        print_report(runs, samplers, chosen)
    if in_wall:
        print_wall_report(runs, in_wall)


if __name__ == "__main__":
    main()
