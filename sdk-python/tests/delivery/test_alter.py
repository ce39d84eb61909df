"""Pause, resume and update with the real engine, in a real process."""

from __future__ import annotations

import pytest
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer


def test_what_runs_in_a_pause_is_not_seen_and_all_else_is(push_server: PushServer, any_engine: str) -> None:
    program = """
    import flamewire, threading, os
    def before(): burn(0.4)
    def in_pause(): burn(0.4)
    def after(): burn(0.4)
    def in_child(): burn(0.4)
    assert not flamewire.pause()
    flamewire.resume(); flamewire.update(sample_rate_hz=7)
    session = flamewire.start(upload_interval_s=3600, tags={"color": "blue"})
    before()
    assert flamewire.pause()
    assert flamewire.start(upload_interval_s=3600, tags={"color": "blue"}) is session
    in_pause()
    child = os.fork()
    if child == 0:
        assert flamewire.status().state == "paused"
        flamewire.resume()
        in_child()
        assert flamewire.stop(), flamewire.status()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    flamewire.resume()
    flamewire.update(sample_rate_hz=200, tags={"color": "green"})
    assert flamewire.start(upload_interval_s=3600, tags={"color": "blue"}) is session
    after()
    assert flamewire.status().options.sample_rate_hz == 200
    """
    ended = run_program(
        program,
        server_url=push_server.url,
        engine=any_engine,
        PYTHONWARNINGS="ignore",
        FLAMEWIRE_SHUTDOWN_TIMEOUT_S="60",
    )
    assert (ended.code, ended.err) == (0, ""), ended
    cpu_s: dict[tuple[str, str], float] = {}
    for push in push_server.pushes:
        for function in ("before", "in_pause", "in_child", "after"):
            key = (function, push.labels["color"])
            cpu_s[key] = cpu_s.get(key, 0) + push.profile.cpu_of(function) / 1e9
    seen = {key: value for key, value in cpu_s.items() if value}
    assert seen.keys() == {("before", "blue"), ("in_child", "blue"), ("after", "green")}
    for value in seen.values():
        assert value == pytest.approx(0.4, rel=0.25)
