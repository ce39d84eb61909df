"""The spool and the start among processes that are killed, fork, and share a folder."""

from __future__ import annotations

import stat
from pathlib import Path

from sdk_support.pprof_reader import Push
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer


def cpu_s(pushes: list[Push], function: str) -> float:
    return sum(push.profile.cpu_of(function) for push in pushes) / 1e9


def spooled(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.push"))


KILLED = """
import flamewire, os, signal
session = flamewire.start(upload_interval_s=0.1)
def before_the_kill(): burn(0.1)
while session.status().queued_profiles < 5:
    before_the_kill()
os.kill(os.getpid(), signal.SIGKILL)
"""

LATER = """
import flamewire, time
session = flamewire.start(upload_interval_s=0.2)
end = time.monotonic() + 120
while session.status().queued_profiles or not session.status().pushed_profiles:
    assert time.monotonic() < end, session.status()
    burn(0.05)
assert dict(session.status().dropped_profiles) == {}, session.status()
"""


def test_what_a_killed_process_has_spooled_the_next_one_delivers(tmp_path: Path, any_engine: str) -> None:
    # The port is taken from a server that is gone, so that the folder is that of one destination.
    with PushServer() as gone:
        pass
    spool = {"FLAMEWIRE_SPOOL_DIR": str(tmp_path)}
    ended = run_program(KILLED, server_url=gone.url, engine=any_engine, **spool)
    assert ended.code == -9, ended
    left = spooled(tmp_path)
    assert len(left) >= 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in left} == {0o600}
    left[0].write_bytes(left[0].read_bytes()[:-1])
    program = LATER.replace("== {}", '== {"corrupt": 1}')
    with PushServer(port=gone.port) as server:
        ended = run_program(program, server_url=server.url, engine=any_engine, **spool)
        assert (ended.code, ended.err) == (0, ""), ended
        first_life = [push for push in server.acknowledged if push.profile.cpu_of("before_the_kill")]
    assert len(first_life) == len(left) - 1
    assert len({push.profile_id for push in first_life}) == len(first_life)
    assert spooled(tmp_path) == []


def test_processes_of_one_host_share_a_folder_and_send_each_profile_once(
    tmp_path: Path, any_engine: str
) -> None:
    """Four forked workers, and what a killed process has left for whichever comes first."""
    with PushServer() as gone:
        pass
    spool = {"FLAMEWIRE_SPOOL_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    assert run_program(KILLED, server_url=gone.url, engine=any_engine, **spool).code == -9
    left = len(spooled(tmp_path))
    program = """
    import flamewire, os
    flamewire.start(upload_interval_s=0.2)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            burn(0.5)
            flamewire.stop()  # a sibling may be sending what this one has put in
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    end = time.monotonic() + 120
    while flamewire.status().queued_profiles:
        assert time.monotonic() < end, flamewire.status()
        burn(0.05)
    """
    with PushServer(port=gone.port) as server:
        ended = run_program(
            program, server_url=server.url, engine=any_engine, FLAMEWIRE_SHUTDOWN_TIMEOUT_S="60", **spool
        )
        assert (ended.code, ended.err) == (0, ""), ended
        pushes = server.acknowledged
    assert len({push.profile_id for push in pushes}) == len(pushes)
    assert len([push for push in pushes if push.profile.cpu_of("before_the_kill")]) == left
    assert spooled(tmp_path) == []


def test_a_spool_that_cannot_be_used_does_not_stop_the_host(
    push_server: PushServer, tmp_path: Path, any_engine: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    program = """
    import flamewire
    session = flamewire.start()
    burn(0.2)
    assert flamewire.flush(60)
    assert any("profiles wait in memory" in problem for problem in session.status().problems)
    """
    ended = run_program(
        program,
        server_url=push_server.url,
        engine=any_engine,
        FLAMEWIRE_SPOOL_DIR=str(tmp_path / "file" / "spool"),
    )
    assert ended.code == 0, ended
    assert cpu_s(push_server.pushes, "burn") > 0


def test_a_fork_while_another_thread_starts_the_session_leaves_both_processes_profiled(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import concurrent.futures.thread, logging  # which look after forks themselves
    import flamewire, os, threading, time
    def child_work(): burn(0.02)
    for attempt in range(25):
        starter = threading.Thread(target=flamewire.start, kwargs={"upload_interval_s": 3600})
        starter.start()
        time.sleep(attempt * 0.0005)
        child = os.fork()
        if child == 0:
            flamewire.start(upload_interval_s=3600)
            assert flamewire.status().state == "running", flamewire.status()
            child_work()
            assert flamewire.stop(), flamewire.status()
            os._exit(0)
        starter.join()
        assert os.waitpid(child, 0)[1] == 0, attempt
        assert flamewire.status().state == "running", flamewire.status()
        flamewire.stop()
    """
    ended = run_program(
        program,
        server_url=push_server.url,
        engine=any_engine,
        PYTHONWARNINGS="ignore",
        FLAMEWIRE_SHUTDOWN_TIMEOUT_S="60",
    )
    assert (ended.code, ended.err) == (0, ""), ended
    assert cpu_s(push_server.pushes, "child_work") > 0
