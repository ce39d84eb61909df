"""Starts a server, or takes one that runs, and runs cases against it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flamewire_conformance.cases import Case
from flamewire_conformance.errors import FlamewireError, TesteeError
from flamewire_conformance.places import Places
from flamewire_conformance.server.client import Client
from flamewire_conformance.server.steps import perform
from flamewire_conformance.targets import Target

__all__ = ["ServerOutcome", "play", "server_version", "serving"]

_START_DEADLINE_S = 120.0
_STOP_DEADLINE_S = 60.0


class ServerOutcome:
    """What a case left behind: its faults and every exchange."""

    def __init__(self, faults: list[str], transcript: list[dict[str, object]]) -> None:
        self.faults = faults
        self.transcript = transcript

    def keep(self, folder: Path) -> None:
        """Write what explains a failure."""
        text = json.dumps(self.transcript, indent=1)
        (folder / "exchanges.json").write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def serving(target: Target, places: Places) -> Iterator[str]:
    """Yield the address of the target, started where it is to be.

    Raises:
        TesteeError: it does not start.
    """
    if target.url:
        yield target.url
        return
    folder = Path(tempfile.mkdtemp(prefix="conformance-server-"))
    logs = places.out / "logs" / target.name
    logs.mkdir(parents=True, exist_ok=True)
    command = [places.fill(part, target).replace("{data}", str(folder)) for part in target.run]
    environ = {name: places.fill(value, target) for name, value in target.environ}
    try:
        with (
            (logs / "server.stderr").open("wb") as log,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, **environ}, cwd=target.folder,
            ) as process,
        ):  # fmt: skip
            try:
                yield _address(process, target.ready, log.fileno())
            finally:
                _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _address(process: subprocess.Popen[bytes], pattern: str, log: int) -> str:
    """Read the output until the address stands in it; a pump thread keeps the rest from filling the pipe."""
    assert process.stdout is not None
    seen = b""
    deadline_s = time.monotonic() + _START_DEADLINE_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := deadline_s - time.monotonic()) > 0 and selector.select(left_s):
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            os.write(log, chunk)
            seen += chunk
            if found := re.search(pattern.encode(), seen):
                _pump(process.stdout.fileno(), log)
                return found[1].decode()
    raise TesteeError(f"the server did not say {pattern}: {seen[-500:].decode('utf-8', 'replace')}")


def _pump(source: int, log: int) -> None:
    import threading

    def pump() -> None:
        with contextlib.suppress(OSError):  # the log is closed when the server has ended
            while chunk := os.read(source, 65536):
                os.write(log, chunk)

    threading.Thread(target=pump, name="conformance-log", daemon=True).start()


def server_version(url: str, headers: dict[str, str]) -> str:
    """Return what a server says of itself, or nothing."""
    try:
        answered = Client(url, headers).ask("GET", "/api/v1/status/buildinfo")
    except FlamewireError:
        return ""
    found = answered.json()
    known = found.get("data", found) if isinstance(found, dict) else {}
    version = known.get("version", "") if isinstance(known, dict) else ""
    return f"{answered.headers.get('server', '')} {version}".strip()


def play(case: Case, url: str, headers: dict[str, str]) -> ServerOutcome:
    """Run one case."""
    client = Client(url, headers)
    try:
        faults = perform(case.id, case.steps, client)
    except FlamewireError as error:
        faults = [str(error)]
    return ServerOutcome(faults, client.transcript())
