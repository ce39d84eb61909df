"""CPU of the server per query, over profiles that were pushed and compacted, caches warm.

    python benchmarks/query.py [--profiles 10020] [--services 60] [--repetitions 20]

Starts the installed flamewire-server on a fresh folder and pushes profiles of about 14 KB gzipped, with times
spread over an hour; services of one shape run the same code. When every block is compacted, each query is
asked once uncounted and then `repetitions` times one after the other; its CPU is that of the server's process
in /proc, whose clock ticks every 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest import DEADLINE_S, SHAPES, Server, Service, describe_disk, describe_machine, push_all

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
HOUR_MS = 3_600_000
BATCH = 600


def ask(server: Server, method: str, request: dict[str, Any]) -> bytes:
    call = urllib.request.Request(
        f"{server.url}/querier.v1.QuerierService/{method}",
        json.dumps(request).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=DEADLINE_S) as reply:
        return bytes(reply.read())


def measure(server: Server, what: str, method: str, request: dict[str, Any], repetitions: int) -> None:
    size_bytes = len(ask(server, method, request))
    before_s, started_s = server.cpu_s(), time.perf_counter()
    for _ in range(repetitions):
        ask(server, method, request)
    wall_ms = (time.perf_counter() - started_s) / repetitions * 1000
    cpu_ms = (server.cpu_s() - before_s) / repetitions * 1000
    print(
        f"RESULT: {what}: {cpu_ms:.1f} ms CPU, {wall_ms:.1f} ms wall, {size_bytes / 1000:.0f} KB", flush=True
    )


def questions(end_ms: int, service: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    whole = {"profileTypeID": CPU, "labelSelector": "{}", "start": end_ms - HOUR_MS, "end": end_ms}
    half = {**whole, "start": end_ms - HOUR_MS * 3 // 4, "end": end_ms - HOUR_MS // 4}
    one = {**whole, "labelSelector": f'{{service_name="{service}"}}'}
    span = {"start": whole["start"], "end": end_ms}
    yield "flame graph {}", "SelectMergeStacktraces", whole
    yield "flame graph {}, half the range", "SelectMergeStacktraces", half
    yield "flame graph of one service", "SelectMergeStacktraces", one
    yield "pprof of one service", "SelectMergeProfile", one
    yield "series by service, 15 s", "SelectSeries", {**whole, "groupBy": ["service_name"], "step": 15}
    average = "TIME_SERIES_AGGREGATION_TYPE_AVERAGE"
    yield "series, average, 15 s", "SelectSeries", {**whole, "step": 15, "aggregation": average}
    yield "Diff {}", "Diff", {"left": half, "right": whole}
    yield "label names", "LabelNames", span
    yield "values of service_name", "LabelValues", {**span, "name": "service_name"}


def count_frames(server: Server, end_ms: int) -> int:
    request = {"profileTypeID": CPU, "labelSelector": "{}", "start": end_ms - HOUR_MS, "end": end_ms}
    graph = json.loads(ask(server, "SelectMergeStacktraces", {**request, "maxNodes": 1 << 20}))["flamegraph"]
    return sum(len(level["values"]) // 4 for level in graph["levels"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=10_020)
    parser.add_argument("--services", type=int, default=60)
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()
    print(describe_machine())
    services = [
        Service(SHAPES[number % len(SHAPES)], number % len(SHAPES)) for number in range(options.services)
    ]
    for number, service in enumerate(services):
        service.name += f"-{number}"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".query-bench-") as name:
        server = Server(Path(name) / "data")
        end_ms = time.time_ns() // 1_000_000
        for first in range(0, options.profiles, BATCH):
            numbers = range(first, min(first + BATCH, options.profiles))
            times_ms = (end_ms - HOUR_MS + HOUR_MS * number // options.profiles for number in numbers)
            bodies = [
                services[number % len(services)].push(time_ms * 1_000_000)
                for number, time_ms in zip(numbers, times_ms, strict=True)
            ]
            asyncio.run(push_all(server.url, bodies, 16))
        server.settle()
        disk = describe_disk(Path(name) / "data", options.profiles)
        print(f"{options.profiles} profiles of {options.services} services: {disk}")
        print(f"frames of {{}}: {count_frames(server, end_ms)}")
        for what, method, request in questions(end_ms, services[0].name):
            measure(server, what, method, request, options.repetitions)
        print(f"RSS {server.rss_mib():.0f} MiB, peak {server.rss_mib('VmHWM'):.0f} MiB")
        server.stop()


if __name__ == "__main__":
    main()
