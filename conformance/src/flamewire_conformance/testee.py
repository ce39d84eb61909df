"""Drives one testee process: contract v1, one JSON object a line."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flamewire_conformance.errors import TesteeError
from flamewire_conformance.scenario import Scenario

__all__ = ["CONTRACT", "Step", "Story", "run_testee"]

CONTRACT = 1
_EVENTS = frozenset({"ready", "truth", "flushed", "unsupported", "error"})
_BURN = "while True: pass"
_PATIENT: Mapping[str, Any] = {"shutdown_timeout_s": 30}
"""So that a last window is not lost because the machine is busy; scenarios about that time set another."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a testee says it really did in one function: the truth that profiles are held against.

    Attributes:
        cpu_ns: by the thread's CPU clock.
        tags: those in force, key -> value.
    """

    function: str
    thread: str
    pid: int
    cpu_ns: int
    tags: Mapping[str, str]


@dataclass(slots=True)
class Story:
    """Everything that a testee said and did.

    Attributes:
        process_cpu_ns: CPU time of its processes between start and end of the workload.
        stop_s: from the end of the workload to the end of the process, monotonic clock.
        exit_code: as subprocess gives it: negative for a signal; None where it was killed at the deadline.
    """

    ready: Mapping[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    process_cpu_ns: int = 0
    started_unix_ns: int = 0
    ended_unix_ns: int = 0
    flushed: bool = False
    error: Mapping[str, Any] | None = None
    unsupported: str | None = None
    stop_s: float = 0.0
    exit_code: int | None = None


def run_testee(
    command: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    scenario: Scenario,
    server_url: str,
    log: Path,
) -> Story:
    """Run a testee through a scenario and return its story.

    Args:
        log: where its stderr goes.

    Raises:
        TesteeError: it broke the contract or did not end before the scenario's deadline.
    """
    config = {"service_name": "conformance", "server_url": server_url, **_PATIENT, **scenario.config}
    request = {
        "contract": CONTRACT,
        "case": scenario.name,
        "deadline_ms": scenario.deadline_s * 1000,
        "config": config,
        "workload": scenario.workload,
        "finish": scenario.finish,
    }
    with (
        log.open("wb") as stderr,
        _competitors(scenario.competitors),
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **environ},
        ) as process,
    ):
        if scenario.competitors:
            os.sched_setaffinity(process.pid, _one_cpu())  # before it starts a thread: they inherit it
        try:
            return _talk(process, json.dumps(request).encode() + b"\n", scenario)
        finally:
            if process.poll() is None:
                process.kill()


def _one_cpu() -> set[int]:
    return {min(os.sched_getaffinity(0))}


@contextmanager
def _competitors(count: int) -> Iterator[None]:
    """Keep the processor busy that the testee is bound to."""
    command = [sys.executable, "-c", _BURN]
    burning = [subprocess.Popen(command) for _ in range(count)]
    try:
        for process in burning:
            os.sched_setaffinity(process.pid, _one_cpu())
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def _talk(process: subprocess.Popen[bytes], request: bytes, scenario: Scenario) -> Story:
    assert process.stdin is not None
    assert process.stdout is not None
    story = Story()
    deadline_s = time.monotonic() + scenario.deadline_s
    process.stdin.write(request)
    process.stdin.flush()
    worked_s: float | None = None
    for event in _events(process, deadline_s):
        kind = event.get("event")
        if kind not in _EVENTS:
            raise TesteeError(f"it said the event {kind!r}; known are {', '.join(sorted(_EVENTS))}")
        if kind == "ready":
            story.ready = event
        elif kind == "truth":
            _take_truth(story, event)
            worked_s = time.monotonic()
            if scenario.finish == "sigterm" and event["pid"] == process.pid:
                process.send_signal(signal.SIGTERM)
        elif kind == "flushed":
            story.flushed = True
        elif kind == "error":
            story.error = event
        else:
            story.unsupported = str(event.get("feature"))
    try:
        story.exit_code = process.wait(max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TesteeError(f"it did not end within {scenario.deadline_s} s") from None
    story.stop_s = time.monotonic() - worked_s if worked_s is not None else 0.0
    if worked_s is None and story.error is None and story.unsupported is None:
        raise TesteeError(f"it ended with {story.exit_code} and told no truth; see its stderr")
    return story


def _events(process: subprocess.Popen[bytes], deadline_s: float) -> Iterator[Mapping[str, Any]]:
    assert process.stdout is not None
    buffered = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                raise TesteeError("it did not end before its deadline")
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            buffered += chunk
            *lines, buffered = buffered.split(b"\n")
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    raise TesteeError(f"it wrote a line that is no JSON: {line[:200]!r}") from None
                if not isinstance(event, dict):
                    raise TesteeError(f"it wrote a line that is no object: {line[:200]!r}")
                yield event


def _take_truth(story: Story, event: Mapping[str, Any]) -> None:
    try:
        story.process_cpu_ns += int(event["process_cpu_ns"])
        story.started_unix_ns = min(story.started_unix_ns or 1 << 63, int(event["started_unix_ns"]))
        story.ended_unix_ns = max(story.ended_unix_ns, int(event["ended_unix_ns"]))
        for step in event["steps"]:
            story.steps.append(
                Step(step["function"], step["thread"], event["pid"], int(step["cpu_ns"]), dict(step["tags"]))
            )
    except (KeyError, TypeError, ValueError) as error:
        raise TesteeError(f"its truth lacks or mistakes {error}") from error
