"""CPU of the server per query, over profiles that were pushed and compacted.

    python benchmarks/query.py [--profiles 10020] [--services 60] [--repetitions 20] [--separate]

Starts the installed flamewire-server on a fresh folder and pushes profiles of about 14 KB gzipped, with times
spread over an hour; services of one shape run the same code, with --separate each has code of its own. When
every block is compacted, each query is asked once uncounted and then `repetitions` times one after the
other; its CPU is that of the server's process in /proc, whose clock ticks every 10 ms.

Each query is measured three times: by a server that keeps nothing of earlier answers; by one that keeps
what it added up of each block, for the same range again and again; and by that one for a range that moves
on with each query, as a page that refreshes asks. Symbols and footers are in memory in all of them.

First, and in this process, the same queries read as many profiles in blocks of 32 pushes as the commits of a
loaded server write them, before any compaction.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from ingest import DEADLINE_S, SHAPES, Server, Service, describe_disk, describe_machine, push_all

from flamewire_server._native import Encoder, Limits, Reader
from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server.ingest.block_writer import BlockWriter, Push
from flamewire_server.ingest.format import Head
from flamewire_server.ingest.push_v1 import PROTO as PUSH
from flamewire_server.metrics import Metrics
from flamewire_server.model.time_range import TimeRange
from flamewire_server.query.queries import Queries
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.local_store import LocalStore

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
HOUR_MS = 3_600_000
BATCH = 600


def ask(server: Server, method: str, request: dict[str, Any]) -> bytes:
    body, content_type = json.dumps(request).encode(), "application/json"
    if method == "SelectMergeProfile":
        # No client asks for a pprof in JSON.
        message = json_format.ParseDict(request, querier_pb2.SelectMergeProfileRequest())
        body, content_type = message.SerializeToString(), "application/proto"
    call = urllib.request.Request(
        f"{server.url}/querier.v1.QuerierService/{method}", body, {"Content-Type": content_type}
    )
    with urllib.request.urlopen(call, timeout=DEADLINE_S) as reply:
        return bytes(reply.read())


def moved(request: dict[str, Any], by_ms: int) -> dict[str, Any]:
    """Move every range of a request."""
    if "left" in request:
        return {side: moved(inner, by_ms) for side, inner in request.items()}
    return {**request, "start": request["start"] + by_ms, "end": request["end"] + by_ms}


def measure(
    server: Server, what: str, method: str, request: dict[str, Any], repetitions: int, *, step_ms: int = 0
) -> None:
    size_bytes = len(ask(server, method, request))
    before_s, started_s = server.cpu_s(), time.perf_counter()
    for number in range(1, repetitions + 1):
        ask(server, method, moved(request, number * step_ms))
    wall_ms = (time.perf_counter() - started_s) / repetitions * 1000
    cpu_ms = (server.cpu_s() - before_s) / repetitions * 1000
    print(
        f"RESULT: {what}: {cpu_ms:.1f} ms CPU, {wall_ms:.1f} ms wall, {size_bytes / 1000:.0f} KB", flush=True
    )


def measure_uncompacted(services: list[Service], profiles: int, repetitions: int, folder: Path) -> None:
    """Store in this process, 32 pushes a commit, and ask in this process."""
    store, metrics = LocalStore(folder), Metrics()
    catalog = Catalog(folder / "catalog.sqlite")
    writer = BlockWriter(store=store, catalog=catalog, encoder=Encoder(), limits=Limits())
    end_ms = time.time_ns() // 1_000_000
    decode = PUSH.begin(Head({}, "", time.time_ns())).decode
    for first in range(0, profiles, 32):
        numbers = range(first, min(first + 32, profiles))
        times_ns = [(end_ms - HOUR_MS + HOUR_MS * number // profiles) * 10**6 for number in numbers]
        bodies = [
            services[number % len(services)].push(at_ns)
            for number, at_ns in zip(numbers, times_ns, strict=True)
        ]
        writer.commit([Push("anonymous", body, "gzip", decode) for body in bodies])
    for kept_bytes, words in ((0, "nothing kept"), (128 << 20, "sums kept")):
        queries = Queries(catalog, store, Reader(max_cached_bytes=kept_bytes), metrics)
        whole = TimeRange.from_ms(end_ms - HOUR_MS, end_ms)
        for what, selector in (("{}", "{}"), ("one service", f'{{service_name="{services[0].name}"}}')):
            selection = ProfileSelection.parse(("anonymous",), CPU, selector, whole)
            queries.stacks.tree(selection)
            started_s = time.process_time()
            for _ in range(repetitions):
                queries.stacks.tree(selection).flamegraph_json(8192)
            cpu_ms = (time.process_time() - started_s) / repetitions * 1000
            print(f"RESULT: not compacted, flame graph {what}, {words}: {cpu_ms:.1f} ms CPU", flush=True)
    catalog.close()
    store.close()


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
    parser.add_argument("--separate", action="store_true", help="every service has code of its own")
    options = parser.parse_args()
    print(describe_machine())
    services = [make_service(number, separate=options.separate) for number in range(options.services)]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".query-bench-") as name:
        measure_uncompacted(services, options.profiles, options.repetitions, Path(name) / "uncompacted")
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
            measure(server, f"{what}, same range, sums kept", method, request, options.repetitions)
            measure(server, f"{what}, moving, sums kept", method, request, options.repetitions, step_ms=1000)
        print(f"RSS {server.rss_mib():.0f} MiB, peak {server.rss_mib('VmHWM'):.0f} MiB")
        server.stop()
        os.environ["FLAMEWIRE_SERVER_QUERY_CACHE_BYTES"] = "0"
        server = Server(Path(name) / "data")
        for what, method, request in questions(end_ms, services[0].name):
            measure(server, f"{what}, nothing kept", method, request, options.repetitions)
        print(f"RSS {server.rss_mib():.0f} MiB, peak {server.rss_mib('VmHWM'):.0f} MiB")
        server.stop()


def make_service(number: int, *, separate: bool) -> Service:
    """Make a service; those of one shape share their code unless they are separate."""
    shape = number % len(SHAPES)
    service = Service(SHAPES[shape], number if separate else shape)
    service.name += f"-{number}"
    return service


if __name__ == "__main__":
    main()
