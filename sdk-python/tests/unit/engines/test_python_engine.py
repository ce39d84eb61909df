"""The fallback engine on the real process: who spent the CPU, and that totals add up."""

from __future__ import annotations

import hashlib
import sys
import threading
import time

import pytest
from sdk_support.pprof_reader import Profile, read_profile

from flamewire.config import resolve
from flamewire.engines.python import PythonEngine
from flamewire.engines.thread_clocks import ThreadClocks
from flamewire.threads import SdkThread

DEADLINE_S = 120.0


class Ticks:
    """Lets a thread wait, where it is, for two more ticks: then all that it burnt is charged to that place.

    What a thread burns after its last tick would be (unattributed), and how much that is on a busy machine
    nobody knows.
    """

    engine: PythonEngine

    def wait(self) -> None:
        seen, end = self.engine._ticks, time.monotonic() + DEADLINE_S
        while self.engine._ticks < seen + 2:
            assert time.monotonic() < end
            time.sleep(0.001)


TICKS = Ticks()


def burn(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        for _ in range(1000):
            pass
    TICKS.wait()


def burn_other(cpu_s: float) -> None:
    burn(cpu_s)


def run_engine(work: list[threading.Thread], **given: object) -> tuple[PythonEngine, Profile, int]:
    """Run the threads under the engine; returns it, its one window, and the CPU that the process spent."""
    engine = TICKS.engine = PythonEngine()
    before_ns = time.process_time_ns()
    engine.start(resolve({"service_name": "x", **given}, {}, "x").options)
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(DEADLINE_S)
    spent_ns = time.process_time_ns() - before_ns
    (window,) = engine.stop()
    profile = read_profile(window.pprof)
    assert (profile.time_unix_ns, profile.duration_ns) == (window.start_unix_ns, window.duration_ns)
    return engine, profile, spent_ns


def test_cpu_goes_to_the_functions_that_spent_it_and_the_total_is_the_process_s() -> None:
    threads = [
        threading.Thread(target=burn, args=(0.6,)),
        threading.Thread(target=burn_other, args=(0.3,)),
        threading.Thread(target=time.sleep, args=(0.3,)),
    ]
    engine, profile, spent_ns = run_engine(threads)
    assert profile.sample_types == (("cpu", "nanoseconds"),)
    assert profile.cpu_of("burn") == pytest.approx(0.9e9, abs=0.1e9)
    assert profile.cpu_of("burn_other") == pytest.approx(0.3e9, abs=0.1e9)
    assert profile.total + engine.stats().own_cpu_ns == pytest.approx(spent_ns, rel=0.1)
    assert profile.cpu_of("sleep") == 0


def test_cpu_spent_without_the_interpreter_lock_is_seen() -> None:
    block = bytes(1 << 20)

    def digest() -> None:
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            hashlib.sha256(block)
        TICKS.wait()

    _, profile, _ = run_engine([threading.Thread(target=digest)])
    assert profile.cpu_of(digest.__qualname__) == pytest.approx(0.5e9, abs=0.1e9)


def test_stacks_are_leaf_first_with_lines_and_cut_at_the_depth() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            burn(0.3)

    _, profile, _ = run_engine([threading.Thread(target=deep, args=(40,))], max_stack_depth=8)
    stack = max(profile.samples, key=lambda sample: sample.values[0]).stack
    assert len(stack) == 9
    assert (stack[0][0], stack[0][1], stack[0][2]) == ("burn", __file__, burn.__code__.co_firstlineno)
    assert stack[0][3] > stack[0][2]
    assert stack[-1][0] == "(truncated)"


def test_the_sdks_own_threads_are_left_out_and_counted() -> None:
    engine, profile, spent_ns = run_engine(
        [SdkThread("test", lambda: burn(0.5)), threading.Thread(target=burn_other, args=(0.2,))]
    )
    own_ns = engine.stats().own_cpu_ns
    # The engine's own thread is among them.
    assert own_ns == pytest.approx(0.5e9, abs=0.15e9)
    assert profile.total + own_ns == pytest.approx(spent_ns, rel=0.1)
    assert profile.cpu_of("run") == 0


def test_a_second_stop_returns_nothing() -> None:
    engine, _, _ = run_engine([])
    assert engine.stop() == []
    assert engine.take_windows() == []


def test_ticks_that_cost_too_much_are_taken_less_often() -> None:
    engine = PythonEngine()
    engine._rate_hz = 1000
    engine._tick_cost_s = 0.002
    assert engine._interval_s() == pytest.approx(0.2)
    engine._tick_cost_s = 50.0
    assert engine._interval_s() == 1.0


def test_the_clock_of_a_thread_that_ended_is_forgotten() -> None:
    clocks = ThreadClocks()
    if not clocks.per_thread:
        pytest.skip("no per-thread clocks on this platform")
    hold, ready = threading.Event(), threading.Event()

    def body() -> None:
        ready.set()
        hold.wait(DEADLINE_S)

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(DEADLINE_S)
    ident = thread.ident
    assert ident is not None
    frame = sys._getframe()
    assert [found for found, _ in clocks.deltas({ident: frame})] == [ident]
    hold.set()
    thread.join(DEADLINE_S)
    _until_the_kernel_forgot(thread.native_id)
    assert list(clocks.deltas({ident: frame})) == []
    assert clocks.thread_count == 0


def test_without_thread_clocks_the_process_s_cpu_goes_to_those_that_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "plan9")
    engine, profile, spent_ns = run_engine([threading.Thread(target=burn, args=(0.4,))])
    assert "thread clocks" in engine.missing
    assert "thread clocks" not in PythonEngine.missing
    assert profile.cpu_of("burn") > 0
    assert profile.total == pytest.approx(spent_ns, rel=0.1)


def _until_the_kernel_forgot(kernel_id: int | None) -> None:
    """A thread that was joined may be known to the kernel for a moment longer."""
    assert kernel_id is not None
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        try:
            time.clock_gettime_ns(~kernel_id << 3 | 6)
        except OSError:
            return
    raise AssertionError("the thread did not end")
