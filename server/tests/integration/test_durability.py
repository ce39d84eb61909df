"""What was acknowledged is there after any end, once; and the disk has it before the sender hears of it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import CPU, DEADLINE_S, PROTO, PUSH, ServerProcess, make_profile, make_push, recent

Start = Callable[..., ServerProcess]
PUSHERS = 32


class Pushers:
    """Threads that push profiles of value 1, each under a function name of its own, until the server goes
    away."""

    def __init__(self, server: ServerProcess, prefix: str = "") -> None:
        self.acknowledged: set[str] = set()
        self.unsure: set[str] = set()
        self.refused: list[int] = []
        self._server = server
        self._prefix = prefix
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(PUSHERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline_s, f"{len(self.acknowledged)} acknowledged"
            time.sleep(0.005)

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _push(self, pusher: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"{self._prefix}p{pusher}n{number}"
            request = make_push(f"service-{pusher % 4}", make_profile({f"main;{name}": 1}))
            try:
                reply = self._server.push(request, gzip=number % 2 == 0)
            except (OSError, http.client.HTTPException):
                self.unsure.add(name)
                return
            if reply.status == 200:
                self.acknowledged.add(name)
            else:
                self.refused.append(reply.status)
                return


def stored_values(server: ServerProcess) -> dict[str, int]:
    """Give the value of every pushed function."""
    reply = server.query(
        "SelectMergeStacktraces", profile_typeID=CPU, label_selector="{}", max_nodes=1 << 20, **recent()
    )
    graph = reply["flamegraph"]
    levels = [[int(value) for value in level.get("values", [])] for level in graph.get("levels", [])]
    if len(levels) < 3:
        return {}
    assert "(symbols missing)" not in graph["names"]
    return {
        graph["names"][levels[2][index + 3]]: levels[2][index + 1] for index in range(0, len(levels[2]), 4)
    }


def test_kill_9_under_32_pushers_loses_nothing_and_doubles_nothing(start_server: Start) -> None:
    server = start_server()
    acknowledged: set[str] = set()
    unsure: set[str] = set()
    for round_number in range(3):
        pushers = Pushers(server, f"r{round_number}")
        pushers.start()
        pushers.wait_for(200)
        os.kill(server.process.pid, signal.SIGKILL)
        pushers.finish()
        server.kill()
        assert pushers.refused == []
        acknowledged |= pushers.acknowledged
        unsure |= pushers.unsure
        server = start_server()
        stored = stored_values(server)
        assert acknowledged <= stored.keys()
        assert stored.keys() <= acknowledged | unsure
        assert set(stored.values()) == {1}


def test_a_restart_remembers_ids_and_sweeps_what_no_commit_finished(start_server: Start) -> None:
    server = start_server()
    request = make_push("shop", make_profile({"main;a": 3}))
    assert server.push(request).status == 200
    server.kill()
    folder = next((server.data / "blocks" / "anonymous").iterdir())
    before = sorted(path.name for path in folder.iterdir())
    (folder / "torn.samples.tmp").write_bytes(b"x")
    (folder / "lost.samples.parquet").write_bytes(b"x")
    server = start_server()
    assert sorted(path.name for path in folder.iterdir()) == before
    # The sender never heard the acknowledgement and sends again.
    assert server.push(request).status == 200
    assert stored_values(server) == {"a": 3}
    # New stacks of a service whose symbols an earlier process wrote.
    assert server.push(make_push("shop", make_profile({"main;a": 4, "main;b": 5}))).status == 200
    assert stored_values(server) == {"a": 7, "b": 5}


def test_a_graceful_stop_answers_what_was_taken(start_server: Start) -> None:
    server = start_server()
    pushers = Pushers(server)
    pushers.start()
    pushers.wait_for(200)
    assert server.stop() == 0
    pushers.finish()
    # Those refused while stopping got a reply that says so; nobody was cut off in the middle of a request.
    assert set(pushers.refused) <= {503}
    server = start_server()
    stored = stored_values(server)
    assert pushers.acknowledged <= stored.keys()
    assert set(stored.values()) == {1}


def test_a_disk_that_refuses_is_said_and_nothing_is_lost_when_it_works_again(start_server: Start) -> None:
    server = start_server()
    server.push(make_push("shop", make_profile({"main;a": 1})))
    tenant = server.data / "blocks" / "anonymous"
    day = next(tenant.iterdir())
    hidden = day.with_name("hidden")
    day.rename(hidden)
    # A file where the day's folder belongs: every write of a block fails.
    day.write_text("in the way")
    request = make_push("shop", make_profile({"main;b": 2}))
    reply = server.push(request)
    assert (reply.status, reply.json()["code"]) == (503, "unavailable")
    assert reply.headers["retry-after"] == "1"
    ready = server.ask("GET", "/ready")
    assert ready.status == 503
    assert b"cannot be stored" in ready.body
    assert server.metric("flamewire_commit_failures_total") == 1
    day.unlink()
    hidden.rename(day)
    assert server.push(request).status == 200
    assert server.ask("GET", "/ready").status == 200
    assert stored_values(server) == {"a": 1, "b": 2}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_data_and_folder_and_catalog_are_fsynced_before_the_acknowledgement(
    start_server: Start, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    calls = "trace=openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,writev"
    server = start_server(prefix=("strace", "-f", "-y", "-s", "64", "-o", str(trace), "-e", calls))
    # The first push makes folders; the second shows the steady state.
    for number in range(2):
        before = len(read_calls(trace))
        reply = server.ask(
            "POST",
            PUSH,
            make_push("traced", make_profile({f"main;f{number}": 1})).SerializeToString(),
            {"Content-Type": PROTO},
        )
        assert reply.status == 200
        lines = wait_for_acknowledgement(trace, before)
        (acknowledged,) = [index for index, line in enumerate(lines) if "HTTP/1.1 200" in line]
        for suffix in ("samples", "symbols"):
            (synced,) = [
                index for index, line in enumerate(lines) if re.search(rf"fsync\(.*{suffix}\.tmp>", line)
            ]
            (renamed,) = [
                index for index, line in enumerate(lines) if re.search(rf"rename.*{suffix}\.tmp", line)
            ]
            last_write = max(
                index for index, line in enumerate(lines) if re.search(rf"write\(.*{suffix}\.tmp>", line)
            )
            folder = [
                index
                for index, line in enumerate(lines)
                if re.search(r"fsync\(\d+<[^>]*/\d{4}-\d\d-\d\d>", line)
            ]
            assert folder, "no folder was fsynced"
            assert last_write < synced < renamed < folder[-1] < acknowledged
        wal = [
            index
            for index, line in enumerate(lines)
            if re.search(r"f(data)?sync\(.*catalog\.sqlite-wal>", line)
        ]
        assert wal, "the catalog was not fsynced"
        assert folder[-1] < wal[-1] < acknowledged
    # strace takes no signals while it traces, and killed it would leave the server running.
    strace = server.process.pid
    (traced,) = Path(f"/proc/{strace}/task/{strace}/children").read_text().split()
    os.kill(int(traced), signal.SIGTERM)
    assert server.process.wait(DEADLINE_S) == 0


def wait_for_acknowledgement(trace: Path, before: int) -> list[str]:
    """Read the calls from number `before` on, the answer too: strace may write it after it has arrived."""
    deadline_s = time.monotonic() + DEADLINE_S
    lines = read_calls(trace)[before:]
    while not any("HTTP/1.1 200" in line for line in lines):
        assert time.monotonic() < deadline_s, lines
        time.sleep(0.01)
        lines = read_calls(trace)[before:]
    return lines


def read_calls(trace: Path) -> list[str]:
    """Read the calls in the order of their end; an acknowledgement counts from its beginning."""
    lines = []
    for line in trace.read_text(errors="replace").splitlines():
        if "<unfinished" in line and "HTTP/1.1 200" not in line:
            continue
        lines.append(line)
    return lines
