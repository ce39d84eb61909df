"""The session with an engine and a transport of the test's own."""

from __future__ import annotations

import gzip
import logging
import threading
from typing import ClassVar

import pytest
from sdk_support.pprof_reader import read_push

from flamewire.config import Options, resolve
from flamewire.engines.base import Engine, EngineStats, Window
from flamewire.errors import ConfigurationError, EngineError
from flamewire.export.transport import Answer, Transport
from flamewire.pprof import Frame, ValueType, encode
from flamewire.session import Session, WindowSchedule

CPU = ValueType("cpu", "nanoseconds")
DEADLINE_S = 30.0


def window(value: int) -> Window:
    frame = Frame("work", "app.py", 1, 2)
    pprof = encode(
        {(frame,): value}, value_type=CPU, period_type=CPU, period=1, time_unix_ns=1, duration_ns=2
    )
    return Window("cpu", pprof, 1, 2, 1)


class CountingEngine:
    """Each window's value says how many windows came before it."""

    name: ClassVar[str] = "counting"
    missing: ClassVar[dict[str, str]] = {"labels": "it is a test's"}

    def __init__(self) -> None:
        self.started_with: list[int] = []
        self.taken = 0
        self.polls = 0
        self.polled = threading.Semaphore(0)
        self.fail = False
        self.stopped = 0

    def start(self, options: Options) -> None:
        self.started_with.append(options.sample_rate_hz)

    def poll(self) -> float:
        self.polls += 1
        self.polled.release()
        if self.fail:
            raise RuntimeError("engine is broken")
        return 0.01

    def take_windows(self) -> list[Window]:
        self.taken += 1
        return [window(self.taken)]

    def stop(self) -> list[Window]:
        self.stopped += 1
        return [window(1000)]

    def stats(self) -> EngineStats:
        return EngineStats(10, 9, {"ring_full": 1}, 5_000_000, 3)

    def after_fork_in_child(self) -> None:
        raise EngineError("not in a test")


class RecordingTransport:
    def __init__(self) -> None:
        self.values: list[int] = []
        self.colors: list[str | None] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()

    def send(self, body: bytes, timeout_s: float) -> Answer:
        assert self.gate.wait(DEADLINE_S)
        for push in read_push(gzip.decompress(body)):
            self.values.append(push.profile.total)
            self.colors.append(push.labels.get("color"))
        return Answer(self.status, "OK")

    def fresh(self) -> Transport:
        return self


class Parts:
    def __init__(self, **given: object) -> None:
        self.refuse = False
        self.engine = CountingEngine()
        self.transport = RecordingTransport()
        resolved = resolve({"service_name": "shop", "upload_interval_s": 3600, **given}, {}, "app.py")
        self.session = Session(
            resolved,
            transport_factory=lambda _options: self.transport,
            engine_factory=self._engine_factory,
        )

    def _engine_factory(self, options: Options) -> tuple[Engine, str]:
        if self.refuse:
            raise EngineError("not again")
        self.engine.start(options)
        return self.engine, "a test asked for it"


def test_stop_pushes_the_last_window() -> None:
    parts = Parts()
    parts.session.start()
    assert parts.session.stop(DEADLINE_S)
    assert parts.transport.values == [1000]
    assert parts.engine.stopped == 1


def test_stop_twice_and_before_start_is_harmless() -> None:
    parts = Parts()
    assert parts.session.stop()
    parts.session.start()
    assert parts.session.stop(DEADLINE_S)
    assert parts.session.stop()
    assert parts.engine.stopped == 1


def test_a_stopped_session_starts_again() -> None:
    parts = Parts()
    for _ in range(2):
        parts.session.start()
        assert parts.session.stop(DEADLINE_S)
    assert parts.transport.values == [1000, 1000]


def test_flush_pushes_what_was_gathered_and_goes_on() -> None:
    parts = Parts()
    with parts.session:
        assert parts.session.flush(DEADLINE_S)
        assert parts.session.flush(DEADLINE_S)
        assert parts.transport.values == [1, 2]
        assert parts.session.running
    assert parts.transport.values == [1, 2, 1000]


def test_flush_gives_up_at_its_deadline() -> None:
    parts = Parts()
    parts.session.start()
    parts.transport.gate.clear()
    assert not parts.session.flush(0.05)
    parts.transport.gate.set()
    assert parts.session.stop(DEADLINE_S)


def test_flushes_from_many_threads_all_return() -> None:
    parts = Parts()
    results: list[bool] = []
    with parts.session:
        threads = [
            threading.Thread(target=lambda: results.append(parts.session.flush(DEADLINE_S))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert results == [True] * 8


def test_what_is_left_at_the_deadline_is_counted() -> None:
    parts = Parts()
    parts.session.start()
    parts.transport.gate.clear()
    assert not parts.session.stop(0.05)
    assert parts.session.status().dropped_profiles == {"shutdown": 1}
    parts.transport.gate.set()


def test_an_engine_that_fails_is_logged_and_the_session_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    parts.engine.fail = True
    with parts.session:
        for _ in range(2):
            assert parts.engine.polled.acquire(timeout=DEADLINE_S)
        assert parts.session.flush(DEADLINE_S)
    assert [record.message for record in caplog.records if "engine is broken" in record.message]
    assert parts.transport.values[-1] == 1000


def test_a_window_that_cannot_be_taken_is_counted_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()

    def fail() -> list[Window]:
        raise RuntimeError("no window")

    parts.engine.take_windows = fail  # type: ignore[method-assign]
    with parts.session:
        assert parts.session.flush(DEADLINE_S)
        assert parts.session.status().dropped_profiles == {"failed": 1}
    assert "no window" in caplog.text
    assert parts.transport.values == [1000]


def test_stop_tells_a_refusal_from_a_delivery() -> None:
    parts = Parts()
    parts.transport.status = 400
    parts.session.start()
    assert not parts.session.stop(DEADLINE_S)
    assert parts.session.status().dropped_profiles == {"rejected": 1}


def test_threads_that_cannot_be_started_are_an_error_and_leave_no_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = Parts()

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("flamewire.threads.SdkThread.start", fail)
    with pytest.raises(EngineError, match="can't start new thread"):
        parts.session.start()
    assert (parts.engine.stopped, parts.session.running) == (1, False)


def test_the_status_says_what_goes_on() -> None:
    parts = Parts()
    assert parts.session.status().state == "not started"
    with parts.session:
        assert parts.session.flush(DEADLINE_S)
        status = parts.session.status()
    assert (status.state, status.engine, status.engine_reason) == (
        "running",
        "counting",
        "a test asked for it",
    )
    assert status.missing == {"labels": "it is a test's"}
    assert (status.windows, status.pushed_profiles, status.queued_profiles) == (1, 1, 0)
    assert (status.samples_due, status.samples_gathered, status.dropped_samples) == (10, 9, {"ring_full": 1})
    assert status.last_push is not None
    assert (status.last_push.code, status.last_push.words) == (200, "OK")
    assert parts.session.status().state == "stopped"
    text = str(status)
    for words in (
        "running",
        "counting",
        "9 of 10 due, dropped 1 ring_full",
        "1 pushed of 1",
        "200 OK",
        "labels",
    ):
        assert words in text


def test_a_disabled_session_does_nothing() -> None:
    parts = Parts(enabled=False)
    parts.session.start()
    assert parts.session.flush()
    assert parts.session.stop()
    assert parts.session.status().state == "disabled"
    assert (parts.engine.polls, parts.transport.values) == (0, [])


def test_a_missing_service_name_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    engine, transport = CountingEngine(), RecordingTransport()
    session = Session(
        resolve({}, {}, "app.py"),
        transport_factory=lambda _options: transport,
        engine_factory=lambda _options: (engine, ""),
    )
    with session:
        pass
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "unknown_service:app.py" in warnings[0]
    assert "FLAMEWIRE_SERVICE_NAME" in warnings[0]


def test_a_fork_child_that_cannot_be_profiled_says_so() -> None:
    parts = Parts()
    parts.session.start()
    child = Parts()
    child.session._engine, child.session._transport = child.engine, child.transport
    child.session._state = "running"
    child.session.after_fork_in_child()
    assert not child.session.running
    assert any("not in a test" in problem for problem in child.session.status().problems)
    assert parts.session.stop(DEADLINE_S)


def test_a_paused_session_takes_no_samples_and_sends_what_it_has() -> None:
    parts = Parts()
    with parts.session:
        assert parts.session.pause()
        assert not parts.session.pause(), "it is paused already"
        assert (parts.session.status().state, parts.engine.stopped) == ("paused", 1)
        assert parts.session.flush(DEADLINE_S)
        assert parts.transport.values == [1000]
        polls = parts.engine.polls
        assert parts.session.flush(DEADLINE_S)
        assert parts.engine.polls == polls
        parts.session.resume()
        assert parts.session.status().state == "running"
        assert parts.session.flush(DEADLINE_S)
        assert parts.transport.values == [1000, 1]
    assert parts.transport.values == [1000, 1, 1000]


def test_a_paused_session_can_be_stopped_and_started() -> None:
    parts = Parts()
    parts.session.start()
    parts.session.pause()
    assert parts.session.running
    assert parts.session.stop(DEADLINE_S)
    assert not parts.session.running
    parts.session.resume()
    assert parts.session.status().state == "stopped"
    with parts.session:
        assert parts.session.status().state == "running"


def test_an_update_of_tags_cuts_the_window_and_leaves_the_engine_alone() -> None:
    parts = Parts(tags={"color": "blue"})
    with parts.session:
        parts.session.update(tags={"color": "green"})
        assert parts.session.flush(DEADLINE_S)
        assert parts.engine.stopped == 0
    assert parts.transport.values == [1, 2, 1000]
    assert parts.transport.colors == ["blue", "green", "green"]


def test_an_update_of_the_rate_restarts_the_engine_and_loses_no_window() -> None:
    parts = Parts()
    with parts.session:
        parts.session.update(sample_rate_hz=50)
        assert (parts.engine.stopped, parts.engine.started_with) == (1, [100, 50])
        assert parts.session.status().options.sample_rate_hz == 50
    assert parts.transport.values == [1000, 1000]


def test_an_update_that_cannot_be_used_changes_nothing() -> None:
    parts = Parts()
    with parts.session:
        for wrong, advice in (
            ({"sample_rate_hz": 0}, "between 1 and 1000"),
            ({"server_url": "http://other"}, "stop.. and start"),
            ({"tags": {"a": 1}, "profile_types": ("x",)}, "known are"),
        ):
            with pytest.raises(ConfigurationError, match=advice):
                parts.session.update(**wrong)
        parts.session.update(sample_rate_hz=100)
        assert (parts.engine.taken, parts.engine.stopped) == (0, 0)


def test_an_engine_that_does_not_come_back_leaves_the_session_paused() -> None:
    parts = Parts()
    with parts.session:
        parts.refuse = True
        with pytest.raises(EngineError, match="not again"):
            parts.session.update(sample_rate_hz=50)
        status = parts.session.status()
        assert (status.state, status.options.sample_rate_hz) == ("paused", 100)
        parts.refuse = False
        parts.session.resume()
        assert parts.session.status().state == "running"


def test_pauses_and_updates_from_many_threads_end_well() -> None:
    parts = Parts()
    with parts.session:

        def alter(number: int) -> None:
            for _ in range(5):
                parts.session.pause()
                parts.session.update(sample_rate_hz=number, tags={"n": number})
                parts.session.resume()

        threads = [threading.Thread(target=alter, args=(number,)) for number in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        parts.session.resume()
        assert parts.session.flush(DEADLINE_S)
    assert len(parts.engine.started_with) - 1 <= parts.engine.stopped


def test_the_first_window_ends_at_a_random_point_and_the_others_keep_the_interval() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 3.0

    schedule = WindowSchedule(10.0, 100.0, uniform)
    assert (asked, schedule.next_s) == ([(0.0, 10.0)], 103.0)
    schedule.advance(103.4)
    assert schedule.next_s == 113.0


def test_windows_that_were_slept_through_are_left_out() -> None:
    schedule = WindowSchedule(10.0, 100.0, lambda _low, _high: 3.0)
    schedule.advance(141.0)
    assert schedule.next_s == 143.0
