"""Jobs that are frozen between calls, and the edges of their windows."""

from __future__ import annotations

import pytest
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer

MS = 1_000_000


def test_a_function_that_is_frozen_between_calls_has_each_call_pushed_at_its_end(
    push_server: PushServer, any_engine: str
) -> None:
    """As on Lambda: the process stands still after each answer, here by SIGSTOP, and flush() comes before."""
    program = """
    import flamewire, os, signal, subprocess
    flamewire.start(upload_interval_s=3600)
    def handler_of_call_1(): burn(0.3)
    def handler_of_call_2(): burn(0.3)
    for handler in (handler_of_call_1, handler_of_call_2):
        handler()
        assert flamewire.flush(60), flamewire.status()
        print(flamewire.status().pushed_profiles, flush=True)
        thaw = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
        thaw.wait(60)
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine)
    assert (ended.code, ended.err) == (0, ""), ended
    first, second = (int(count) for count in ended.out.split())
    assert 1 <= first < second
    pushes = push_server.pushes
    assert len({push.profile_id for push in pushes}) == len(pushes)
    for call in (1, 2):
        cpu_ns = sum(push.profile.cpu_of(f"handler_of_call_{call}") for push in pushes)
        assert cpu_ns == pytest.approx(300 * MS, rel=0.25), "what was pushed before the freeze comes once"


def test_no_window_ends_in_the_future_or_begins_before_the_start(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, time
    print(time.time_ns(), flush=True)
    flamewire.start(upload_interval_s=0.3)
    burn(1.5)
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine)
    assert (ended.code, ended.err) == (0, ""), ended
    assert len(push_server.requests) >= 2
    for request in push_server.requests:
        for push in request.pushes:
            profile = push.profile
            assert profile.time_unix_ns >= int(ended.out)
            # The start is calendar time and the length monotonic; the two clocks may drift apart a little.
            assert profile.time_unix_ns + profile.duration_ns <= request.unix_ns + MS
