"""A real server in a process of its own, and the profiles that the tests push to it."""

from __future__ import annotations

import base64
import gzip as gzip_module
import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2

DEADLINE_S = 60
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
PUSH = "/push.v1.PusherService/Push"
PROTO, JSON = "application/proto", "application/json"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ServerProcess:
    """A running flamewire-server.

    Args:
        data: its data folder.
        arguments: of the command, beside --listen and --data.
        prefix: a command that runs the server, as strace.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        command = [
            *prefix, sys.executable, "-m", "flamewire_server", "--listen", "127.0.0.1:0", "--data", str(data),
            "--log-format", "json", *arguments,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, **(environ or {})}
        )
        self.events: list[dict[str, Any]] = []
        self.listening = self._wait_for("listening")
        url = urlsplit(self.listening["url"])
        assert url.hostname
        assert url.port
        self.host, self.port = url.hostname, url.port

    def _wait_for(self, event: str) -> dict[str, Any]:
        assert self.process.stderr
        os.set_blocking(self.process.stderr.fileno(), False)
        buffered = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            deadline_s = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline_s and selector.select(deadline_s - time.monotonic()):
                chunk = os.read(self.process.stderr.fileno(), 65536)
                if not chunk:
                    break
                buffered += chunk
                for line in buffered.splitlines():
                    if line.startswith(b"{") and line.endswith(b"}"):
                        record = json.loads(line)
                        if record["event"] == event:
                            return dict(record)
        raise AssertionError(f"the server did not say {event}: {buffered.decode()}")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def push(
        self,
        request: push_pb2.PushRequest,
        *,
        codec: str = PROTO,
        gzip: bool = False,
        zstd: bool = False,
        **headers: str,
    ) -> Reply:
        if codec == PROTO:
            body = request.SerializeToString()
        else:
            body = json.dumps(
                {
                    "series": [
                        {
                            "labels": [{"name": pair.name, "value": pair.value} for pair in series.labels],
                            "samples": [
                                {"rawProfile": base64.b64encode(one.raw_profile).decode(), "ID": one.ID}
                                for one in series.samples
                            ],
                        }
                        for series in request.series
                    ]
                }
            ).encode()
        sent = {"Content-Type": codec, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if gzip:
            body = gzip_module.compress(body)
            sent["Content-Encoding"] = "gzip"
        if zstd:
            body = zstd_frame(body)
            sent["Content-Encoding"] = "zstd"
        return self.ask("POST", PUSH, body, sent)

    def query(self, name: str, /, **fields: Any) -> Any:
        reply = self.query_raw(name, json.dumps(fields).encode(), JSON)
        assert reply.status == 200, reply.body
        return reply.json()

    def query_raw(self, name: str, body: bytes, codec: str, **headers: str) -> Reply:
        sent = {"Content-Type": codec, **{key.replace("_", "-"): value for key, value in headers.items()}}
        return self.ask("POST", f"/querier.v1.QuerierService/{name}", body, sent)

    def metric(self, name: str) -> float:
        """Give the sum over a metric's series."""
        text = self.ask("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def peak_rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def stop(self) -> int:
        """Stop it as an operator does; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def kill(self) -> None:
        """End it at once; idempotent."""
        if self.process.poll() is None:
            self.process.kill()
        self._reap()

    def _reap(self) -> int:
        assert self.process.stderr
        status = self.process.wait(DEADLINE_S)
        self.process.stderr.close()
        return status


def zstd_frame(body: bytes) -> bytes:
    """Wrap bytes as one zstd frame of blocks that are stored as they are (RFC 8878, 3.1.1)."""
    size = 1 << 17
    blocks = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    frame = b"\x28\xb5\x2f\xfd\xa0" + len(body).to_bytes(4, "little")
    for number, block in enumerate(blocks, 1):
        frame += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return frame


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def recent(seconds: int = 3600) -> dict[str, int]:
    """Give a range that holds everything pushed lately."""
    return {"start": now_ms() - seconds * 1000, "end": now_ms() + 5000}


def make_profile(
    stacks: Mapping[str, int],
    *,
    time_ns: int | None = None,
    sample_types: Sequence[tuple[str, str]] = (("cpu", "nanoseconds"),),
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> profile_pb2.Profile:
    """Make a profile.

    Args:
        stacks: folded stack, root first -> value (of every sample type).
        time_ns: default now.
        labels: folded stack -> labels of its sample.
    """
    profile = profile_pb2.Profile()
    strings: dict[str, int] = {"": 0}

    def string(text: str) -> int:
        return strings.setdefault(text, len(strings))

    for kind, unit in sample_types:
        profile.sample_type.add(type=string(kind), unit=string(unit))
    profile.period_type.type, profile.period_type.unit = string("cpu"), string("nanoseconds")
    profile.period = 10_000_000
    profile.time_nanos = time.time_ns() if time_ns is None else time_ns
    profile.duration_nanos = 10**10
    locations: dict[str, int] = {}
    for folded, value in stacks.items():
        sample = profile.sample.add(value=[value] * len(sample_types))
        for name in reversed(folded.split(";") if folded else []):
            if name not in locations:
                locations[name] = number = len(locations) + 1
                profile.function.add(
                    id=number, name=string(name), filename=string("program.py"), start_line=1
                )
                profile.location.add(id=number).line.add(function_id=number, line=number)
            sample.location_id.append(locations[name])
        for key, text in (labels or {}).get(folded, {}).items():
            sample.label.add(key=string(key), str=string(text))
    profile.string_table.extend(strings)
    return profile


def make_push(
    service: str, *profiles: profile_pb2.Profile, ids: Sequence[str] = (), **labels: str
) -> push_pb2.PushRequest:
    request = push_pb2.PushRequest()
    series = request.series.add()
    for name, value in {"__name__": "process_cpu", "service_name": service, **labels}.items():
        series.labels.add(name=name, value=value)
    for index, profile in enumerate(profiles):
        series.samples.add(
            raw_profile=profile.SerializeToString(), ID=ids[index] if ids else str(uuid.uuid4())
        )
    return request


def read_flamegraph(graph: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Turn a flamebearer (in JSON) into folded stack -> (total, self), the root left out."""
    names = graph.get("names", [])
    result: dict[str, tuple[int, int]] = {}
    parents: list[tuple[int, int, str]] = []
    for depth, level in enumerate(graph.get("levels", [])):
        values = [int(value) for value in level.get("values", [])]
        at, row = 0, []
        for index in range(0, len(values), 4):
            offset, total, own, name = values[index : index + 4]
            at += offset
            path = names[name]
            if depth:
                # A frame lies inside its parent, zero-width parents aside.
                prefix = next(text for left, right, text in parents if left <= at and at + total <= right)
                path = f"{prefix};{path}" if depth > 1 else path
                result[path] = (total, own)
            row.append((at, at + total, path))
            at += total
        parents = row
    return result
