"""Pulling from a session over real HTTP: wsgiref and uvicorn serve, beside what is pushed."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn
from sdk_support.pprof_reader import Profile, read_profile
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer

from flamewire.pprof import Frame, ValueType, encode_samples
from flamewire.pull import AsgiApp, WsgiApp
from flamewire.pull.recording import merge
from flamewire.session import Session

sys.path.insert(0, str(Path(__file__).parent))

from numbered import NumberingEngine, numbered_session

DEADLINE_S = 120.0
CPU = ValueType("cpu", "nanoseconds")


class _Server(WSGIServer):
    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        def serve() -> None:
            self.finish_request(request, client_address)
            self.shutdown_request(request)

        threading.Thread(target=serve, daemon=True).start()


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wsgi_server(app: Any) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, _Server, _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(DEADLINE_S)


@contextmanager
def asgi_server(app: Any) -> Iterator[str]:
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


SERVERS: dict[str, Callable[..., Any]] = {
    "wsgi": lambda **given: wsgi_server(WsgiApp(**given)),
    "asgi": lambda **given: asgi_server(AsgiApp(**given)),
}


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return SERVERS[str(request.param)]


def fetch(url: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    asked = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=DEADLINE_S) as response:
            return response.status, response.read(), dict(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def pulled(url: str) -> Profile:
    status, body, headers = fetch(url)
    assert status == 200, body
    assert "application/octet-stream" in headers.values()
    return read_profile(gzip.decompress(body))


@pytest.fixture
def numbered(push_server: PushServer) -> Iterator[tuple[Session, NumberingEngine]]:
    session, engine = numbered_session(push_server.url, upload_interval_s=0.1)
    with session:
        yield session, engine
        assert session.flush(DEADLINE_S)


def test_a_pull_beside_pushes_gets_whole_windows_and_takes_none_away(
    serve: Callable[..., Any], numbered: tuple[Session, NumberingEngine], push_server: PushServer
) -> None:
    session, engine = numbered
    with serve(session=session) as url:
        profile = pulled(f"{url}/debug/pprof/profile?seconds=1")
    assert session.flush(DEADLINE_S)
    pushed = sorted(push.profile.total for push in push_server.pushes)
    assert pushed == list(range(1, engine.taken + 1))
    # The windows have the values n, n+1 ... m: their sum in one sample, since stack and labels are the same.
    (sample,) = profile.samples
    sums = {sum(range(n, m + 1)) for n in range(1, engine.taken) for m in range(n + 1, engine.taken + 1)}
    assert sample.values[0] in sums
    assert profile.duration_ns >= 0.9e9


def test_several_may_pull_at_once_and_each_gets_its_own_time(
    serve: Callable[..., Any], numbered: tuple[Session, NumberingEngine]
) -> None:
    session, _ = numbered
    with serve(session=session) as url, ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(pulled, f"{url}/debug/pprof/profile?seconds={seconds}") for seconds in (0.3, 0.6, 1.2)
        ]
        profiles = [each.result(DEADLINE_S) for each in asked]
    for profile, seconds in zip(profiles, (0.3, 0.6, 1.2), strict=True):
        assert profile.duration_ns >= 0.9 * seconds * 1e9
    assert not session._listeners


def test_who_asks_while_all_seats_are_taken_is_told_to_come_again(
    serve: Callable[..., Any], numbered: tuple[Session, NumberingEngine]
) -> None:
    session, _ = numbered
    with serve(session=session, max_pulls=0) as url:
        status, body, _ = fetch(f"{url}/debug/pprof/profile?seconds=1")
    assert (status, b"at once" in body) == (429, True)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/debug/pprof/profile?seconds=0", 400, "0.1 to 60"),
        ("/debug/pprof/profile?seconds=61", 400, "0.1 to 60"),
        ("/debug/pprof/profile?seconds=nan", 400, "0.1 to 60"),
        ("/debug/pprof/profile?seconds=soon", 400, "0.1 to 60"),
        ("/debug/pprof/heap", 404, "no profile 'heap'"),
        ("/debug/pprof/wall?seconds=1", 404, 'profile_types=("cpu", "wall")'),
        ("/debug/fgprof?seconds=1", 404, 'profile_types=("cpu", "wall")'),
        ("/debug/pprof/", 200, "profile?seconds=10"),
        ("/debug/pprof", 200, "profile?seconds=10"),
    ],
)
def test_what_cannot_be_recorded_is_answered_at_once_with_advice(
    serve: Callable[..., Any], numbered: tuple[Session, NumberingEngine], path: str, status: int, words: str
) -> None:
    with serve(session=numbered[0]) as url:
        answer = fetch(url + path)
    assert (answer[0], words in answer[1].decode()) == (status, True), answer


def test_without_a_session_and_in_a_pause_the_answer_says_so(
    serve: Callable[..., Any], numbered: tuple[Session, NumberingEngine]
) -> None:
    with serve() as url:
        assert fetch(f"{url}/debug/pprof/profile?seconds=1")[0] == 503
        assert b"No session" in fetch(f"{url}/debug/pprof/")[1]
        assert fetch(f"{url}/debug/pprof/profile", "POST")[0] == 405
    session, _ = numbered
    session.pause()
    with serve(session=session) as url:
        status, body, _ = fetch(f"{url}/debug/pprof/profile?seconds=1")
    assert (status, b"paused" in body) == (503, True)


def test_all_other_requests_go_to_the_application_behind(numbered: tuple[Session, NumberingEngine]) -> None:
    def behind(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    async def behind_async(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    session = numbered[0]
    with wsgi_server(WsgiApp(behind, session=session)) as url:
        assert fetch(f"{url}/debug/pprofile")[1] == b"/debug/pprofile"
        assert pulled(f"{url}/debug/pprof/profile?seconds=0.3").samples
    assert asyncio.run(_get(AsgiApp(behind_async, session=session), "/other")) == (200, b"/other")


async def _get(
    app: AsgiApp, path: str, *, seconds: int = 60, leaves_after_s: float | None = None
) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        if leaves_after_s is None:
            await asyncio.sleep(DEADLINE_S)
        await asyncio.sleep(leaves_after_s or 0)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"seconds=%d" % seconds}
    await app(scope, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else (0, b"")


def test_a_client_that_goes_away_ends_its_recording(numbered: tuple[Session, NumberingEngine]) -> None:
    """It had asked for a day."""
    session, engine = numbered
    app = AsgiApp(session=session, max_seconds=86_400)
    asked = _get(app, "/debug/pprof/profile", seconds=86_400, leaves_after_s=0.2)
    got = asyncio.run(asyncio.wait_for(asked, DEADLINE_S))
    assert got == (0, b"")
    assert not session._listeners
    engine.wait_for(engine.taken + 2)


def test_merged_profiles_keep_stacks_labels_and_sums() -> None:
    leaf, caller = Frame("leaf", "app.py", 3, 7), Frame("main", "app.py", 1, 2)

    def profile(time_unix_ns: int, *samples: Any) -> bytes:
        return encode_samples(
            samples,
            sample_types=(CPU,),
            period_type=CPU,
            period=10,
            time_unix_ns=time_unix_ns,
            duration_ns=100,
        )

    in_cart = (("route", "/cart"),)
    later = profile(200, ((leaf, caller), (5,), in_cart), ((caller,), (7,), ()))
    earlier = profile(100, ((leaf, caller), (1,), in_cart), ((leaf, caller), (2,), ()))
    merged = read_profile(merge([later, earlier]))
    assert {(sample.functions, tuple(sample.labels.items())): sample.values for sample in merged.samples} == {
        (("leaf", "main"), in_cart): (6,),
        (("leaf", "main"), ()): (2,),
        (("main",), ()): (7,),
    }
    assert (merged.time_unix_ns, merged.duration_ns, merged.period) == (100, 200, 10)


def test_a_program_that_only_lets_itself_be_pulled_from(push_server: PushServer, any_engine: str) -> None:
    """As the guide says: the default session, nothing pushed, CPU of the time that was asked for."""
    program = """
    import flamewire, gzip, json, threading, time, urllib.request
    from flamewire.pull import WsgiApp
    from wsgiref.simple_server import WSGIRequestHandler, make_server
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_): pass
    flamewire.start(export_protocol="none", upload_interval_s=0.5)
    go_on, burnt = True, []
    def work():
        while go_on:
            burn(0.01)
    def spy():
        begun = time.thread_time()
        work()
        burnt.append(time.thread_time() - begun)
    worker = threading.Thread(target=spy)
    worker.start()
    with make_server("127.0.0.1", 0, WsgiApp(), handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/debug/pprof/profile?seconds=2"
        with urllib.request.urlopen(url) as response:
            body = response.read()
        server.shutdown()
    go_on = False
    worker.join()
    print(json.dumps({"pprof": gzip.decompress(body).hex(), "burnt_s": burnt[0]}))
    """
    ended = run_program(program, server_url=push_server.url, engine=any_engine)
    assert (ended.code, ended.err) == (0, ""), ended
    said = json.loads(ended.out)
    profile = read_profile(bytes.fromhex(said["pprof"]))
    assert profile.sample_types == (("cpu", "nanoseconds"),)
    assert 0 < profile.cpu_of("work") / 1e9 <= said["burnt_s"] * 1.1
    assert profile.duration_ns >= 1.8e9
    assert not push_server.requests
