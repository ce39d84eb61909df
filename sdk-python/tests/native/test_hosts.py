"""Programs that are hard on a profiler in their process: each goes on as without it, and is profiled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PRELUDE = """
import json, os, sys, threading, time
from sdk_support.shares import until_sampled
from flamewire import _native
def spin_for(cpu_s):
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(500))
"""


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("threads", [0, 4])
def test_a_process_that_execs_itself_again_and_again_does_not_die_of_the_signal(
    run_python: Run, threads: int
) -> None:
    """A timer's signal that is pending in execve() would meet the default action, which kills."""
    done = run_python(
        PRELUDE
        + """
left, threads = int(sys.argv[1]), int(sys.argv[2])
if left:
    _native.start(1_000_000, 64)
    for _ in range(threads):
        threading.Thread(target=spin_for, args=(60,), daemon=True).start()
    spin_for(0.005 + left % 7 * 0.0013)
    os.execv(sys.executable, [sys.executable, __file__, str(left - 1), sys.argv[2]])
print(json.dumps({"ended": True}))
""",
        "10",
        str(threads),
    )
    assert result_of(done) == {"ended": True}


def test_10000_frames_are_cut_honestly(run_python: Run) -> None:
    done = run_python(
        PRELUDE
        + """
sys.setrecursionlimit(20_000)
def deep(depth):
    if depth:
        return deep(depth - 1)
    frames = _native.capture()[0][0]
    for _ in until_sampled(20):
        spin_for(0.01)
    return frames
_native.start(5_000_000, 128)
frames = deep(10_000)
window = _native.stop()
print(json.dumps({"frames": len(frames), "last": frames[-1][0], "leaf": frames[0][0], **_native.stats()}))
"""
    )
    result = result_of(done)
    assert (result["frames"], result["leaf"], result["last"]) == (129, "deep", "(truncated)")
    assert isinstance(result["dropped"], dict)
    assert not result["dropped"].keys() - {"overhead_limit"}


def test_a_thousand_threads_are_sampled(run_python: Run) -> None:
    """Each burns 1 ms at a period of 10 ms while all are alive; a slot each, and none is left out."""
    done = run_python(
        PRELUDE
        + """
threading.Thread._bootstrap_inner = _native.ThreadHook(threading.Thread._bootstrap_inner)
_native.start(10_000_000, 64)
before = time.process_time_ns()
everybody = threading.Barrier(1001)
def work():
    spin_for(0.001)
    everybody.wait(60)
threads = [threading.Thread(target=work) for _ in range(1000)]
for thread in threads: thread.start()
_native.poll()
alive = _native.stats()["threads"]
everybody.wait(60)
for thread in threads: thread.join()
used = time.process_time_ns() - before
_native.stop()
print(json.dumps({"alive": alive, "used": used, **_native.stats()}))
"""
    )
    result = result_of(done)
    assert result["alive"] == 1001
    assert isinstance(result["dropped"], dict)
    assert not result["dropped"].keys() & {"too_many_threads", "no_timer"}
    assert result["accounted_ns"] == pytest.approx(result["used"], rel=0.1)


def test_threads_with_the_smallest_stack_are_sampled(run_python: Run) -> None:
    done = run_python(
        PRELUDE
        + """
try:
    threading.stack_size(32 * 1024)
except ValueError:  # 3.14 asks for 52 KiB
    threading.stack_size(52 * 1024)
_native.start(1_000_000, 256)
def recurse(depth):
    if depth:
        recurse(depth - 1)
    else:
        for _ in until_sampled(20):
            spin_for(0.01)
threads = [threading.Thread(target=recurse, args=(100,)) for _ in range(4)]
for thread in threads: thread.start()
_native.take_window()
for thread in threads: thread.join()
_native.stop()
print(json.dumps(_native.stats()))
"""
    )
    dropped = result_of(done)["dropped"]
    assert isinstance(dropped, dict)
    assert not dropped.keys() - {"overhead_limit"}


def test_without_room_for_timers_it_says_so_and_the_program_runs(run_python: Run) -> None:
    """RLIMIT_SIGPENDING bounds a user's timers; the CPU that nobody samples is still in the total."""
    done = run_python(
        PRELUDE
        + """
import resource
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
_native.start(5_000_000, 64)
spin_for(0.2)
window = _native.stop()
print(json.dumps({"window": window is not None, **_native.stats()}))
"""
    )
    result = result_of(done)
    assert result["window"]
    assert result["dropped"] == {"no_timer": 1}
    assert result["unattributed_ns"] == pytest.approx(0.2e9, rel=0.2)


def test_a_thread_that_blocks_the_signal_keeps_its_total(run_python: Run) -> None:
    """Nothing can interrupt it, so that its CPU goes to the sample after."""
    done = run_python(
        PRELUDE
        + """
import signal
_native.start(5_000_000, 64)
spin_for(0.1)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
spin_for(0.2)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
spin_for(0.1)
_native.stop()
print(json.dumps(_native.stats()))
"""
    )
    assert result_of(done)["accounted_ns"] == pytest.approx(0.4e9, rel=0.1)


def test_a_blocked_signal_at_the_start_is_found_by_the_self_test(run_python: Run) -> None:
    done = run_python(
        PRELUDE
        + """
import signal
from flamewire.config import Options
from flamewire.engines import start_engine
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
engine, why = start_engine(Options(service_name="x"))
engine.stop()
print(json.dumps({"engine": engine.name, "why": why}))
"""
    )
    result = result_of(done)
    assert result["engine"] == "python"
    assert "is SIGPROF blocked" in str(result["why"])


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.11 and 3.12 have no public way to make one here")
def test_a_subinterpreter_runs_beside_the_sampler(run_python: Run) -> None:
    done = run_python(
        PRELUDE
        + """
import _interpreters
_native.start(2_000_000, 64)
before = time.process_time_ns()
spin_for(0.05)
other = _interpreters.create()
_interpreters.exec(other, '''
import time
end = time.thread_time() + 0.2
while time.thread_time() < end:
    sum(range(500))
''')
_interpreters.destroy(other)
spin_for(0.05)
used = time.process_time_ns() - before
_native.stop()
print(json.dumps({"used": used, **_native.stats()}))
"""
    )
    result = result_of(done)
    assert result["accounted_ns"] == pytest.approx(result["used"], rel=0.1)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no JIT to speak of")
def test_the_jit_does_not_change_the_stacks(run_python: Run) -> None:
    """Where the interpreter was built with one; hot functions, compared with sys._getframe() all the time."""
    done = run_python(
        PRELUDE
        + """
if not sys._jit.is_available():
    print(json.dumps({"skip": True}))
    sys.exit(0)
if not sys._jit.is_enabled():
    os.environ["PYTHON_JIT"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.argv])
from flamewire.engines.native_selftest import check_stacks
_native.start(10**12, 512)
for _ in range(300):
    check_stacks()
    spin_for(0.001)
_native.stop()
print(json.dumps({"skip": False, "enabled": sys._jit.is_enabled()}))
"""
    )
    result = result_of(done)
    if result["skip"]:
        pytest.skip("this interpreter was built without the JIT")
    assert result["enabled"]
