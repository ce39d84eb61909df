"""Servers that fork or spawn workers, started as the guide says: the work of each worker arrives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sdk_support.programs import BURN, PATIENT
from sdk_support.push_server import PushServer

DEADLINE_S = 300.0
REQUESTS, BURN_S = 15, 0.1

WSGI = """
import os
{start}
def app(environ, start_response):
    burn(0.1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
ASGI = """
import os
{start}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (event := (await receive())["type"]) != "lifespan.shutdown":
            await send({"type": f"{event}.complete"})
        {stop}
        await send({"type": "lifespan.shutdown.complete"})
        return
    burn(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
IN_CODE = "import flamewire\nflamewire.start()\n"


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)


def _read(running: Running, found: threading.Event) -> None:
    assert running.process.stderr is not None
    for line in running.process.stderr:
        running.lines.append(line)
        address = re.search(r"http://127\.0\.0\.1:(?!0\b)\d+", line)
        if address and not found.is_set():
            running.url = address[0]
            found.set()
    found.set()


@contextmanager
def started(command: list[str], folder: Path, push_server: PushServer) -> Iterator[Running]:
    """Run a server until the end of the block, then stop it by SIGTERM, which it must survive in order."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("FLAMEWIRE_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**clean, "FLAMEWIRE_SERVER_URL": push_server.url, "FLAMEWIRE_SERVICE_NAME": "web", **PATIENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    running, found = Running(process), threading.Event()
    reader = threading.Thread(target=_read, args=(running, found), daemon=True)
    reader.start()
    try:
        assert found.wait(DEADLINE_S), "".join(running.lines)
        assert running.url, "".join(running.lines)
        yield running
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        reader.join(DEADLINE_S)
        assert process.stderr is not None
        process.stderr.close()


def ask(running: Running) -> set[str]:
    """Send requests one after the other; returns the workers that answered."""
    deadline_s = time.monotonic() + DEADLINE_S
    workers: set[str] = set()
    answers = 0
    while answers < REQUESTS:
        try:
            with urllib.request.urlopen(running.url, timeout=DEADLINE_S) as response:
                workers.add(response.read().decode())
            answers += 1
        except OSError:
            assert time.monotonic() < deadline_s, "".join(running.lines)
            assert running.process.poll() is None, "".join(running.lines)
            time.sleep(0.05)
    return workers


GUNICORN = ["gunicorn", "-w", "2", "-b", "127.0.0.1:0", "web:app"]
UVICORN = ["uvicorn", "--port", "0", "--workers", "2", "web:app"]


@pytest.mark.parametrize(
    ("source", "start", "command"),
    [
        pytest.param(WSGI, IN_CODE, GUNICORN, id="gunicorn"),
        pytest.param(WSGI, IN_CODE, [*GUNICORN, "--preload"], id="gunicorn-preload"),
        pytest.param(WSGI, IN_CODE, [*GUNICORN, "-k", "gthread", "--threads", "4"], id="gunicorn-gthread"),
        pytest.param(WSGI, IN_CODE, [*GUNICORN, "--max-requests", "4"], id="gunicorn-recycled"),
        pytest.param(WSGI, "", ["flamewire", "run", *GUNICORN], id="flamewire-run-gunicorn"),
        pytest.param(ASGI, IN_CODE, UVICORN, id="uvicorn"),
        pytest.param(ASGI, "", ["flamewire", "run", *UVICORN], id="flamewire-run-uvicorn"),
    ],
)
def test_the_work_of_all_workers_arrives(
    push_server: PushServer, tmp_path: Path, source: str, start: str, command: list[str]
) -> None:
    stop = "flamewire.stop()" if start else "pass"
    (tmp_path / "web.py").write_text(BURN + source.replace("{start}", start).replace("{stop}", stop))
    with started(command, tmp_path, push_server) as running:
        workers = ask(running)
    pushes = push_server.pushes
    burnt_ns = sum(push.profile.cpu_of("burn") for push in pushes)
    # n is 75 to 150: 4.5 sigmas of a share of 97 %, where the rest is the server's own, are 7 to 10.
    assert burnt_ns == pytest.approx(REQUESTS * BURN_S * 1e9, rel=0.15), (workers, "".join(running.lines))
    assert {push.labels["service_name"] for push in pushes} == {"web"}
