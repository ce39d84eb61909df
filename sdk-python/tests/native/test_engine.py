"""NativeEngine: the engine contract over the core, and what happens where the core cannot run."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from sdk_support.pprof_reader import read_profile
from sdk_support.shares import until_sampled

from flamewire import _native
from flamewire.config import Options
from flamewire.engines import native as engine_module
from flamewire.engines import start_engine
from flamewire.engines.native import NativeEngine
from flamewire.errors import EngineError
from flamewire.threads import SdkThread

OPTIONS = Options(service_name="test", sample_rate_hz=200)


@pytest.fixture
def engine() -> Iterator[NativeEngine]:
    running = NativeEngine()
    running.start(OPTIONS)
    yield running
    running.stop()


def spin_for(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(500))


def test_auto_takes_the_native_engine() -> None:
    engine, why = start_engine(OPTIONS)
    try:
        assert (engine.name, why) == ("native", "the best engine for this interpreter")
    finally:
        engine.stop()


def test_windows_and_counters(engine: NativeEngine) -> None:
    engine.take_windows()
    began_ns = time.thread_time_ns()
    for _ in until_sampled(20):
        spin_for(0.02)
    (window,) = engine.take_windows()
    used_ns = time.thread_time_ns() - began_ns
    assert window.profile_type == "cpu"
    assert window.sample_count >= 20
    assert read_profile(window.pprof).cpu_of("test_windows_and_counters") == pytest.approx(used_ns, rel=0.1)
    stats = engine.stats()
    assert stats.samples_gathered == window.sample_count
    assert stats.threads >= 1
    assert stats.own_cpu_ns > 0
    assert not stats.dropped.keys() - {"overhead_limit"}


def test_polls_come_sooner_while_a_ring_fills_up(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fullness = iter([0.0, 0.0, 0.0, 0.1, 0.3, 0.9, 0.9, 0.9, 0.0])
    monkeypatch.setattr(_native, "poll", lambda: next(fullness))
    due = [engine.poll() for _ in range(9)]
    assert due == [0.2, 0.25, 0.25, 0.25, 0.125, 0.0625, 0.05, 0.05, 0.1]


def test_poll_tells_how_full_the_fullest_ring_was(engine: NativeEngine) -> None:
    _native.poll()
    for _ in range(1000):
        spin_for(0.02)
        if fullness := _native.poll():
            break
    assert 0 < fullness < 0.5


def test_stop_returns_the_last_window_once(engine: NativeEngine) -> None:
    spin_for(0.1)
    assert len(engine.stop()) == 1
    assert engine.stop() == []


def test_the_sdks_own_threads_are_left_out_and_counted(engine: NativeEngine) -> None:
    thread = SdkThread("test", lambda: spin_for(0.3))
    thread.start()
    thread.join(60)
    spin_for(0.05)
    (window,) = engine.stop()
    assert read_profile(window.pprof).total < 0.2e9
    assert engine.stats().own_cpu_ns >= 0.29e9


def test_threading_is_as_it_was_after_stop() -> None:
    before = threading.Thread.__dict__["_bootstrap_inner"], _thread.start_new_thread
    engine = NativeEngine()
    engine.start(OPTIONS)
    assert isinstance(threading.Thread.__dict__["_bootstrap_inner"], _native.ThreadHook)
    assert isinstance(_thread.start_new_thread, _native.StartHook)
    engine.stop()
    assert (threading.Thread.__dict__["_bootstrap_inner"], _thread.start_new_thread) == before


def test_a_second_engine_is_refused(engine: NativeEngine) -> None:
    with pytest.raises(EngineError, match="runs already"):
        NativeEngine().start(OPTIONS)


def test_a_taken_signal_falls_back_to_the_python_engine(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.signal(signal.SIGPROF, lambda *_: None)
    try:
        engine, why = start_engine(OPTIONS)
        engine.stop()
    finally:
        signal.signal(signal.SIGPROF, before or signal.SIG_IGN)
    assert engine.name == "python"
    assert "SIGPROF already has a handler" in why


def test_a_failed_self_test_refuses_and_disarms(monkeypatch: pytest.MonkeyPatch) -> None:
    def differ() -> None:
        raise RuntimeError("self-test: the stack is another")

    monkeypatch.setattr(engine_module, "check_stacks", differ)
    with pytest.raises(EngineError, match="self-test"):
        NativeEngine().start(OPTIONS)
    assert not _native.stats()["started"]
    assert not isinstance(threading.Thread.__dict__["_bootstrap_inner"], _native.ThreadHook)


def test_an_unknown_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unknown:
        @staticmethod
        def unsupported() -> str:
            return "the memory layout of this CPython version is not known"

    monkeypatch.setattr(engine_module, "_native", Unknown)
    with pytest.raises(EngineError, match="not known"):
        NativeEngine().start(OPTIONS)
