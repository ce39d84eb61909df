"""Contract v1 for SDKs of Python: reads the request, does the work, tells the truth. A testee adds its SDK.

The work is measured by the thread's CPU clock, never by the number of turns, so that a loaded machine
does not change what a profile should show.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

SLICE_NS = 2_000_000
"""CPU time after which a task lets the others run."""


class Sdk(Protocol):
    """What a testee maps onto its SDK."""

    name: str
    version: str

    def start(self, config: dict[str, Any]) -> None: ...
    def stop(self) -> None: ...
    def flush(self) -> None: ...
    def tag(self, key: str, value: Any) -> AbstractContextManager[object]: ...
    def span(self, name: str, sampled: bool) -> AbstractContextManager[str]: ...


class UnsupportedError(Exception):
    """The SDK has no such feature."""


def _work(deadline_ns: int) -> None:
    clock, number = time.thread_time_ns, 1
    while clock() < deadline_ns:
        for _ in range(100):
            number = number * 7 % 1_000_003


_BLOCK = b"x" * (1 << 20)


def _native(deadline_ns: int) -> None:
    clock = time.thread_time_ns
    while clock() < deadline_ns:
        hashlib.sha256(_BLOCK)


def _named(pattern: types.FunctionType, name: str) -> Callable[[int], None]:
    """Return the function under another name, as profilers see it."""
    code = pattern.__code__.replace(co_name=name, co_qualname=name)
    return types.FunctionType(code, globals(), name)


_FUNCTIONS: dict[tuple[str, bool], Callable[[int], None]] = {}


def _function(name: str, native: bool) -> Callable[[int], None]:
    return _FUNCTIONS.setdefault((name, native), _named(_native if native else _work, name))


def work_deep(left: int, then: Callable[[], None]) -> None:
    """Call itself as often as asked, then do the work."""
    if left:
        work_deep(left - 1, then)
    else:
        then()


def say(event: str, **fields: Any) -> None:
    """Write one line; short ones do not mix with those of other processes."""
    os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


class Workload:
    """Does the steps of a request with one SDK, and keeps the truth."""

    def __init__(self, sdk: Sdk, config: dict[str, Any]) -> None:
        self.sdk = sdk
        self.config = config
        self._begin()

    def _begin(self) -> None:
        self.truth: dict[tuple[str, str, str], int] = {}
        self.lock = threading.Lock()
        self.started_unix_ns = time.time_ns()
        self.started_cpu_ns = time.process_time_ns()

    def tell(self) -> None:
        """Write the truth event of this process."""
        steps = [
            {"function": function, "thread": thread, "cpu_ns": cpu_ns, "tags": json.loads(tags)}
            for (function, thread, tags), cpu_ns in self.truth.items()
        ]
        say(
            "truth",
            pid=os.getpid(),
            steps=steps,
            process_cpu_ns=time.process_time_ns() - self.started_cpu_ns,
            started_unix_ns=self.started_unix_ns,
            ended_unix_ns=time.time_ns(),
        )

    def perform(self, steps: list[Any], tags: dict[str, str]) -> Iterator[None]:
        """Do the steps, with a pause for other tasks after each slice of work."""
        threads: list[threading.Thread] = []
        for step in steps:
            ((verb, arguments),) = step.items()
            if verb == "thread":
                thread = threading.Thread(
                    target=self.run, args=(arguments["steps"], {}), name=arguments["name"]
                )
                thread.start()
                threads.append(thread)
            else:
                yield from getattr(self, verb)(tags=tags, **arguments)
        for thread in threads:
            thread.join()

    def run(self, steps: list[Any], tags: dict[str, str]) -> None:
        """Do the steps without pauses."""
        for _ in self.perform(steps, tags):
            pass

    def busy(self, function: str, cpu_ms: int, tags: dict[str, str], native: bool = False) -> Iterator[None]:
        work = _function(function, native)
        left_ns = cpu_ms * 1_000_000
        key = (function, threading.current_thread().name, json.dumps(tags))
        while left_ns > 0:
            before_ns = time.thread_time_ns()
            work(before_ns + min(left_ns, SLICE_NS))
            spent_ns = time.thread_time_ns() - before_ns
            left_ns -= spent_ns
            with self.lock:
                self.truth[key] = self.truth.get(key, 0) + spent_ns
            yield

    def sleep(self, ms: int, tags: dict[str, str]) -> Iterator[None]:
        time.sleep(ms / 1000)
        yield

    def recurse(self, depth: int, steps: list[Any], tags: dict[str, str]) -> Iterator[None]:
        before_ns = time.thread_time_ns()
        work_deep(depth, lambda: self.run(steps, tags))
        key = ("work_deep", threading.current_thread().name, json.dumps(tags))
        self.truth[key] = time.thread_time_ns() - before_ns
        yield

    def tag(self, key: str, value: Any, steps: list[Any], tags: dict[str, str]) -> Iterator[None]:
        with self.sdk.tag(key, value):
            yield from self.perform(steps, {**tags, key: str(value)})

    def span(
        self, name: str, steps: list[Any], tags: dict[str, str], unsampled: bool = False
    ) -> Iterator[None]:
        with self.sdk.span(name, not unsampled) as span_id:
            if unsampled:
                inner = tags
            elif "span_id" in tags:
                inner = {**tags, "child_span_id": span_id}
            else:
                inner = {**tags, "span_id": span_id, "span_name": name}
            yield from self.perform(steps, inner)

    def tasks(self, lists: list[list[Any]], tags: dict[str, str]) -> Iterator[None]:
        async def one(steps: list[Any]) -> None:
            for _ in self.perform(steps, tags):
                await asyncio.sleep(0)

        async def together() -> None:
            await asyncio.gather(*map(one, lists))

        asyncio.run(together())
        yield

    def repeat(self, times: int, steps: list[Any], tags: dict[str, str]) -> Iterator[None]:
        for _ in range(times):
            yield from self.perform(steps, tags)

    def session(self, action: str, tags: dict[str, str]) -> Iterator[None]:
        if action == "start":
            self.sdk.start(self.config)
        else:
            getattr(self.sdk, action)()
        yield

    def fork(self, steps: list[Any], tags: dict[str, str]) -> Iterator[None]:
        # What programs use to fork; its children end without atexit.
        child = multiprocessing.get_context("fork").Process(target=self._in_child, args=(steps,))
        child.start()
        child.join()
        if child.exitcode:
            raise RuntimeError(f"the fork child ended with {child.exitcode}")
        yield

    def _in_child(self, steps: list[Any]) -> None:
        self._begin()
        self.run(steps, {})
        self.tell()


def main(sdk: Sdk) -> None:
    """Keep the contract with this SDK; the testee's last line."""
    request = json.loads(sys.stdin.readline())
    if request["contract"] != 1:
        say("error", stage="configure", message=f"knows contract 1, not {request['contract']}")
        return
    runtime = f"CPython {sys.version.split()[0]}"
    say(
        "ready",
        sdk=sdk.name,
        sdk_version=sdk.version,
        runtime=runtime,
        pid=os.getpid(),
        started_unix_ns=time.time_ns(),
    )
    workload = Workload(sdk, request["config"])
    stage = "start"
    try:
        sdk.start(request["config"])
        stage = "workload"
        workload.run(request["workload"], {})
        workload.tell()
        if request["finish"] == "sigterm":
            time.sleep(request["deadline_ms"] / 1000)
        stage = "flush"
        if request["finish"] == "stop":
            sdk.stop()
            say("flushed")
    except UnsupportedError as error:
        say("unsupported", feature=str(error))
    except Exception as error:  # noqa: BLE001 -- whatever an SDK raises is a finding
        say("error", stage=stage, message=f"{type(error).__name__}: {error}")
