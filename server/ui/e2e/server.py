"""flamewire-server as a process."""

from __future__ import annotations

import base64
import contextlib
import json
import selectors
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .pprof import encode_pprof

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
START_DEADLINE_S = 60
STOP_DEADLINE_S = 30


@dataclass
class Server:
    """A running flamewire-server and what was pushed to it."""

    url: str
    process: subprocess.Popen[str]

    def call(self, procedure: str, request: Mapping[str, Any]) -> Any:
        """Call one Connect method in JSON."""
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        call = urllib.request.Request(f"{self.url}/{procedure}", body, headers)
        try:
            with urllib.request.urlopen(call, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{procedure}: {error.status} {error.read().decode()}") from error

    def push(self, service: str, stacks: Mapping[str, int], *, time_ns: int, **labels: str) -> None:
        """Push one CPU profile of folded stacks."""
        pairs = {"__name__": "process_cpu", "service_name": service, **labels}
        series = {
            "labels": [{"name": name, "value": value} for name, value in pairs.items()],
            "samples": [
                {
                    "rawProfile": base64.b64encode(encode_pprof(stacks, time_ns)).decode(),
                    "ID": str(uuid.uuid4()),
                }
            ],
        }
        self.call("push.v1.PusherService/Push", {"series": [series]})

    def flame_graph(self, selector: str, start_ms: int, end_ms: int) -> Any:
        """Read the merged flame graph that the page should show."""
        request = {"profileTypeID": CPU, "labelSelector": selector, "start": start_ms, "end": end_ms}
        return self.call("querier.v1.QuerierService/SelectMergeStacktraces", request)["flamegraph"]


@contextlib.contextmanager
def running_server(data: Path) -> Iterator[Server]:
    """Run flamewire-server on a free port of loopback; it must end by itself when asked to."""
    command = [sys.executable, "-m", "flamewire_server", "--listen", "127.0.0.1:0", "--data", str(data)]
    process = subprocess.Popen(
        [*command, "--log-format", "json"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        yield Server(listening_url(process.stderr), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def listening_url(log: IO[str]) -> str:
    """Read the log until the server says where it listens."""
    seen: list[str] = []
    deadline_s = time.monotonic() + START_DEADLINE_S
    with selectors.DefaultSelector() as selector:
        selector.register(log, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline_s - time.monotonic())):
            line = log.readline()
            if not line:
                break
            seen.append(line)
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if record.get("event") == "listening":
                    return str(record["url"])
    raise AssertionError("the server does not listen; its log:\n" + "".join(seen))
