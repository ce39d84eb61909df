"""Start, stop, fork, exit, and living with others who use the same signals."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sdk_support.pprof_reader import read_profile

from flamewire import _native

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def spin_for(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(500))


def test_start_and_stop_many_times() -> None:
    for _ in range(50):
        _native.start(5_000_000, 64)
        spin_for(0.002)
        _native.poll()
        window = _native.stop()
        assert window is None or read_profile(window[0]).total >= 0
    assert _native.stop() is None


def test_a_second_start_is_refused(sampler: None) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        _native.start(5_000_000, 64)


@pytest.mark.parametrize(("period_ns", "depth"), [(0, 64), (10_000_000, 0), (10_000_000, 1025)])
def test_arguments_out_of_range_are_refused(period_ns: int, depth: int) -> None:
    with pytest.raises(ValueError, match="period_ns"):
        _native.start(period_ns, depth)


def test_a_failing_self_test_leaves_nothing_armed() -> None:
    def fail() -> None:
        raise KeyError("self-test")

    with pytest.raises(KeyError, match="self-test"):
        _native.start(5_000_000, 64, fail)
    assert not _native.stats()["started"]
    with pytest.raises(RuntimeError):
        _native.capture()
    _native.start(5_000_000, 64)
    _native.stop()


def test_a_foreign_owner_of_sigprof_is_respected() -> None:
    before = signal.signal(signal.SIGPROF, lambda *_: None)
    try:
        with pytest.raises(RuntimeError, match="SIGPROF already has a handler"):
            _native.start(5_000_000, 64)
        os.kill(os.getpid(), signal.SIGPROF)
    finally:
        signal.signal(signal.SIGPROF, before or signal.SIG_IGN)


def test_timers_rest_when_somebody_takes_the_signal_over(sampler: None) -> None:
    """Else the newcomer gets our signals, and the default action that it may leave behind would kill us."""
    seen: list[int] = []
    signal.signal(signal.SIGPROF, lambda number, _: seen.append(number))
    try:
        _native.poll()
        before = len(seen)
        spin_for(0.1)
        _native.take_window()
        spin_for(0.1)
        assert len(seen) <= before + 1
        assert _native.stats()["dropped"] == {"signal_taken": 1}
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def test_after_stop_a_late_signal_is_harmless() -> None:
    _native.start(5_000_000, 64)
    _native.stop()
    os.kill(os.getpid(), signal.SIGPROF)


def test_faulthandler_before_and_after_the_start(run_python: Run) -> None:
    """Enabled before, we chain to it; after, it owns SIGSEGV and reads go by system call. Both sample."""
    done = run_python(
        """
import faulthandler, json, sys, time
from sdk_support.shares import until_sampled
from flamewire import _native
faulthandler.disable()
counts = []
def spin():
    for _ in until_sampled(20):
        sum(range(500))
faulthandler.enable()
_native.start(5_000_000, 64); spin(); _native.stop(); counts.append(_native.stats())
faulthandler.disable()
_native.start(5_000_000, 64); faulthandler.enable(); spin(); _native.stop(); counts.append(_native.stats())
faulthandler.disable()
_native.start(5_000_000, 64); spin(); _native.stop(); counts.append(_native.stats())
print(json.dumps(counts))
"""
    )
    assert done.returncode == 0, done.stderr
    before, after, alone = json.loads(done.stdout)
    assert min(before["samples_gathered"], after["samples_gathered"], alone["samples_gathered"]) >= 20
    assert (before["syscall_samples"], alone["syscall_samples"]) == (0, 0)
    assert after["syscall_samples"] >= after["samples_gathered"] - 1


@pytest.mark.parametrize("dumped", [False, True], ids=["plain", "faulthandler"])
def test_a_real_crash_is_still_a_crash(run_python: Run, dumped: bool) -> None:
    done = run_python(
        f"""
import ctypes, faulthandler
from flamewire import _native
faulthandler.{"enable" if dumped else "disable"}()
_native.start(5_000_000, 64)
ctypes.string_at(8)
"""
    )
    assert done.returncode == -signal.SIGSEGV
    assert ("Fatal Python error: Segmentation fault" in done.stderr) == dumped


def test_a_fork_child_is_profiled_by_itself(sampler: None) -> None:
    spin_for(0.2)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            child_only_function()
            window = _native.stop()
            os.write(write_end, window[0] if window is not None else b"")
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        profile = read_profile(pipe.read())
    assert os.waitpid(child, 0)[1] == 0
    assert profile.cpu_of("child_only_function") == pytest.approx(0.3e9, rel=0.1)
    assert profile.total == pytest.approx(0.3e9, rel=0.15)
    window = _native.stop()
    assert window is not None
    assert read_profile(window[0]).cpu_of("child_only_function") == 0


def child_only_function() -> None:
    spin_for(0.3)


def test_many_forks_under_racing_threads(run_python: Run) -> None:
    done = run_python(
        """
import os, threading, time
from flamewire import _native
original = threading.Thread._bootstrap_inner
threading.Thread._bootstrap_inner = _native.ThreadHook(original)
_native.start(1_000_000, 64)
stopping = threading.Event()
def tag():
    while not stopping.is_set():
        with _native.tags(a=1):
            sum(range(100))
def poll():
    while not stopping.is_set():
        _native.poll()
threads = [threading.Thread(target=work) for work in (tag, tag, poll)]
for thread in threads: thread.start()
for number in range(40):
    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=sum, args=(range(1000),))
        thread.start(); thread.join()
        _native.poll(); _native.stop()
        os._exit(0)
    deadline = time.monotonic() + 120
    while not (status := os.waitpid(child, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, f"child {number} hangs"
        time.sleep(0.001)
    assert status[1] == 0
stopping.set()
for thread in threads: thread.join()
_native.stop()
print("ok")
""",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr[-2000:]


@pytest.mark.parametrize("how", ["return", "sys.exit(0)", "os._exit(0)"])
def test_exit_with_live_timers_and_daemon_threads(run_python: Run, how: str) -> None:
    done = run_python(
        f"""
import os, sys, threading, time
from flamewire import _native
original = threading.Thread._bootstrap_inner
threading.Thread._bootstrap_inner = _native.ThreadHook(original)
_native.start(1_000_000, 64)
def work():
    while True:
        with _native.tags(a=1):
            sum(range(100))
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
end = time.thread_time() + 0.05
while time.thread_time() < end: pass
{"pass" if how == "return" else how}
"""
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_subprocesses_start_with_the_default_signal(sampler: None) -> None:
    """exec keeps an ignored signal ignored, but resets a handler."""
    code = "import signal; print(signal.getsignal(signal.SIGPROF) is signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True"


def test_system_calls_are_restarted(sampler: None) -> None:
    """A burning thread gets the signals of its own clock only, and sleep(2) in another is not cut short."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        time.sleep(0.2)
        os.write(write_end, b"x")
        os._exit(0)
    spin_for(0.05)
    assert os.read(read_end, 1) == b"x"
    assert os.waitpid(child, 0)[1] == 0
    os.close(read_end)
    os.close(write_end)


def test_a_full_ring_drops_and_counts() -> None:
    """Nobody polls: a ring of 16,384 words fills up. No CPU is lost, the next sample carries it."""
    _native.start(1_000_000, 1024)
    try:

        def deep(depth: int) -> None:
            if depth:
                deep(depth - 1)
            else:
                for _ in range(40):
                    os.kill(os.getpid(), signal.SIGPROF)

        deep(700)
        _native.poll()
        assert _native.stats()["dropped"].get("ring_full", 0) >= 10
        spin_for(0.05)
    finally:
        window = _native.stop()
    assert window is not None
    stats = _native.stats()
    assert read_profile(window[0]).total == stats["accounted_ns"] + stats["unattributed_ns"]


def test_samples_that_cost_too_much_are_taken_less_often(run_python: Run) -> None:
    """Each of 1,000 frames is a system call here. No CPU is lost, and what is left out is counted: with the
    samples it is no more than what was due (how many fewer, the kernel's ticks decide)."""
    done = run_python(
        """
import faulthandler, json, sys, time
from flamewire import _native
faulthandler.disable()
def deep(depth):
    if depth:
        deep(depth - 1)
    else:
        end = time.thread_time() + 30
        while time.thread_time() < end and _native.stats()["dropped"].get("overhead_limit", 0) < 100:
            sum(range(2000))
            _native.poll()
_native.start(5_000_000, 1024)
faulthandler.enable()
before = time.thread_time()
sys.setrecursionlimit(2000)
deep(1000)
used = time.thread_time() - before
_native.stop()
print(json.dumps([used, _native.stats()]))
"""
    )
    assert done.returncode == 0, done.stderr
    used_s, stats = json.loads(done.stdout)
    left_out = stats["dropped"]["overhead_limit"]
    assert left_out >= 100
    assert stats["samples_gathered"] + left_out < 1.25 * stats["samples_due"] + 16
    assert stats["accounted_ns"] == pytest.approx(used_s * 1e9, rel=0.03)


def test_the_storm(tmp_path: Path) -> None:
    """Under 1,000 signals a second to each thread no sampled caller-callee pair is one that never ran."""
    storm(2, 1000)


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["", "faulthandler"])
def test_the_long_storm(mode: str) -> None:
    storm(60, 2000, *([mode] if mode else []))


def storm(seconds: int, rate: int, *mode: str) -> None:
    script = Path(__file__).with_name("storm_workload.py")
    done = subprocess.run(
        [sys.executable, str(script), str(seconds), str(rate), *mode],
        capture_output=True,
        text=True,
        timeout=seconds * 10 + 600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["samples"] >= 500 * seconds
    # One leaf in about 20,000 was seen wrong once, in a build of 3.12 by another compiler.
    assert result["flagged_count"] <= result["samples"] // 20_000, result["flagged"]
    # The storm itself is above the ceiling, so that the timers rest beside it; and whether the reader gets
    # its turns in time is the machine's affair.
    expected = {"overhead_limit", "ring_full"}
    dropped = sum(count for reason, count in result["stats"]["dropped"].items() if reason not in expected)
    assert dropped <= 0.01 * result["samples"], result["stats"]


def test_faulthandler_is_as_it_was(sampler: None) -> None:
    """pytest has it enabled before us; stopping gives SIGSEGV back to it."""
    assert faulthandler.is_enabled()
