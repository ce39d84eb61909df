"""gRPC by the real client, gRPC-Web and HTTP/2 by hand: handlers, keys and limits are those of HTTP/1.1."""

from __future__ import annotations

import base64
import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from certificates import make_ca, make_certificate
from opentelemetry.proto.collector.profiles.v1development import (
    profiles_service_pb2,
    profiles_service_pb2_grpc,
)
from otlp_messages import Export, Profile, Sample, encode
from server_process import (
    CPU,
    DEADLINE_S,
    PUSH,
    Reply,
    ServerProcess,
    make_profile,
    make_push,
    read_flamegraph,
    recent,
)

from flamewire_server._proto.push.v1 import push_pb2
from flamewire_server._proto.querier.v1 import querier_pb2

QUERY = "/querier.v1.QuerierService/SelectMergeStacktraces"
STACKS = {"main;handle": 7, "main;idle": 1}


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{server.host}:{server.port}") as channel:
        yield channel


def push(channel: grpc.Channel, request: push_pb2.PushRequest, **options: object) -> push_pb2.PushResponse:
    call = channel.unary_unary(
        PUSH,
        request_serializer=push_pb2.PushRequest.SerializeToString,
        response_deserializer=push_pb2.PushResponse.FromString,
    )
    return call(request, timeout=DEADLINE_S, **options)  # type: ignore[no-any-return]


def query(
    channel: grpc.Channel, service: str, **options: object
) -> querier_pb2.SelectMergeStacktracesResponse:
    call = channel.unary_unary(
        QUERY,
        request_serializer=querier_pb2.SelectMergeStacktracesRequest.SerializeToString,
        response_deserializer=querier_pb2.SelectMergeStacktracesResponse.FromString,
    )
    return call(question(service), timeout=DEADLINE_S, **options)  # type: ignore[no-any-return]


def question(service: str, max_nodes: int = 0) -> querier_pb2.SelectMergeStacktracesRequest:
    return querier_pb2.SelectMergeStacktracesRequest(
        profile_typeID=CPU, label_selector=f'{{service_name="{service}"}}', max_nodes=max_nodes, **recent()
    )


def stacks(server: ServerProcess, service: str) -> dict[str, int]:
    reply = server.query(
        "SelectMergeStacktraces", profileTypeID=CPU, labelSelector=f'{{service_name="{service}"}}', **recent()
    )
    return {path: own for path, (_, own) in read_flamegraph(reply["flamegraph"]).items() if own}


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_push_and_query_by_the_real_client(
    server: ServerProcess, channel: grpc.Channel, compression: grpc.Compression
) -> None:
    service = f"grpc-{compression.name}"
    push(channel, make_push(service, make_profile(STACKS)), compression=compression)
    assert stacks(server, service) == STACKS
    assert query(channel, service, compression=compression).flamegraph.total == 8


def test_large_messages_pass_both_ways_on_one_connection(
    server: ServerProcess, channel: grpc.Channel
) -> None:
    """Larger than every window, several at a time."""
    wide = {f"main;{'x' * 300}{number}": number + 1 for number in range(5000)}
    calls = [
        channel.unary_unary(PUSH).future(
            make_push(f"large-{number}", make_profile(wide)).SerializeToString(), timeout=DEADLINE_S
        )
        for number in range(8)
    ]
    assert [call.result() for call in calls] == [b""] * 8
    limit = 16 << 20
    options = [("grpc.max_receive_message_length", limit)]
    with grpc.insecure_channel(f"{server.host}:{server.port}", options=options) as roomy:
        asked = [
            roomy.unary_unary(QUERY).future(
                question(f"large-{number}", 10_000).SerializeToString(), timeout=DEADLINE_S
            )
            for number in range(8)
        ]
        for call in asked:
            reply = call.result()
            assert len(reply) > 1 << 20
            graph = querier_pb2.SelectMergeStacktracesResponse.FromString(reply).flamegraph
            assert graph.total == sum(wide.values())


def test_otlp_by_the_official_stub(start_server: Callable[..., ServerProcess]) -> None:
    """On the main port, and on one of its own."""
    server = start_server("--otlp-grpc-listen", "127.0.0.1:0")
    url = urlsplit(server.listening["otlp_url"])
    for number, address in enumerate((f"{server.host}:{server.port}", f"{url.hostname}:{url.port}")):
        export = Export([Profile([Sample("main", [3])])], {"service.name": f"otlp-{number}"})
        request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(encode(export))
        with grpc.insecure_channel(address) as channel:
            stub = profiles_service_pb2_grpc.ProfilesServiceStub(channel)
            reply = stub.Export(request, timeout=DEADLINE_S, compression=grpc.Compression.Gzip)
        assert not reply.HasField("partial_success")
        assert stacks(server, f"otlp-{number}") == {"main": 30_000_000}
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("method", "body", "code", "words"),
    [
        (PUSH, b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a push.v1 message"),
        (PUSH, make_push("e", make_profile({"m": 1}, time_ns=1)).SerializeToString(),
         grpc.StatusCode.INVALID_ARGUMENT, "old"),
        ("/querier.v1.QuerierService/Unheard", b"", grpc.StatusCode.UNIMPLEMENTED, "Unheard"),
        ("/no.such.Service/Method", b"", grpc.StatusCode.UNIMPLEMENTED, "40"),
        (PUSH, bytes(65 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED, "more than"),
    ],
)  # fmt: skip
def test_refusals_have_their_code_and_words(
    channel: grpc.Channel, method: str, body: bytes, code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(body, timeout=DEADLINE_S)
    assert caught.value.code() == code  # type: ignore[attr-defined]
    assert words in caught.value.details()  # type: ignore[attr-defined]


def test_keys_are_checked(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    from test_keys import make_key

    keys = {scope: make_key(tmp_path / "data", "--scope", scope) for scope in ("push", "read")}
    server = start_server()

    def status(method: str, scope: str | None) -> str:
        metadata = [("authorization", f"Bearer {keys[scope]}")] if scope else []
        call = channel.unary_unary(method)
        try:
            call(make_push("keyed", make_profile(STACKS)).SerializeToString() if method == PUSH else b"",
                 metadata=metadata, timeout=DEADLINE_S)  # fmt: skip
        except grpc.RpcError as error:
            return str(error.code().name)  # type: ignore[attr-defined]
        return "OK"

    types = "/querier.v1.QuerierService/ProfileTypes"
    with grpc.insecure_channel(f"{server.host}:{server.port}") as channel:
        assert [status(PUSH, scope) for scope in (None, "read", "push")] == [
            "UNAUTHENTICATED", "PERMISSION_DENIED", "OK",
        ]  # fmt: skip
        assert [status(types, scope) for scope in (None, "push", "read")] == [
            "UNAUTHENTICATED", "PERMISSION_DENIED", "OK",
        ]  # fmt: skip


def test_grpc_over_tls(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    ca = make_ca(tmp_path, "ca")
    own = make_certificate(tmp_path, "server", ca)
    files = {"FLAMEWIRE_SERVER_TLS_CERT_FILE": str(own.cert), "FLAMEWIRE_SERVER_TLS_KEY_FILE": str(own.key)}
    server = start_server(environ=files)
    credentials = grpc.ssl_channel_credentials(ca.cert.read_bytes())
    with grpc.secure_channel(f"{server.host}:{server.port}", credentials) as channel:
        push(channel, make_push("tls", make_profile(STACKS)))
        assert query(channel, "tls").flamegraph.total == 8


def test_a_server_that_stops_answers_what_it_took(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with grpc.insecure_channel(f"{server.host}:{server.port}") as channel:
        push(channel, make_push("stop", make_profile(STACKS)))
        # The channel's connection is open and idle: it must not hold the server up.
        assert server.stop() == 0


def frame(message: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + struct.pack(">I", len(message)) + message


def web_call(
    server: ServerProcess, path: str, body: bytes, kind: str = "application/grpc-web+proto", **headers: str
) -> Reply:
    sent = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return server.ask("POST", path, body, sent)


def read_web(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    messages, trailers = [], {}
    while body:
        flags, size = body[0], int.from_bytes(body[1:5], "big")
        payload, body = body[5 : 5 + size], body[5 + size :]
        if flags & 0x80:
            lines = payload.decode().strip().split("\r\n")
            trailers = {name: value for name, _, value in (line.partition(":") for line in lines)}
        else:
            messages.append(payload)
    return messages, trailers


@pytest.mark.parametrize("as_text", [False, True])
def test_grpc_web(server: ServerProcess, as_text: bool) -> None:
    service = f"web-{as_text}"
    kind = "application/grpc-web-text" if as_text else "application/grpc-web+proto"
    pack = base64.b64encode if as_text else bytes
    unpack = base64.b64decode if as_text else bytes
    request = make_push(service, make_profile(STACKS)).SerializeToString()
    reply = web_call(server, PUSH, pack(frame(request)), kind)
    assert (reply.status, reply.headers["content-type"]) == (200, kind)
    assert read_web(unpack(reply.body)) == ([b""], {"grpc-status": "0"})
    reply = web_call(server, QUERY, pack(frame(question(service).SerializeToString())), kind)
    (message,), trailers = read_web(unpack(reply.body))
    assert trailers == {"grpc-status": "0"}
    assert querier_pb2.SelectMergeStacktracesResponse.FromString(message).flamegraph.total == 8
    reply = web_call(server, PUSH, pack(frame(b"\xff")), kind)
    messages, trailers = read_web(unpack(reply.body))
    assert (messages, trailers["grpc-status"]) == ([], "3")
    assert "push.v1" in trailers["grpc-message"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, "3"),
        (b"\0\0\0", {}, "3"),
        (frame(b"x")[:-1], {}, "3"),
        (frame(b"") + b"more", {}, "3"),
        (frame(b"") + frame(b""), {}, "3"),
        (frame(b"", 4), {}, "3"),
        (frame(b"no gzip", 1), {"grpc_encoding": "gzip"}, "3"),
        (frame(b"x", 1), {"grpc_encoding": "snappy"}, "12"),
        (frame(gzip.compress(b""), 1), {"grpc_encoding": "gzip"}, "0"),
        (b"\0\xff\xff\xff\xff", {}, "8"),
        (frame(b""), {"grpc_timeout": "soon"}, "3"),
        (frame(b""), {"grpc_timeout": "0n"}, "4"),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused(
    server: ServerProcess, body: bytes, headers: dict[str, str], status: str
) -> None:
    reply = web_call(server, PUSH, body, **headers)
    assert reply.status == 200
    assert read_web(reply.body)[1]["grpc-status"] == status, reply.body


class Http2Client:
    """A client that can send what no honest one would."""

    def __init__(self, server: ServerProcess) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=DEADLINE_S)
        config = h2.config.H2Configuration(validate_outbound_headers=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def head(self, method: str, path: str, *more: tuple[str, str], end: bool = True) -> int:
        number = self.h2.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":path", path),
            (":scheme", "http"),
            (":authority", "localhost"),
            *more,
        ]
        self.h2.send_headers(number, headers, end_stream=end)
        return number

    def events(self) -> list[h2.events.Event]:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError
        events = self.h2.receive_data(data)
        self.flush()
        return events

    def get(self, path: str) -> tuple[str, bytes]:
        number, status, body = self.head("GET", path), "", b""
        self.flush()
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            for event in self.events():
                if getattr(event, "stream_id", None) != number:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return status, body
        raise TimeoutError

    def is_sent_away(self) -> bool:
        try:
            while True:
                if any(isinstance(event, h2.events.ConnectionTerminated) for event in self.events()):
                    return True
        except ConnectionError:
            return True


@pytest.fixture
def connect(server: ServerProcess) -> Iterator[Callable[[], Http2Client]]:
    clients: list[Http2Client] = []

    def connect() -> Http2Client:
        clients.append(Http2Client(server))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def test_plain_http2_is_served(connect: Callable[[], Http2Client]) -> None:
    client = connect()
    assert client.get("/ready") == ("200", b"ready\n")
    assert client.get("/metrics")[0] == "200"
    assert client.get("/ready") == ("200", b"ready\n")


@pytest.mark.parametrize("header", [("x-bad", "a\r\nb: c"), ("bad name", "x"), ("x\r\ny", "z"), ("x", "\0")])
def test_headers_cannot_smuggle_a_request(
    connect: Callable[[], Http2Client], header: tuple[str, str]
) -> None:
    client = connect()
    client.head("GET", "/ready", header)
    client.flush()
    seen: list[type] = []
    endings = (h2.events.StreamReset, h2.events.ConnectionTerminated)
    try:
        while not any(issubclass(one, endings) for one in seen):
            seen += [type(event) for event in client.events()]
    except ConnectionError:
        pass
    assert h2.events.ResponseReceived not in seen
    assert connect().get("/ready")[0] == "200"


@pytest.mark.parametrize("flood", ["resets", "pings", "settings", "empty data", "headers", "windows"])
def test_floods_are_sent_away(server: ServerProcess, connect: Callable[[], Http2Client], flood: str) -> None:
    client = connect()
    try:
        data = client.head("POST", PUSH, end=False)
        for number in range(20_000):
            if flood == "resets":
                client.h2.reset_stream(client.head("GET", "/ready"))
            elif flood == "pings":
                client.h2.ping(number.to_bytes(8, "big"))
            elif flood == "settings":
                client.h2.update_settings({4: 65535 + number})
            elif flood == "empty data":
                client.h2.send_data(data, b"")
            elif flood == "headers":
                client.head("GET", "/ready", *((f"x-{number}-{count}", "y" * 1000) for count in range(30)))
                client.h2.reset_stream(client.h2.highest_outbound_stream_id)
            else:
                client.h2.increment_flow_control_window(1)
            if number % 100 == 0:
                client.flush()
        client.flush()
    except (ConnectionError, h2.exceptions.ProtocolError):
        pass
    assert client.is_sent_away()
    assert connect().get("/ready")[0] == "200"
    assert server.peak_rss_bytes() < 400 << 20


def test_a_body_that_nobody_reads_is_held_within_the_window(
    server: ServerProcess, connect: Callable[[], Http2Client]
) -> None:
    """The path takes no body: the server does not hold what comes, and serves others."""
    client = connect()
    number = client.head("POST", "/ready", end=False)
    sent = 0
    try:
        while (room := min(client.h2.local_flow_control_window(number), 16384)) > 0 and sent < 64 << 20:
            client.h2.send_data(number, bytes(room))
            client.flush()
            sent += room
            client.socket.setblocking(False)
            try:
                client.events()
            except BlockingIOError:
                pass
            finally:
                client.socket.settimeout(DEADLINE_S)
    except (ConnectionError, h2.exceptions.ProtocolError):
        pass
    assert connect().get("/ready")[0] == "200"
    assert server.peak_rss_bytes() < 400 << 20


@pytest.mark.parametrize(
    "first", [b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(200), b"PRI / HTTP/1.1\r\n\r\n"]
)
def test_other_first_bytes_harm_nobody(server: ServerProcess, first: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=DEADLINE_S) as connection:
        connection.sendall(first)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert server.ask("GET", "/ready").status == 200
