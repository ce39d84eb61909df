"""SIGTERM beside handlers of the program's own, in real processes (SDK-022)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from sdk_support.pprof_reader import Push
from sdk_support.programs import BURN, Ended, run_program
from sdk_support.push_server import PushServer


def cpu_s(pushes: list[Push], function: str = "burn") -> float:
    return sum(push.profile.cpu_of(function) for push in pushes) / 1e9


def clean(ended: Ended) -> None:
    assert (ended.code, ended.err) == (0, ""), ended


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os._exit(3)"])
def test_a_handler_that_is_there_before_the_start_comes_after_the_push(
    push_server: PushServer, any_engine: str, ending: str
) -> None:
    program = f"""
    import flamewire, os, signal, sys, time
    def handler(number, frame):
        assert (number, frame.f_code.co_name) == (signal.SIGTERM, "<module>")
        {ending}
    signal.signal(signal.SIGTERM, handler)
    session = flamewire.start()
    assert session.status().coverage == "exit, fork, SIGTERM before the program's handler"
    burn(0.5)
    print("burnt", flush=True)
    time.sleep(60)
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine, sigterm_at="burnt")
    assert (ended.code, ended.err) == (3, "")
    assert cpu_s(push_server.pushes) == pytest.approx(0.5, rel=0.2)


def test_a_program_that_lives_on_after_sigterm_is_profiled_on(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, signal
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    session = flamewire.start(upload_interval_s=3600)
    def before(): burn(0.3)
    def after(): burn(0.3)
    before()
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    assert asked == [1, 1]
    assert session.running
    after()
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))
    assert cpu_s(push_server.pushes, "before") == pytest.approx(0.3, rel=0.3)
    assert cpu_s(push_server.pushes, "after") == pytest.approx(0.3, rel=0.3)


def test_a_handler_that_is_set_after_the_start_rules_and_may_hand_on_to_ours(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, signal, time
    flamewire.start()
    ours = signal.getsignal(signal.SIGTERM)
    def handler(number, frame):
        print("theirs", flush=True)
        ours(number, frame)
    signal.signal(signal.SIGTERM, handler)
    flamewire.stop()
    flamewire.start()  # which takes its place before that handler now
    burn(0.5)
    print("burnt", flush=True)
    time.sleep(60)
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine, sigterm_at="burnt")
    assert (ended.code, ended.err) == (-15, "")
    assert ended.out.count("theirs") == 1
    assert cpu_s(push_server.pushes) == pytest.approx(0.5, rel=0.2)


def test_a_signal_that_the_program_ignores_stays_ignored(push_server: PushServer, any_engine: str) -> None:
    program = """
    import flamewire, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    session = flamewire.start()
    assert "ignored" in session.status().coverage
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.raise_signal(signal.SIGTERM)
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))


def test_children_that_are_terminated_push_and_end_by_the_signal(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, multiprocessing, os, signal, time
    def child_work(ready):
        burn(0.5)
        ready.set()
        time.sleep(60)
    flamewire.start()
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=child_work, args=(ready,))
    child.start()
    assert ready.wait(60)
    child.terminate()
    child.join(60)
    assert child.exitcode == -signal.SIGTERM, child.exitcode
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine, PYTHONWARNINGS="ignore"))
    assert cpu_s(push_server.pushes, "child_work") == pytest.approx(0.5, rel=0.2)


def test_a_handler_of_an_event_loop_is_called_after_the_push(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import asyncio, flamewire, signal
    async def main():
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        flamewire.start(upload_interval_s=3600)
        burn(0.5)
        print("burnt", flush=True)
        await asyncio.wait_for(ended.wait(), 60)
        print(flamewire.status().pushed_profiles)
    asyncio.run(main())
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine, sigterm_at="burnt")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split() == ["burnt", "1"]
    assert cpu_s(push_server.pushes) == pytest.approx(0.5, rel=0.2)


UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def may_unshare() -> bool:
    done = shutil.which("unshare") and subprocess.run([*UNSHARE, "true"], capture_output=True)
    return bool(done) and done.returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="process 1 takes a pid namespace, and that root")
def test_process_1_of_a_container_lives_on_as_it_would_and_has_pushed(
    push_server: PushServer, any_engine: str
) -> None:
    program = BURN + textwrap.dedent("""
    import flamewire, os, signal
    assert os.getpid() == 1
    flamewire.start(upload_interval_s=3600)
    burn(0.5)
    os.kill(1, signal.SIGTERM)
    assert flamewire.status().pushed_profiles == 1, flamewire.status()
    os._exit(5)
    """)
    environment = {
        **os.environ,
        "FLAMEWIRE_SERVER_URL": push_server.url,
        "FLAMEWIRE_ENGINE": any_engine,
        "FLAMEWIRE_SHUTDOWN_TIMEOUT_S": "60",
    }
    command = [*UNSHARE, sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert (ended.returncode, "Error" in ended.stderr) == (5, False), ended
    assert cpu_s(push_server.pushes) == pytest.approx(0.5, rel=0.25)
