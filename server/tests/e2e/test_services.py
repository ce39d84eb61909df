"""Services and workers, started as the guide says, on the real server: a span's flame graph is its work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from server_process import CPU, ServerProcess, read_flamegraph, recent

SERVICES = Path(__file__).with_name("services")
DEADLINE_S = 120.0

pytestmark = pytest.mark.accuracy


class Service:
    """A program of the folder `services`, in a process group of its own."""

    def __init__(self, command: Sequence[str], name: str, server: ServerProcess, **environ: str) -> None:
        clean = {
            key: text
            for key, text in os.environ.items()
            if not key.startswith(("FLAMEWIRE_", "OTEL_", "PYROSCOPE_"))
        }
        self.name = name
        self.lines: list[str] = []
        beside = str(Path(sys.executable).parent)
        self.process = subprocess.Popen(
            [f"{beside}/{command[0]}", *command[1:]],
            cwd=SERVICES,
            env={
                **clean,
                "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}",
                "FLAMEWIRE_SERVER_URL": f"http://{server.host}:{server.port}",
                "FLAMEWIRE_SHUTDOWN_TIMEOUT_S": "30",
                "OTEL_SERVICE_NAME": name,
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """The address that it says it listens on; empty before."""
        found = re.search(r"http://127\.0\.0\.1:(?!0\b)\d+", self.output)
        return found[0] if found else ""

    def stop(self) -> None:
        """Stop it as an operator does, and see that it ends by itself."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stdout
        self.process.stdout.close()


@contextmanager
def running(command: Sequence[str], name: str, server: ServerProcess, **environ: str) -> Iterator[Service]:
    service = Service(command, name, server, **environ)
    try:
        yield service
        service.stop()
    finally:
        service.kill()


def ask(service: Service, path: str) -> dict[str, Any]:
    """Ask until the service answers, which it does when it has started."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(service.url + path, timeout=DEADLINE_S) as response:
                return dict(json.load(response))
        except (OSError, ValueError):
            assert time.monotonic() < deadline_s, service.output
            assert service.process.poll() is None, service.output
            time.sleep(0.1)


def work_in(server: ServerProcess, service: str, span_id: str) -> dict[str, int]:
    """Read the work functions of one span's flame graph: name -> total ns."""
    reply = server.query(
        "SelectMergeSpanProfile",
        profileTypeID=CPU,
        labelSelector=f'{{service_name="{service}"}}',
        spanSelector=[span_id],
        **recent(),
    )
    return work_of(read_flamegraph(reply["flamegraph"]))


def work_of(stacks: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path, (total, _) in stacks.items():
        name = path.rpartition(";")[2]
        if name.startswith("work_of_"):
            found[name] = found.get(name, 0) + total
    return found


def check_spans(server: ServerProcess, service: Service, said: dict[str, Any]) -> None:
    """The root span has the work of its child, the child only its own, each within 5 %."""
    root, step = (work_in(server, service.name, said[span]) for span in ("root", "step"))
    context = (said, service.output)
    assert root.keys() == {"work_of_request", "work_of_step"}, context
    assert step.keys() == {"work_of_step"}, context
    assert sum(root.values()) == pytest.approx((said["request_s"] + said["step_s"]) * 1e9, rel=0.05), context
    assert sum(step.values()) == pytest.approx(said["step_s"] * 1e9, rel=0.05), context


NO_EXPORTERS = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


@pytest.mark.parametrize(
    ("command", "path"),
    [
        pytest.param("uvicorn --port 0 fastapi_service:app", "/async", id="uvicorn-async"),
        pytest.param("uvicorn --port 0 fastapi_service:app", "/blocking", id="uvicorn-blocking"),
        pytest.param(
            "opentelemetry-instrument uvicorn --port 0 fastapi_plain:app", "/async", id="zero-code-uvicorn"
        ),
        pytest.param("gunicorn -t 120 -w 2 -b 127.0.0.1:0 wsgi_service:app", "/", id="gunicorn"),
        pytest.param(
            "gunicorn -t 120 -w 2 -b 127.0.0.1:0 --preload wsgi_service:app", "/", id="gunicorn-preload"
        ),
        pytest.param(
            "gunicorn -t 120 -w 2 -b 127.0.0.1:0 -k uvicorn_worker.UvicornWorker fastapi_service:app",
            "/async",
            id="gunicorn-uvicorn-worker",
        ),
        pytest.param("python aiohttp_service.py", "/thread", id="aiohttp-to-thread"),
    ],
)
def test_the_spans_of_a_request_hold_its_work(
    server: ServerProcess, request: pytest.FixtureRequest, command: str, path: str
) -> None:
    with running(command.split(), request.node.callspec.id, server, **NO_EXPORTERS) as service:
        said = ask(service, path)
    check_spans(server, service, said)


def test_two_requests_that_take_turns_share_no_sample(server: ServerProcess) -> None:
    """320 samples each in 8 turns; where a turn ends between two samples, the next one has up to 10 ms of
    both, which adds up to 12 ms (1 sigma) of 3.2 s."""
    with running(["python", "aiohttp_service.py"], "aiohttp-turns", server) as service:
        ask(service, "/ready")
        with ThreadPoolExecutor(2) as pool:
            asked = {work: pool.submit(ask, service, f"/turns?work={work}") for work in ("request", "step")}
            said = {work: answer.result(DEADLINE_S) for work, answer in asked.items()}
    for work, answer in said.items():
        found = work_in(server, service.name, answer["root"])
        assert found.keys() == {f"work_of_{work}"}, service.output
        assert sum(found.values()) == pytest.approx(answer["burnt_s"] * 1e9, rel=0.05)


def celery_job(
    command: str, name: str, server: ServerProcess, folder: Path
) -> tuple[Service, dict[str, Any]]:
    """Let a worker do the job; returns the worker, which has stopped, and what the job says."""
    for part in ("queue", "control", "results"):
        (folder / part).mkdir()
    environ = {"CELERY_FOLDER": str(folder)}
    with running(command.split(), name, server, **environ) as service:
        caller = "import celery_plain, json; print(json.dumps(celery_plain.job.delay().get(timeout=100)))"
        done = subprocess.run(
            [sys.executable, "-c", caller],
            cwd=SERVICES,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr + service.output
    return service, json.loads(done.stdout)


def test_the_spans_of_a_celery_task_hold_its_work(server: ServerProcess, tmp_path: Path) -> None:
    command = "celery -A celery_service worker --concurrency 2 --loglevel WARNING"
    service, said = celery_job(command, "celery", server, tmp_path)
    check_spans(server, service, said)


def test_a_celery_worker_is_profiled_as_it_is(server: ServerProcess, tmp_path: Path) -> None:
    """Its pool is forked from a process with a session, takes over signals, and ends by os._exit."""
    command = "flamewire run celery -A celery_plain worker --concurrency 2 --loglevel WARNING"
    service, said = celery_job(command, "celery-run", server, tmp_path)
    reply = server.query(
        "SelectMergeStacktraces",
        profileTypeID=CPU,
        labelSelector=f'{{service_name="{service.name}"}}',
        **recent(),
    )
    found = work_of(read_flamegraph(reply["flamegraph"]))
    for work in ("request", "step"):
        assert found[f"work_of_{work}"] == pytest.approx(said[f"{work}_s"] * 1e9, rel=0.05), service.output
