"""Proxies, redirects, credentials, and other people's instrumentation, over real HTTP."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import requests
from sdk_support.push_server import PushServer, Reply

from flamewire.config import Options, resolve
from flamewire.export.transport import RequestsTransport, TransportError

ABSENT = "http://profiles.invalid:4040"


def options(server_url: str, **given: object) -> Options:
    return resolve({"service_name": "shop", "server_url": server_url, **given}, {}, "app.py").options


def test_a_proxy_of_the_options_is_used_whatever_the_environment_says(
    push_server: PushServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "profiles.invalid")
    proxy_url = push_server.url.replace("//", "//me:pr0xy-pw@")
    assert RequestsTransport(options(ABSENT, proxy_url=proxy_url)).send(b"body", 10).status == 200
    (request,) = push_server.requests
    assert request.path == f"{ABSENT}/push.v1.PusherService/Push"
    assert request.headers["Proxy-Authorization"].startswith("Basic ")


def test_the_proxy_of_the_environment_is_used(
    push_server: PushServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", push_server.url)
    monkeypatch.setenv("no_proxy", "")
    assert RequestsTransport(options(ABSENT)).send(b"body", 10).status == 200
    assert push_server.requests[0].path.startswith(ABSENT)


def test_no_message_shows_the_credentials_of_a_proxy() -> None:
    given = options(ABSENT, proxy_url="http://me:pr0xy-pw@127.0.0.1:1")
    with pytest.raises(TransportError) as caught:
        RequestsTransport(given).send(b"body", 10)
    assert "pr0xy-pw" not in str(caught.value)
    assert "pr0xy-pw" not in repr(given)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_are_never_sent_where_a_redirect_points(status: int) -> None:
    with PushServer() as other, PushServer(Reply(status, {"Location": other.url + "/x"})) as server:
        given = options(server.url, auth_token="s3cret", http_headers={"X-Api-Key": "als0-s3cret"})
        assert RequestsTransport(given).send(b"body", 10).status == status
        assert len(server.requests) == 1
        assert not other.requests


def test_credentials_that_a_server_repeats_are_blotted_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Reply(
        401, body=b'{"code":"unauthenticated","message":"token s3cret-1 and key s3cret-2 are wrong"}'
    )
    with PushServer(echo) as server:
        given = options(server.url, auth_token="s3cret-1", http_headers={"X-Api-Key": "s3cret-2"})
        words = RequestsTransport(given).send(b"body", 10).words
    assert words == "unauthenticated: token (secret) and key (secret) are wrong"
    assert "s3cret" not in caplog.text


def test_the_encoded_login_is_blotted_out_too() -> None:
    with PushServer(Reply(401, body=b"what is bWU6cMOk?")) as server:
        given = options(server.url, basic_auth_user="me", basic_auth_password="pä")
        assert RequestsTransport(given).send(b"", 10).words == "what is (secret)?"


def test_pushes_stand_in_no_trace_and_no_metric_of_requests(push_server: PushServer) -> None:
    """With the real instrumentation, which sees the host's own request beside ours."""
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider, meter_provider = TracerProvider(), MeterProvider(metric_readers=[reader])
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
    try:
        requests.post(push_server.url + "/of-the-host", data=b"", timeout=10)
        RequestsTransport(options(push_server.url)).send(b"", 10)
    finally:
        instrumentor.uninstrument()
    assert [request.path for request in push_server.requests] == [
        "/of-the-host",
        "/push.v1.PusherService/Push",
    ]
    assert len(spans.get_finished_spans()) == 1
    assert "traceparent" not in {name.lower() for name in push_server.requests[1].headers}
    assert requests_measured(reader.get_metrics_data()) == 1
    meter_provider.shutdown()
    tracer_provider.shutdown()


def requests_measured(found: Any) -> int:
    return sum(
        point.count
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name.endswith("duration")
        for point in metric.data.data_points
    )
