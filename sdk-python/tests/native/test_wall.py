"""Wall-clock profiles: every thread's time, idle or not, read from outside while the threads stand still."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
from sdk_support.pprof_reader import Profile, Sample, read_profile

from flamewire import _native
from flamewire.config import Options
from flamewire.engines import WallStats
from flamewire.engines import native as engine_module
from flamewire.engines.native import NativeEngine
from flamewire.errors import EngineError
from flamewire.export.envelope import series_labels
from flamewire.snapshot import Status

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PERIOD_NS = 10_000_000
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def sampler() -> Iterator[None]:
    original = threading.Thread.__dict__["_bootstrap_inner"]
    threading.Thread._bootstrap_inner = _native.ThreadHook(original)  # type: ignore[attr-defined]
    _native.start(PERIOD_NS, 128, None, PERIOD_NS)
    yield
    _native.stop()
    _native.take_window("wall")
    threading.Thread._bootstrap_inner = original  # type: ignore[attr-defined]


def counted(name: str) -> int:
    wall = _native.stats()["wall"]
    assert wall is not None
    return int(wall[name])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, _native.stats()["wall"]
        time.sleep(0.005)


def wait_for_ticks(count: int) -> None:
    enough = counted("ticks") + count
    wait_until(lambda: counted("ticks") >= enough)


def taken() -> Profile:
    window = _native.take_window("wall")
    assert window is not None
    return read_profile(window[0])


def stopped() -> Profile:
    _native.stop()
    return taken()


def of(profile: Profile, function: str) -> list[Sample]:
    """The samples that have the function in their stack, whatever it is nested in."""
    return [
        sample
        for sample in profile.samples
        if any(name.rpartition(".")[2] == function for name in sample.functions)
    ]


def time_of(profile: Profile, function: str) -> int:
    return sum(sample.values[0] for sample in of(profile, function))


@contextmanager
def running(body: Callable[[], object], *, until: Callable[[], object]) -> Iterator[None]:
    """A thread that runs the body for as long as this block runs; `until` makes it end."""
    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        until()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_the_profile_says_what_it_is() -> None:
    wait_for_ticks(3)
    profile = stopped()
    assert profile.sample_types == (("wall", "nanoseconds"),)
    assert profile.period_type == ("wall", "nanoseconds")
    assert profile.period == PERIOD_NS


def test_each_threads_time_is_in_each_window_exactly() -> None:
    """Two threads for the whole of the second window: its values add up to twice its length."""
    done = threading.Event()

    def waits() -> None:
        done.wait()

    with running(waits, until=done.set):
        wait_until(lambda: counted("threads") == 2)
        wait_for_ticks(3)
        taken()
        wait_for_ticks(10)
        profile = taken()
    assert profile.total == pytest.approx(2 * profile.duration_ns, abs=1000)
    assert time_of(profile, "waits") == pytest.approx(profile.duration_ns, abs=1000)


def test_windows_follow_each_other() -> None:
    wait_for_ticks(50)
    first = taken()
    wait_for_ticks(2)
    second = stopped()
    assert first.time_unix_ns + first.duration_ns == pytest.approx(second.time_unix_ns, abs=1_000_000)
    # The first window begins before the threads are listed, and start() may lose its core in between.
    assert 0.5 * first.duration_ns < first.total < first.duration_ns + 1_000_000
    assert second.total == pytest.approx(second.duration_ns, abs=1_000_000)


def waits_in_lock() -> tuple[Callable[[], object], Callable[[], object]]:
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire, lock.release


def waits_in_io() -> tuple[Callable[[], object], Callable[[], object]]:
    ours, theirs = socket.socketpair()

    def release() -> None:
        theirs.send(b"x")

    def receive() -> None:
        ours.recv(1)
        ours.close()
        theirs.close()

    return receive, release


def waits_in_sleep() -> tuple[Callable[[], object], Callable[[], object]]:
    done = threading.Event()

    def sleep() -> None:
        while not done.is_set():
            time.sleep(0.5)

    return sleep, done.set


def waits_in_event_loop() -> tuple[Callable[[], object], Callable[[], object]]:
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_forever()
        loop.close()

    return run, lambda: loop.call_soon_threadsafe(loop.stop)


def waits_for_child() -> tuple[Callable[[], object], Callable[[], object]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    return child.wait, child.stdin.close


@pytest.mark.parametrize(
    ("state", "make"),
    [
        ("lock", waits_in_lock),
        ("io", waits_in_io),
        ("io", waits_in_event_loop),
        ("sleep", waits_in_sleep),
        ("other", waits_for_child),
    ],
)
def test_what_a_thread_waits_for_is_named(
    state: str, make: Callable[[], tuple[Callable[[], object], Callable[[], object]]]
) -> None:
    body, release = make()

    def waiting_thread() -> None:
        body()

    with running(waiting_thread, until=release):
        wait_until(lambda: counted("threads") == 2)
        wait_for_ticks(5)
        taken()
        wait_for_ticks(20)
        profile = taken()
    found: Counter[str] = Counter()
    for sample in of(profile, "waiting_thread"):
        found[sample.labels["thread_state"]] += sample.values[0]
    # The sleeper wakes up now and then.
    assert found.most_common(1)[0][0] == state
    assert found[state] > 0.6 * found.total()


def test_threads_that_compete_are_running_or_wait_for_the_gil() -> None:
    done = threading.Event()

    def competes() -> None:
        while not done.is_set():
            sum(range(1000))

    found: Counter[str] = Counter()
    competitor = partial(running, competes, until=done.set)
    deadline = time.monotonic() + DEADLINE_S
    with competitor(), competitor(), competitor():
        # On a machine with too few cores most of them wait for a core, which is "running" too.
        while not (found["running"] and found["gil"]):
            assert time.monotonic() < deadline, found
            wait_for_ticks(10)
            for sample in of(taken(), "competes"):
                found[sample.labels.get("thread_state", "")] += sample.values[0]


def test_idle_threads_are_not_read_again() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: counted("threads") == 21)
        wait_for_ticks(10)
        readings, ticks = counted("readings"), counted("ticks")
        wait_for_ticks(50)
        readings, ticks = counted("readings") - readings, counted("ticks") - ticks
    finally:
        done.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    # This thread, which wakes up all the time, and what had not settled yet.
    assert readings <= 2 * ticks


def test_samples_carry_the_labels_of_a_thread_that_waits() -> None:
    done = threading.Event()

    def waits() -> None:
        with _native.tags(who="waiter", thread_state="mine"):
            done.wait()

    with running(waits, until=done.set):
        wait_until(lambda: counted("threads") == 2)
        wait_for_ticks(5)
        taken()
        wait_for_ticks(3)
        profile = taken()
    assert [sample.labels for sample in of(profile, "waits")] == [{"who": "waiter", "thread_state": "mine"}]


def test_a_span_that_ends_elsewhere_labels_no_further_time() -> None:
    done = threading.Event()
    span = _native.Scope({"tag": "kept"}, span_id="0123456789abcdef")

    def waits() -> None:
        _native.scope_variable.set(span)
        done.wait()

    def labels() -> list[dict[str, str]]:
        wait_for_ticks(3)
        taken()
        wait_for_ticks(3)
        found = [sample.labels for sample in of(taken(), "waits")]
        return [{name: value for name, value in each.items() if name != "thread_state"} for each in found]

    with running(waits, until=done.set):
        wait_until(lambda: counted("threads") == 2)
        before = labels()
        span.end()
        after = labels()
    assert before == [{"tag": "kept", "span_id": "0123456789abcdef"}]
    assert after == [{"tag": "kept"}]


def test_an_event_loop_that_waits_has_no_tasks_labels() -> None:
    """It waits for all of its tasks, and runs none of them."""

    async def waits_in_task(done: asyncio.Event) -> None:
        with _native.tags(task="one"):
            await done.wait()

    async def main() -> None:
        done = asyncio.Event()
        task = asyncio.create_task(waits_in_task(done))
        enough = counted("ticks") + 20
        while counted("ticks") < enough:
            await asyncio.sleep(0.02)
        done.set()
        await task

    asyncio.run(main())
    waiting = [sample for sample in of(stopped(), "_run_once") if "select" in sample.functions[0]]
    assert waiting
    assert all("task" not in sample.labels for sample in waiting)


def test_short_threads_are_found() -> None:
    """Each lives for less than a tick; most never meet one."""
    lived_ns = 0

    def lives() -> None:
        nonlocal lived_ns
        begin = time.monotonic_ns()
        time.sleep(0.003)
        lived_ns += time.monotonic_ns() - begin

    for _ in range(50):
        thread = threading.Thread(target=lives)
        thread.start()
        thread.join(DEADLINE_S)
    assert time_of(stopped(), "lives") > 0.9 * lived_ns


CHAINS = 2
LENGTH = 15


def chains() -> list[Callable[[int], int]]:
    """Two chains of functions that call each other down to a leaf; no stack has functions of both."""
    source = ""
    for chain in range(CHAINS):
        for step in range(LENGTH):
            body = f"chain_{chain}_{step + 1}(n)" if step < LENGTH - 1 else "sum(range(n))"
            source += f"def chain_{chain}_{step}(n):\n    return {body}\n"
    names: dict[str, Any] = {}
    exec(compile(source, "<chains>", "exec"), names)
    return [names[f"chain_{chain}_0"] for chain in range(CHAINS)]


def assert_no_torn_stack(profile: Profile) -> None:
    found = 0
    for sample in profile.samples:
        frames = [name.split("_") for name in sample.functions if name.startswith("chain_")]
        if frames:
            found += 1
            assert len({chain for _, chain, _ in frames}) == 1, sample.functions
            steps = [int(step) for *_, step in frames]
            assert steps == list(range(steps[0], -1, -1)), sample.functions
    assert found >= 10


def test_no_stack_is_torn() -> None:
    """Stacks of a thread that is between two of them are not taken."""
    ways, done = chains(), threading.Event()

    def changes(pause_s: float | None) -> None:
        while not done.is_set():
            for way in ways:
                way(5)
            if pause_s is not None:
                time.sleep(pause_s)

    def changing(pause_s: float | None) -> AbstractContextManager[None]:
        return running(lambda: changes(pause_s), until=done.set)

    with changing(None), changing(0), changing(0.0002):
        wait_until(lambda: counted("readings") >= 300)
    assert_no_torn_stack(stopped())


def test_the_first_thing_after_an_exec_is_as_right(run_python: Run) -> None:
    """The SDK's thread dies of it with the others, and nothing is left armed in the new image."""
    done = run_python(
        """
import os, sys, time
from flamewire import _native
_native.start(5_000_000, 64, None, 5_000_000)
end = time.thread_time() + 0.05
while time.thread_time() < end: pass
os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(0.1); print('ok')"])
"""
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr


def test_reads_go_by_system_call_where_sigsegv_is_anothers(run_python: Run) -> None:
    done = run_python(
        """
import faulthandler, sys, threading, time
from sdk_support.pprof_reader import read_profile
from flamewire import _native
faulthandler.disable()
_native.start(10_000_000, 64, None, 10_000_000)
faulthandler.enable()
done = threading.Event()
def waits_elsewhere():
    with _native.tags(who="waiter"):
        done.wait()
thread = threading.Thread(target=waits_elsewhere)
thread.start()
_native.poll()
deadline = time.monotonic() + 60
while _native.stats()["wall"]["threads"] < 2: assert time.monotonic() < deadline
_native.take_window("wall")
enough = _native.stats()["wall"]["ticks"] + 5
while _native.stats()["wall"]["ticks"] < enough: assert time.monotonic() < deadline
profile = read_profile(_native.take_window("wall")[0])
done.set(); thread.join()
_native.stop()
assert profile.cpu_of("waits_elsewhere") > 0.9 * profile.duration_ns, profile
assert {s.labels["who"] for s in profile.samples if "waits_elsewhere" in s.functions} == {"waiter"}
print("ok")
"""
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_child_has_wall_clock_profiles_of_its_own() -> None:
    done = threading.Event()

    def in_parent() -> None:
        done.wait()

    with running(in_parent, until=done.set):
        wait_until(lambda: counted("threads") == 2)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _native.poll()
                in_child()
                os.write(write_end, (_native.stop(), _native.take_window("wall"))[1][0])  # type: ignore[index]
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            profile = read_profile(pipe.read())
    assert os.waitpid(child, 0)[1] == 0
    assert not of(profile, "in_parent")
    assert profile.total == pytest.approx(profile.duration_ns, abs=20_000_000)
    assert time_of(profile, "in_child") > 0.5 * profile.total


def in_child() -> None:
    wait_for_ticks(20)


def own_threads() -> int:
    names = []
    for tid in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{tid}/comm") as comm:
            names.append(comm.read().strip())
    return names.count("flamewire-wall")


def test_starts_and_stops_leave_no_thread() -> None:
    _native.stop()
    for number in range(30):
        _native.start(PERIOD_NS, 64, None, PERIOD_NS if number % 3 else 0)
        assert own_threads() <= (1 if number % 3 else 0)
        assert (_native.stats()["wall"] is None) == (number % 3 == 0)
        _native.stop()
        _native.take_window("wall")
        assert _native.take_window("wall") is None
    wait_until(lambda: own_threads() == 0)  # one that was joined may still be leaving the kernel


def test_its_thread_is_not_in_the_cpu_profile() -> None:
    before = _native.stats()["own_cpu_ns"]
    wait_for_ticks(20)
    assert _native.stats()["own_cpu_ns"] > before
    window = _native.stop()
    assert window is None or not of(read_profile(window[0]), "(native thread: flamewire-wall)")


@pytest.mark.parametrize("how", ["return", "sys.exit(0)", "os._exit(0)"])
def test_the_interpreter_ends_under_it(run_python: Run, how: str) -> None:
    done = run_python(
        f"""
import os, sys, threading, time
from flamewire import _native
_native.start(1_000_000, 64, None, 1_000_000)
def work():
    while True:
        with _native.tags(a=1):
            sum(range(100))
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
end = time.thread_time() + 0.05
while time.thread_time() < end: pass
{"pass" if how == "return" else how}
"""
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_many_forks_beside_it(run_python: Run) -> None:
    done = run_python(
        """
import os, threading, time
from flamewire import _native
original = threading.Thread._bootstrap_inner
threading.Thread._bootstrap_inner = _native.ThreadHook(original)
_native.start(1_000_000, 64, None, 1_000_000)
stopping = threading.Event()
def churn():
    while not stopping.is_set():
        thread = threading.Thread(target=sum, args=(range(1000),))
        thread.start(); thread.join()
def poll():
    while not stopping.is_set():
        _native.poll(); _native.take_window("wall")
threads = [threading.Thread(target=work) for work in (churn, churn, poll)]
for thread in threads: thread.start()
for number in range(30):
    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=sum, args=(range(1000),))
        thread.start(); thread.join()
        _native.poll(); _native.take_window("wall"); _native.stop()
        os._exit(0)
    deadline = time.monotonic() + 60
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


def test_a_thousand_threads() -> None:
    done = threading.Event()

    def one_of_many() -> None:
        done.wait()

    threads = [threading.Thread(target=one_of_many) for _ in range(1000)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: counted("threads") == 1001)
        taken()
        wait_for_ticks(5)
        profile = taken()
    finally:
        done.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert time_of(profile, "one_of_many") == pytest.approx(1000 * profile.duration_ns, rel=1e-6)


def test_threads_inside_a_subinterpreter(run_python: Run) -> None:
    done = run_python(
        """
import os, sys, threading, time
from sdk_support.pprof_reader import read_profile
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from flamewire import _native
_native.start(10_000_000, 64, None, 10_000_000)
read_end, write_end = os.pipe()
sub = interpreters.create()
code = f"import os\\ndef waits_in_sub():\\n    os.read({read_end}, 1)\\nwaits_in_sub()"
def enters_sub():
    interpreters.run_string(sub, code)
thread = threading.Thread(target=enters_sub)
thread.start()
deadline = time.monotonic() + 60
found = 0
while not found:
    assert time.monotonic() < deadline
    time.sleep(0.05)
    profile = read_profile(_native.take_window("wall")[0])
    found = profile.cpu_of("waits_in_sub")
os.write(write_end, b"x")
thread.join()
interpreters.destroy(sub)
_native.stop()
print("ok")
"""
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="windows of heap"):
        _native.take_window("heap")
    _native.stop()
    with pytest.raises(ValueError, match="period_ns"):
        _native.start(PERIOD_NS, 64, None, 10)


@pytest.mark.parametrize("asked", [("wall",), ("cpu", "wall"), ("cpu",)])
def test_the_engine_hands_out_the_profiles_that_were_asked_for(asked: tuple[str, ...]) -> None:
    _native.stop()
    engine = NativeEngine()
    engine.start(Options(service_name="test", profile_types=asked))
    try:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            sum(range(1000))
        if "wall" in asked:
            wait_for_ticks(3)
        wall = engine.stats().wall
        assert (wall is not None and wall.ticks >= 3) == ("wall" in asked)
        windows = engine.take_windows()
    finally:
        last = engine.stop()
    assert [window.profile_type for window in windows] == list(asked)
    assert all(read_profile(window.pprof).sample_types[0][0] == window.profile_type for window in windows)
    assert {window.profile_type for window in last} <= set(asked)
    assert engine.stop() == []


def test_where_it_is_impossible_the_cpu_is_profiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _native.stop()
    start = _native.start

    def refuse(*arguments: Any) -> None:
        if arguments[3:] != ():
            raise NotImplementedError("not here")
        start(*arguments)

    monkeypatch.setattr(engine_module._native, "start", refuse)
    engine = NativeEngine()
    engine.start(Options(service_name="test", profile_types=("cpu", "wall")))
    engine.stop()
    assert engine.missing == {"wall": "not here"}
    with pytest.raises(EngineError, match="not here"):
        NativeEngine().start(Options(service_name="test", profile_types=("wall",)))


def test_the_series_has_the_name_that_others_give_it() -> None:
    assert series_labels(Options(service_name="test"), "wall")["__name__"] == "wall"


def test_the_status_tells_of_it() -> None:
    wall = WallStats(ticks_due=100, ticks=40, threads=12, without_state=3)
    text = str(Status(state="running", options=Options(service_name="test"), wall=wall))
    assert "40 ticks of 100 due, 12 threads, states unknown" in text
