"""CPU of the server per 1,000 pushed profiles, and the time to an acknowledgement beside an fsync of the same
disk.

    python benchmarks/ingest.py [--profiles 6000] [--connections 32] [--repetitions 3]

Starts the installed flamewire-server on a fresh folder, makes profiles of about 14 KB gzipped in six shapes
of service with its own generator, pushes them over many connections, waits until every new block is
compacted, and reads the server's CPU time from /proc. The first round is not counted: in it every stack is
new. Then an idle server gets one push after the other, and an fsync of as many bytes is timed beside each.
Last, flame graphs of what was stored are asked for, and its size is read from the catalog.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

import flamewire_server
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
DEADLINE_S = 60


@dataclass(frozen=True)
class Shape:
    """How the profiles of one kind of service look."""

    name: str
    stacks: int
    depth: int
    functions: int
    path: str
    share: float
    labels: int


# Counts were set so that each profile comes to about 14 KB gzipped.
SHAPES = (
    Shape("go", 1200, 18, 900, "github.com/acme/shop/internal/%s/%s.go", 0.12, 0),
    Shape("python", 1600, 24, 700, "/srv/app/lib/python3.12/site-packages/%s/%s.py", 0.08, 3),
    Shape("ruby", 1800, 40, 500, "/usr/local/bundle/gems/%s/lib/%s.rb", 0.065, 0),
    Shape("java", 2000, 34, 800, "com/acme/%s/%s.java", 0.05, 0),
    Shape("rust", 1100, 22, 900, "crates/%s/src/%s.rs", 0.11, 2),
    Shape("nodejs", 1000, 14, 900, "/app/node_modules/%s/dist/%s.js", 0.15, 0),
)
WORDS = (
    "cart",
    "order",
    "user",
    "price",
    "stock",
    "parse",
    "render",
    "query",
    "cache",
    "codec",
    "route",
    "token",
    "frame",
    "queue",
    "batch",
    "index",
    "merge",
)


class Service:
    """One service: a fixed universe of stacks, of which each profile draws a share with fresh values."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._random = random.Random(seed)
        self.name = f"{shape.name}-{seed}"
        draw = self._random
        self._functions = [
            (
                f"{draw.choice(WORDS)}_{draw.choice(WORDS)}_{number}",
                shape.path % (draw.choice(WORDS), draw.choice(WORDS)),
            )
            for number in range(shape.functions)
        ]
        self._stacks = [self._draw_stack() for _ in range(shape.stacks)]

    def _draw_stack(self) -> list[int]:
        draw, shape = self._random, self._shape
        depth = max(2, round(draw.gauss(shape.depth, shape.depth / 4)))
        # The root side is shared, as in real programs: few functions there, many near the leaf.
        return [
            draw.randrange(max(2, shape.functions * (level + 1) // (4 * depth))) for level in range(depth - 3)
        ] + [draw.randrange(shape.functions) for _ in range(3)]

    def push(self, time_ns: int) -> bytes:
        """Make the gzipped body of one push with one profile."""
        draw = self._random
        profile = profile_pb2.Profile()
        strings: dict[str, int] = {"": 0}

        def string(text: str) -> int:
            return strings.setdefault(text, len(strings))

        profile.sample_type.add(type=string("cpu"), unit=string("nanoseconds"))
        profile.period_type.type, profile.period_type.unit = string("cpu"), string("nanoseconds")
        profile.period, profile.time_nanos, profile.duration_nanos = 10_000_000, time_ns, 15 * 10**9
        locations: dict[int, int] = {}
        for stack in draw.sample(self._stacks, int(len(self._stacks) * self._shape.share)):
            sample = profile.sample.add(value=[10_000_000 * (1 + min(200, int(draw.paretovariate(1.2))))])
            for function in reversed(stack):
                if function not in locations:
                    number = locations[function] = len(locations) + 1
                    name, path = self._functions[function]
                    profile.function.add(
                        id=number, name=string(name), system_name=string(name), filename=string(path),
                        start_line=10 + function % 900,
                    )  # fmt: skip
                    profile.location.add(id=number, address=0x400000 + function * 64).line.add(
                        function_id=number, line=12 + function % 900
                    )
                sample.location_id.append(locations[function])
            if self._shape.labels:
                sample.label.add(
                    key=string("route"), str=string(f"/{WORDS[draw.randrange(self._shape.labels)]}")
                )
        profile.string_table.extend(strings)
        request = push_pb2.PushRequest()
        series = request.series.add()
        for name, value in (
            ("__name__", "process_cpu"),
            ("service_name", self.name),
            ("pod", f"{self.name}-0"),
        ):
            series.labels.add(name=name, value=value)
        series.samples.add(
            raw_profile=profile.SerializeToString(), ID=str(uuid.UUID(int=draw.getrandbits(128)))
        )
        return gzip.compress(request.SerializeToString(), 6)


@dataclass
class Acks:
    """Seconds from the first byte sent to the acknowledgement."""

    seconds: list[float] = field(default_factory=list)

    def show(self, what: str) -> str:
        ordered = sorted(self.seconds)
        p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        return f"{what}: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, n {len(ordered)}"


class Server:
    """The server under test."""

    def __init__(self, data: Path) -> None:
        self._started_s = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flamewire_server", "--listen", "127.0.0.1:0", "--data", str(data),
             "--log-format", "json"],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr
        for line in self._process.stderr:
            record = json.loads(line)
            if record["event"] == "listening":
                self.url = record["url"]
                break
        else:
            raise SystemExit("the server did not start")
        self.ready_s = time.perf_counter() - self._started_s

    def cpu_s(self) -> float:
        text = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / TICKS_PER_S

    def rss_mib(self, key: str = "VmRSS") -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key + ":")) / 1024

    def compaction_lag_s(self) -> float:
        with urllib.request.urlopen(self.url + "/metrics", timeout=DEADLINE_S) as reply:
            lines = reply.read().decode().splitlines()
        return next(
            float(line.split()[1]) for line in lines if line.startswith("flamewire_compaction_lag_seconds ")
        )

    def settle(self) -> None:
        """Wait until no block is left as a commit wrote it."""
        time.sleep(3)  # the lag is measured every other second: it must have seen the last commit
        deadline_s = time.monotonic() + DEADLINE_S
        while self.compaction_lag_s() > 0:
            if time.monotonic() > deadline_s:
                raise SystemExit("compaction does not end")
            time.sleep(1)

    def flame_graph_ms(self, selector: str, repetitions: int = 40) -> float:
        """CPU of the server for one flame graph of all time, caches warm."""
        request = urllib.request.Request(
            self.url + "/querier.v1.QuerierService/SelectMergeStacktraces",
            json.dumps(
                {
                    "profile_typeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
                    "label_selector": selector,
                    "start": "0",
                    "end": str(int(time.time() * 1000) + 60_000),
                }
            ).encode(),
            {"Content-Type": "application/json"},
        )
        for repetition in range(repetitions + 1):
            if repetition == 1:
                before_s = self.cpu_s()
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
                reply.read()
        return (self.cpu_s() - before_s) / repetitions * 1000

    def stop(self) -> None:
        self._process.terminate()
        status = self._process.wait(DEADLINE_S)
        if status:
            raise SystemExit(f"the server ended with {status}")


async def push_all(url: str, bodies: list[bytes], connections: int) -> Acks:
    acks = Acks()
    waiting = list(reversed(bodies))
    headers = {"Content-Type": "application/proto", "Content-Encoding": "gzip"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def pusher() -> None:
            while waiting:
                body = waiting.pop()
                started_s = time.perf_counter()
                async with session.post(
                    url + "/push.v1.PusherService/Push", data=body, headers=headers
                ) as reply:
                    if reply.status != 200:
                        raise SystemExit(f"push answered {reply.status}: {await reply.text()}")
                acks.seconds.append(time.perf_counter() - started_s)

        await asyncio.gather(*(pusher() for _ in range(connections)))
    return acks


def probe_fsync(folder: Path, size_bytes: int) -> float:
    """Write and fsync a file of that size, and fsync its folder; returns seconds."""
    content = os.urandom(size_bytes)
    path = folder / f"probe-{uuid.uuid4().hex}"
    started_s = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    parent = os.open(folder, os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)
    seconds = time.perf_counter() - started_s
    path.unlink()
    return seconds


def make_round(services: list[Service], count: int) -> list[bytes]:
    now_ns = time.time_ns()
    return [services[number % len(services)].push(now_ns - number * 1000) for number in range(count)]


def describe_machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(": ")[1] for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    return (
        f"machine: {model}, {os.cpu_count()} cores, Linux {platform.release()}, Python"
        f" {platform.python_version()},"
        f" aiohttp {aiohttp.__version__}, flamewire-server {flamewire_server.__version__},"
        f" load {os.getloadavg()[0]:.1f}"
    )


def describe_disk(data: Path, profiles: int) -> str:
    """Bytes per profile of the blocks that queries read, and of the catalog."""
    catalog = data / "catalog.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
        count, *sizes = connection.execute(
            "SELECT COUNT(*), SUM(samples_bytes), SUM(symbols_bytes), SUM(totals_bytes),"
            " SUM(hours_bytes + days_bytes) FROM blocks"
        ).fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    sizes.append(pages * page_bytes)
    each = zip(("samples", "symbols", "totals", "roll-ups", "catalog"), sizes, strict=True)
    parts = ", ".join(f"{name} {size / profiles:.0f}" for name, size in each)
    return f"{sum(sizes) / profiles:.0f} bytes per profile ({parts}) in {count} blocks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=6000, help="of a round")
    parser.add_argument("--services", type=int, default=12)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--data", type=Path, help="where to put the data folder; default: the current folder's disk"
    )
    options = parser.parse_args()
    print(describe_machine())
    services = [Service(SHAPES[number % len(SHAPES)], number) for number in range(options.services)]
    with tempfile.TemporaryDirectory(dir=options.data or Path.cwd(), prefix=".ingest-bench-") as name:
        folder = Path(name)
        server = Server(folder / "data")
        print(f"ready: {server.ready_s:.2f} s after exec; idle RSS {server.rss_mib():.0f} MiB")
        costs = []
        for number in range(options.repetitions + 1):
            bodies = make_round(services, options.profiles)
            before_s, started_s = server.cpu_s(), time.perf_counter()
            acks = asyncio.run(push_all(server.url, bodies, options.connections))
            rate = options.profiles / (time.perf_counter() - started_s)
            ingest = (server.cpu_s() - before_s) / options.profiles * 1000
            server.settle()
            cost = (server.cpu_s() - before_s) / options.profiles * 1000
            size = statistics.mean(map(len, bodies)) / 1000
            counted = "" if number else " (not counted: every stack is new)"
            print(
                f"round {number}: {cost:.3f} CPU s per 1,000 profiles of {size:.1f} KB gz,"
                f" {ingest:.3f} of it before the last acknowledgement, {rate:.0f}"
                " pushes/s,"
                f" {acks.show('ack')}{counted}"
            )
            if number:
                costs.append(cost)
        spread = f"{min(costs):.3f} to {max(costs):.3f}"
        print(
            f"RESULT: {statistics.median(costs):.3f} CPU s per 1,000 profiles, compaction included (median"
            f" of {len(costs)}"
            " rounds of"
            f" {options.profiles}, {spread}), {options.connections} connections, RSS"
            f" {server.rss_mib():.0f} MiB,"
            f" peak {server.rss_mib('VmHWM'):.0f} MiB"
        )
        sequential, probes = Acks(), Acks()
        for body in make_round(services, 200):
            sequential.seconds += asyncio.run(push_all(server.url, [body], 1)).seconds
            probes.seconds.append(probe_fsync(folder, len(body)))
        print("RESULT:", sequential.show("one push after the other, ack"))
        print("RESULT:", probes.show("fsync of the same bytes and their folder, same disk"))
        server.settle()
        for selector in ("{}", f'{{service_name="{services[0].name}"}}'):
            print(f"RESULT: flame graph of {selector}: {server.flame_graph_ms(selector):.1f} ms CPU")
        total = options.profiles * (options.repetitions + 1) + 200
        print(f"RESULT: disk, settled: {describe_disk(folder / 'data', total)}")
        server.stop()
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
