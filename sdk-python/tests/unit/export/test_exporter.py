"""The exporter's decisions, driven step by step on a clock of the test's own; no thread and no network."""

from __future__ import annotations

import gzip
import random

import pytest
from sdk_support.pprof_reader import read_push

from flamewire.config import Options, resolve
from flamewire.engines.base import Window
from flamewire.export.exporter import Exporter
from flamewire.export.transport import Answer, Transport, TransportError
from flamewire.pprof import Frame, ValueType, encode

CPU = ValueType("cpu", "nanoseconds")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedTransport:
    """Answers by the script, then 200; a step of the script may also be an error to raise."""

    def __init__(self, *script: Answer | TransportError) -> None:
        self.script = list(script)
        self.bodies: list[bytes] = []
        self.timeouts: list[float] = []

    def send(self, body: bytes, timeout_s: float) -> Answer:
        self.bodies.append(body)
        self.timeouts.append(timeout_s)
        step = self.script.pop(0) if self.script else Answer(200, "OK")
        if isinstance(step, TransportError):
            raise step
        return step

    def fresh(self) -> Transport:
        raise AssertionError("only a fork child asks for a fresh transport")


def options(**given: object) -> Options:
    return resolve({"service_name": "shop", "tags": {"region": "eu"}, **given}, {}, "app.py").options


def window(value: int = 10_000_000) -> Window:
    pprof = encode(
        {(Frame("work", "app.py", 1, 2),): value},
        value_type=CPU,
        period_type=CPU,
        period=10_000_000,
        time_unix_ns=1,
        duration_ns=2,
    )
    return Window("cpu", pprof, 1, 2, 1)


def exporter(transport: ScriptedTransport, clock: Clock, **given: object) -> Exporter:
    # The jitter takes the upper bound, so that back-off is exact here.
    return Exporter(options(**given), transport, clock=clock, wall=clock, jitter=lambda _low, high: high)


def test_a_window_arrives_as_one_series_with_its_labels_and_an_id() -> None:
    transport, clock = ScriptedTransport(), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() is None
    (push,) = read_push(gzip.decompress(transport.bodies[0]))
    assert push.labels["__name__"] == "process_cpu"
    assert push.labels["service_name"] == "shop"
    assert push.labels["region"] == "eu"
    assert push.labels["otel.scope.name"] == "flamewire/python"
    assert len(push.profile_id) == 36
    assert push.profile.total == 10_000_000
    assert export.delivery().pushed_profiles == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_with_the_same_id(status: int) -> None:
    transport, clock = ScriptedTransport(Answer(status, "busy")), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    wait_s = export.step()
    assert wait_s == 0.5
    clock.now_s += wait_s
    assert export.step() is None
    first, second = (read_push(gzip.decompress(body))[0].profile_id for body in transport.bodies)
    assert first == second
    delivery = export.delivery()
    assert (delivery.pushed_profiles, delivery.retries, delivery.dropped_profiles) == (1, 1, {})


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "rejected"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (413, "too_large"),
        (302, "rejected"),
        (501, "rejected"),
    ],
)
def test_a_refusal_is_not_tried_again_but_counted(status: int, reason: str) -> None:
    transport, clock = ScriptedTransport(Answer(status, "no")), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() is None
    clock.now_s += 3600
    assert export.step() is None
    assert len(transport.bodies) == 1
    assert export.delivery().dropped_profiles == {reason: 1}


def test_back_off_doubles_up_to_its_ceiling_and_starts_over_after_a_success() -> None:
    transport, clock = (
        ScriptedTransport(*[Answer(503, "busy")] * 9, Answer(200, ""), Answer(503, "busy")),
        Clock(),
    )
    export = exporter(transport, clock)
    export.submit(window())
    waits = []
    for _ in range(9):
        wait_s = export.step()
        assert wait_s is not None
        waits.append(wait_s)
        clock.now_s += wait_s
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert export.step() is None
    export.submit(window())
    assert export.step() == 0.5


def test_back_off_is_drawn_from_zero_to_the_ceiling() -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    clock = Clock()
    export = Exporter(options(), ScriptedTransport(Answer(503, "")), clock=clock, jitter=jitter)
    export.submit(window())
    assert export.step() == 0.0
    assert drawn == [(0.0, 0.5)]


def test_retry_after_is_kept_even_when_a_flush_hurries() -> None:
    transport, clock = ScriptedTransport(Answer(429, "slow down", retry_after_s=7.0)), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() == 7.0
    assert not export.flush(clock.now_s)
    assert export.step() == 7.0
    assert len(transport.bodies) == 1


def test_a_flush_cuts_an_own_back_off_short() -> None:
    transport, clock = ScriptedTransport(Answer(503, "busy")), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() == 0.5
    assert not export.flush(clock.now_s)
    assert export.step() is None
    assert export.delivery().pushed_profiles == 1


def test_no_answer_is_tried_again() -> None:
    transport, clock = ScriptedTransport(TransportError("no answer in time", connected=True)), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() == 0.5
    last = export.delivery().last_push
    assert last is not None
    assert (last.code, last.words) == (None, "no answer in time")


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    transport, clock = ScriptedTransport(), Clock()
    export = exporter(transport, clock, max_queued_bytes=65_536)
    export.submit(window())
    size = export.delivery().queued_bytes
    room = 65_536 // size
    for _ in range(room + 3):
        export.submit(window())
    delivery = export.delivery()
    assert delivery.queued_bytes <= 65_536
    assert delivery.dropped_profiles["queue_full"] == room + 4 - delivery.queued_profiles


def test_a_profile_that_waited_an_hour_is_given_up() -> None:
    transport, clock = ScriptedTransport(Answer(503, ""), Answer(503, "")), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    export.step()
    clock.now_s += 3601
    assert export.step() is None
    assert export.delivery().dropped_profiles == {"expired": 1}


def test_closing_does_not_wait_for_a_retry_that_lies_beyond_the_deadline() -> None:
    transport, clock = ScriptedTransport(Answer(503, "", retry_after_s=60.0)), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    export.step()
    export.close(clock.now_s + 2)
    assert export.delivery().dropped_profiles == {"shutdown": 1}
    assert export.step() is None


def test_closing_twice_counts_once() -> None:
    clock = Clock()
    export = exporter(ScriptedTransport(), clock)
    export.submit(window())
    for _ in range(2):
        export.close(clock.now_s + 2)
        assert export.delivery().lost == 1


def test_a_window_after_the_close_is_counted() -> None:
    clock = Clock()
    export = exporter(ScriptedTransport(), clock)
    export.close(clock.now_s + 2)
    export.submit(window())
    assert export.delivery().dropped_profiles == {"shutdown": 1}


def test_one_cause_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    transport, clock = ScriptedTransport(*[Answer(507, "disk full")] * 5), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    for _ in range(5):
        export.step()
        clock.now_s += 60
    assert len([record for record in caplog.records if "507" in record.getMessage()]) == 1


def values(body: bytes) -> list[int]:
    return [push.profile.total for push in read_push(gzip.decompress(body))]


def test_what_has_waited_goes_out_in_one_request_oldest_first() -> None:
    transport, clock = ScriptedTransport(), Clock()
    export = exporter(transport, clock)
    for value in (1, 2, 3):
        export.submit(window(value))
        clock.now_s += 10
    assert export.step() is None
    assert [values(body) for body in transport.bodies] == [[1, 2, 3]]
    assert export.delivery().pushed_profiles == 3


def test_a_request_that_is_too_large_goes_again_in_parts_and_only_the_culprit_is_lost() -> None:
    transport, clock = ScriptedTransport(Answer(413, "too large"), Answer(200, ""), Answer(413, "")), Clock()
    export = exporter(transport, clock)
    for value in (1, 2, 3):
        export.submit(window(value))
        clock.now_s += 10
    for _ in range(4):
        export.step()
    assert [values(body) for body in transport.bodies] == [[1, 2, 3], [1], [2], [3]]
    delivery = export.delivery()
    assert (delivery.pushed_profiles, delivery.dropped_profiles) == (2, {"too_large": 1})


def test_requests_are_joined_up_to_what_proxies_let_pass() -> None:
    transport, clock = ScriptedTransport(), Clock()
    export = exporter(transport, clock)
    for _ in range(3):
        noise = Window("cpu", random.Random(1).randbytes(300_000), 1, 2, 1)
        export.submit(noise)
        clock.now_s += 10
    while export.step() == 0:
        pass
    assert [len(body) > 500_000 for body in transport.bodies] == [False] * 3
    assert export.delivery().pushed_profiles == 3


def test_what_a_server_chokes_on_holds_up_nothing_else() -> None:
    class Choking(ScriptedTransport):
        def send(self, body: bytes, timeout_s: float) -> Answer:
            super().send(body, timeout_s)
            return Answer(500, "oops") if 1 in values(body) else Answer(200, "OK")

    transport, clock = Choking(), Clock()
    export = exporter(transport, clock)
    export.submit(window(1))
    for value in range(2, 6):
        wait_s = export.step()
        clock.now_s += wait_s or 0.0
        export.submit(window(value))
        clock.now_s += 1.0
        export.step()
    delivery = export.delivery()
    assert (delivery.pushed_profiles, delivery.queued_profiles, delivery.dropped_profiles) == (4, 1, {})


def test_after_a_failure_a_single_upload_is_sent_to_try() -> None:
    transport, clock = ScriptedTransport(Answer(503, "busy")), Clock()
    export = exporter(transport, clock)
    for value in (1, 2, 3):
        export.submit(window(value))
        clock.now_s += 10
    clock.now_s += export.step() or 0.0
    while export.step() == 0:
        pass
    assert [len(values(body)) for body in transport.bodies] == [3, 1, 2]
    assert export.delivery().pushed_profiles == 3


def test_nobody_waits_for_a_server_that_counts_as_dead_but_the_end_of_the_session() -> None:
    transport, clock = ScriptedTransport(*[TransportError("no answer", connected=True)] * 5), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    for failures in range(1, 6):
        assert export.delivery().server_is_dead is False, failures
        clock.now_s += export.step() or 0.0
    assert export.delivery().server_is_dead
    clock.now_s -= 1.0
    assert not export.flush(clock.now_s + 3600), "it is told at once"
    assert export.step() == 1.0, "a flush does not cut the wait short"
    export.close(clock.now_s + 2.0)
    assert len(transport.bodies) == 5


def test_a_server_that_is_back_gets_everything_and_is_trusted_again() -> None:
    transport, clock = ScriptedTransport(*[Answer(503, "")] * 6), Clock()
    export = exporter(transport, clock)
    for value in range(1, 7):
        export.submit(window(value))
        clock.now_s += export.step() or 0.0
    while export.step() == 0:
        pass
    delivery = export.delivery()
    assert (delivery.server_is_dead, delivery.pushed_profiles, delivery.retries) == (False, 6, 6)
    assert export.flush(clock.now_s)


def test_a_dead_server_is_logged_a_few_times_and_its_return_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flamewire")
    transport, clock = ScriptedTransport(*[TransportError("refused", connected=False)] * 200), Clock()
    export = exporter(transport, clock, server_url="http://dead-and-back", max_queued_age_s=604_800)
    export.submit(window())
    for _ in range(201):
        clock.now_s += export.step() or 0.0
    lines = [record.getMessage() for record in caplog.records if "dead-and-back" in record.getMessage()]
    assert len(lines) <= 7
    assert "has failed 5 times in a row" in lines[-2]
    assert "takes profiles again, after" in lines[-1]


def test_a_refusal_is_logged_once_with_the_words_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    transport, clock = (
        ScriptedTransport(*[Answer(403, "not your tenant")] * 3, Answer(403, "expired")),
        Clock(),
    )
    export = exporter(transport, clock)
    for _ in range(4):
        export.submit(window())
        export.step()
        clock.now_s += 3600
    lines = [record.getMessage() for record in caplog.records if "refused a profile" in record.getMessage()]
    assert [("not your tenant" in line, "expired" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert export.delivery().dropped_profiles == {"unauthorized": 4}


def test_a_retry_after_beyond_all_reason_is_cut_to_what_profiles_live() -> None:
    transport, clock = ScriptedTransport(Answer(503, "", retry_after_s=1e9)), Clock()
    export = exporter(transport, clock)
    export.submit(window())
    assert export.step() == 3600.0
