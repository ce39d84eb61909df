"""Whose CPU it is: shares, totals, short threads, native code. The truth is the kernel's clocks."""

from __future__ import annotations

import _thread
import ctypes
import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sdk_support.pprof_reader import Profile, read_profile
from sdk_support.shares import margin, until_sampled

from flamewire import _native

HASHED = bytes(32 * 1024 * 1024)


@pytest.fixture(autouse=True)
def hooked() -> Iterator[None]:
    original = threading.Thread.__dict__["_bootstrap_inner"]
    threading.Thread._bootstrap_inner = _native.ThreadHook(original)  # type: ignore[attr-defined]
    yield
    threading.Thread._bootstrap_inner = original  # type: ignore[attr-defined]


def spin(iterations: int) -> None:
    for _ in range(iterations):
        sum(range(2000))


def seventy(iterations: int) -> None:
    spin(iterations)


def twenty(iterations: int) -> None:
    spin(iterations)


def ten(iterations: int) -> None:
    spin(iterations)


def begin_window() -> int:
    """End what ran before the test's own work; returns the process's CPU clock."""
    _native.take_window()
    return time.process_time_ns()


def stopped() -> Profile:
    window = _native.stop()
    assert window is not None
    return read_profile(window[0])


def sample_count() -> int:
    return int(_native.stats()["samples_gathered"])


def spin_for(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        spin(20)


def test_the_total_is_what_the_process_used(sampler: None) -> None:
    before = begin_window()
    threads = [threading.Thread(target=spin_for, args=(0.3,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    spin_for(0.3)
    for thread in threads:
        thread.join(60)
    used = time.process_time_ns() - before
    profile = stopped()
    assert profile.total == pytest.approx(used, rel=0.03)
    assert profile.cpu_of("(unattributed)") < 0.02 * used


def test_shares_are_those_of_the_work(sampler: None) -> None:
    """n is 240 or more: 4.5 sigmas of the largest share are 15 points."""
    for _ in until_sampled(240):
        seventy(7)
        twenty(2)
        ten(1)
    profile = stopped()
    total = sum(profile.cpu_of(name) for name in ("seventy", "twenty", "ten"))
    samples = sample_count()
    for name, share in (("seventy", 0.7), ("twenty", 0.2), ("ten", 0.1)):
        assert profile.cpu_of(name) / total == pytest.approx(share, abs=margin(share, samples))


def burst_work() -> None:
    spin(25)


def burst_sleep() -> None:
    time.sleep(0.003)


def test_a_burst_before_a_wait_stays_with_the_burst(sampler: None) -> None:
    """About 1 ms of work between sleeps of 3 ms. The truth is the thread's own clock around each; charging
    CPU to the stack at the next wall-clock tick puts 75 % on the sleep. n is 60 or more: what chance can do
    ends far below that."""
    in_work = in_sleep = 0
    for _ in until_sampled(60):
        began = time.thread_time_ns()
        burst_work()
        worked = time.thread_time_ns()
        burst_sleep()
        in_work += worked - began
        in_sleep += time.thread_time_ns() - worked
    profile, samples = stopped(), sample_count()
    truth = in_sleep / (in_work + in_sleep)
    found = profile.cpu_of("burst_sleep") / (profile.cpu_of("burst_sleep") + profile.cpu_of("burst_work"))
    assert found <= truth + margin(truth, samples) < 0.6


def hash_away(cpu_ns: int, used_ns: list[int]) -> None:
    while time.thread_time_ns() < cpu_ns:
        hashlib.sha256(HASHED).digest()
    used_ns.append(time.thread_time_ns())


def test_code_that_releases_the_gil_is_counted(sampler: None) -> None:
    used_ns = list[int]()
    thread = threading.Thread(target=hash_away, args=(400_000_000, used_ns))
    thread.start()
    spin_for(0.4)
    thread.join(60)
    assert stopped().cpu_of("hash_away") == pytest.approx(used_ns[0], rel=0.05)


def brief() -> None:
    spin_for(0.002)


def test_threads_shorter_than_a_period_are_counted(sampler: None) -> None:
    """200 threads of about 2 ms at a period of 5 ms: what no sample hits is settled on the thread's entry."""
    before = begin_window()
    for _ in range(50):
        threads = [threading.Thread(target=brief) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        _native.poll()
    used = time.process_time_ns() - before
    profile = stopped()
    assert profile.cpu_of("brief") >= 0.4e9 * 0.9
    assert profile.total == pytest.approx(used, rel=0.03)


class Finished:
    """Counts threads that have no join()."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = threading.Condition()

    def one(self) -> None:
        with self.changed:
            self.count += 1
            self.changed.notify()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count >= count, 60)


def test_threads_of_the_thread_module_are_counted_though_they_last_3_ms() -> None:
    """100 threads of 3 ms at a period of 10 ms; threading does not know them. At least 90 % is found."""
    hooked, finished, used_ns = _native.StartHook(_thread.start_new_thread), Finished(), list[int]()

    def raw() -> None:
        spin_for(0.003)
        used_ns.append(time.thread_time_ns())
        finished.one()

    _native.start(10_000_000, 64)
    try:
        for number in range(0, 100, 4):
            for _ in range(4):
                hooked(raw, ())
            finished.wait_for(number + 4)
            _native.poll()
    finally:
        profile = stopped()
    assert profile.cpu_of(raw.__qualname__) >= 0.9 * sum(used_ns)


def test_a_thread_that_dies_of_an_exception_is_reported_under_its_functions_name(
    monkeypatch: pytest.MonkeyPatch, sampler: None
) -> None:
    reports: list[str] = []
    finished = Finished()

    def hook(report: sys.UnraisableHookArgs) -> None:
        # 3.13+ has the function in the message, before that it is the object.
        reports.append(f"{report.exc_value!r} {report.object!r} {report.err_msg}")
        finished.one()

    monkeypatch.setattr(sys, "unraisablehook", hook)

    def fail() -> None:
        raise KeyError("lost")

    _native.StartHook(_thread.start_new_thread)(fail, ())
    finished.wait_for(1)
    assert "KeyError('lost')" in reports[0]
    assert repr(fail) in reports[0]


@pytest.mark.parametrize("arguments", [(), (1, ()), (len, 1), (len, (), 1)])
def test_wrong_arguments_of_start_new_thread_raise_as_ever(sampler: None, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        _native.StartHook(_thread.start_new_thread)(*arguments)


def test_a_thread_of_ours_is_left_out_and_counted(sampler: None) -> None:
    def own() -> None:
        _native.exclude_thread()
        spin_for(0.3)

    thread = threading.Thread(target=own)
    thread.start()
    thread.join(60)
    spin_for(0.05)
    profile = stopped()
    assert _native.stats()["own_cpu_ns"] == pytest.approx(0.3e9, rel=0.1)
    assert profile.total < 0.1e9


def test_an_idle_process_has_empty_windows(sampler: None) -> None:
    """The main thread has been sampled, so that it has a stack for whatever it burns. It waits in join(), but
    on a busy machine it gets there late: only the windows count in which its clock stood still."""
    spin_for(0.05)
    clock = time.pthread_getcpuclockid(threading.get_ident())
    while_idle = list[object]()

    def own() -> None:
        _native.exclude_thread()
        _native.take_window()
        for _ in range(1000):
            before = time.clock_gettime_ns(clock)
            time.sleep(0.01)
            window = _native.take_window()
            if time.clock_gettime_ns(clock) == before:
                while_idle.append(window)
            if len(while_idle) == 5:
                break

    thread = threading.Thread(target=own)
    thread.start()
    thread.join(60)
    assert while_idle == [None] * 5


def test_a_thread_without_python_is_shown_by_its_name(sampler: None) -> None:
    """The thread spins in C on a spin lock that is held. All else is what waiting for it costs."""
    libc = ctypes.CDLL(None)
    lock, thread = ctypes.c_int(), ctypes.c_ulong()
    libc.pthread_spin_init(ctypes.byref(lock), 0)
    libc.pthread_spin_lock(ctypes.byref(lock))
    spinning = ctypes.cast(libc.pthread_spin_lock, ctypes.c_void_p)
    assert libc.pthread_create(ctypes.byref(thread), None, spinning, ctypes.byref(lock)) == 0
    begin_window()  # lists the threads
    for _ in until_sampled(10):
        time.sleep(0.01)
    window = _native.take_window()
    libc.pthread_spin_unlock(ctypes.byref(lock))
    libc.pthread_join(thread, None)
    assert window is not None
    profile = read_profile(window[0])
    named = sum(s.values[0] for s in profile.samples if s.functions[0].startswith("(native thread: "))
    assert named > 0.75 * profile.total


def test_windows_follow_one_another_without_a_gap(sampler: None) -> None:
    before = begin_window()
    windows = []
    for _ in range(5):
        spin_for(0.1)
        windows.append(_native.take_window())
    spin_for(0.05)
    used = time.process_time_ns() - before
    windows.append(_native.stop())
    profiles = [read_profile(window[0]) for window in windows if window is not None]
    assert len(profiles) == 6
    assert sum(profile.total for profile in profiles) == pytest.approx(used, rel=0.03)
    for earlier, later in pairwise(profiles):
        gap_ns = later.time_unix_ns - earlier.time_unix_ns - earlier.duration_ns
        # Stamps are calendar time and lengths monotonic: a preemption between the two readings shows.
        assert abs(gap_ns) < 90_000_000
