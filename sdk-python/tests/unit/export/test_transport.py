"""The real transport against a real HTTP server."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import pytest
from sdk_support.push_server import PushServer, Reply

from flamewire.config import Options, resolve
from flamewire.export.transport import RequestsTransport, TransportError, _retry_after_s


def options(server_url: str, **given: object) -> Options:
    return resolve({"service_name": "shop", "server_url": server_url, **given}, {}, "app.py").options


def send(server: PushServer, **given: object) -> dict[str, str]:
    assert RequestsTransport(options(server.url, **given)).send(b"body", 10).status == 200
    return {name.lower(): value for name, value in server.requests[-1].headers.items()}


def test_the_request_is_a_connect_unary_call(push_server: PushServer) -> None:
    headers = send(push_server)
    assert push_server.requests[0].path == "/push.v1.PusherService/Push"
    assert headers["content-type"] == "application/proto"
    assert headers["content-encoding"] == "gzip"
    assert headers["user-agent"].startswith("flamewire-python/")
    assert "authorization" not in headers
    assert "x-scope-orgid" not in headers


def test_a_path_in_the_server_url_is_kept(push_server: PushServer) -> None:
    RequestsTransport(options(push_server.url + "/base/")).send(b"", 10)
    assert push_server.requests[0].path == "/base/push.v1.PusherService/Push"


def test_tenant_headers_and_credentials_are_sent(push_server: PushServer) -> None:
    headers = send(push_server, tenant_id="t1", auth_token="s3cret", http_headers={"X-Team": "shop"})
    assert headers["x-scope-orgid"] == "t1"
    assert headers["authorization"] == "Bearer s3cret"
    assert headers["x-team"] == "shop"
    headers = send(push_server, basic_auth_user="me", basic_auth_password="pä")
    assert headers["authorization"] == "Basic bWU6cMOk"


def test_netrc_does_not_add_credentials(
    push_server: PushServer, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", netrc)
    assert "authorization" not in send(push_server)


def test_the_connection_is_used_again(push_server: PushServer) -> None:
    transport = RequestsTransport(options(push_server.url))
    for _ in range(3):
        transport.send(b"body", 10)
    assert len({request.client for request in push_server.requests}) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(400, body=b'{"code":"invalid_argument","message":"no __name__"}'),
            "invalid_argument: no __name__",
        ),
        (Reply(502, body=b"<h1>Bad  gateway</h1>"), "<h1>Bad gateway</h1>"),
        (Reply(503), "Service Unavailable"),
        (Reply(302, {"Location": "http://other/"}), "redirects to http://other/; set server_url"),
        (Reply(400, body=b"[1]"), "[1]"),
    ],
)
def test_the_answer_carries_words_for_people(reply: Reply, words: str) -> None:
    with PushServer(reply) as server:
        answer = RequestsTransport(options(server.url)).send(b"", 10)
        assert answer.status == reply.status
        assert words in answer.words
        assert len(server.requests) == 1


def test_an_endless_answer_is_not_read() -> None:
    with PushServer(Reply(500, body=b"x" * (1 << 20))) as server:
        assert len(RequestsTransport(options(server.url)).send(b"", 10).words) <= 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert _retry_after_s({"Retry-After": text}, 60.0) == seconds


def test_a_refused_connection_is_told_from_a_silent_server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransportError, match="ConnectionRefusedError") as caught:
        RequestsTransport(options(f"http://127.0.0.1:{port}")).send(b"", 10)
    assert not caught.value.connected


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(reset=True)])
def test_a_server_that_does_not_answer_is_an_error_of_a_connection(reply: Reply) -> None:
    with PushServer(reply) as server:
        with pytest.raises(TransportError) as caught:
            RequestsTransport(options(server.url)).send(b"", 0.2)
        assert caught.value.connected


def test_the_push_is_made_with_tracing_suppressed(
    push_server: PushServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    suppressed: list[object] = []
    context = SimpleNamespace(
        _SUPPRESS_INSTRUMENTATION_KEY="key",
        set_value=lambda key, value: (key, value),
        attach=lambda value: suppressed.append(("attached", value)),
        detach=lambda _token: suppressed.append(f"detached after {len(push_server.requests)} requests"),
    )
    monkeypatch.setitem(sys.modules, "opentelemetry.context", context)
    send(push_server)
    assert suppressed == [("attached", ("key", True)), "detached after 1 requests"]
