"""What cannot be taken is refused with words, stores nothing, and harms nobody."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import (
    CPU,
    DEADLINE_S,
    JSON,
    PROTO,
    PUSH,
    Reply,
    ServerProcess,
    make_profile,
    make_push,
    now_ms,
    recent,
    zstd_frame,
)

Start = Callable[..., ServerProcess]


def assert_refused(reply: Reply, status: int, code: str, words: str) -> None:
    assert reply.status == status, reply.body
    assert reply.headers["content-type"].startswith(JSON)
    assert set(reply.json()) == {"code", "message"}
    assert reply.json()["code"] == code
    assert words in reply.json()["message"]


def assert_unharmed(server: ServerProcess) -> None:
    """The server stores and answers as before, and holds nothing but what this stores."""
    assert server.ask("GET", "/ready").body == b"ready\n"
    assert server.push(make_push("alive", make_profile({"main": 1}))).status == 200
    names = server.query("LabelValues", name="service_name", **recent())["names"]
    assert names == ["alive"]


def test_what_is_wrong_with_a_push_is_said_and_nothing_is_stored(start_server: Start) -> None:
    server = start_server()
    good = make_profile({"main": 1})
    nameless = make_push("nameless", good)
    del nameless.series[0].labels[0]
    torn = make_push("torn", good)
    torn.series[0].samples[0].raw_profile = torn.series[0].samples[0].raw_profile[:-3]
    noise = make_push("noise", good)
    noise.series[0].samples[0].raw_profile = b"\xff" * 1000
    half = make_push("half", good, good)
    half.series[0].samples[1].raw_profile = b"\xff"
    twice = make_push("twice", good)
    twice.series[0].labels.add(name="service_name", value="other")
    old = make_push("old", make_profile({"main": 1}, time_ns=(now_ms() - 25 * 3600_000) * 10**6))
    ahead = make_push("ahead", make_profile({"main": 1}, time_ns=(now_ms() + 11 * 60_000) * 10**6))
    for request, words in (
        (nameless, "__name__"),
        (torn, ""),
        (noise, ""),
        (half, ""),
        (twice, "service_name"),
        (old, ""),
        (ahead, ""),
    ):
        for codec in (PROTO, JSON):
            assert_refused(server.push(request, codec=codec), 400, "invalid_argument", words)
    for body, codec, headers in (
        (b"\xff\xff\xff", PROTO, {}),
        (b"{", JSON, {}),
        (b"[1]", JSON, {}),
        (b'{"series":[{"samples":[{"rawProfile":"*"}]}]}', JSON, {}),
        (b'{"series":' * 5000, JSON, {}),
        (b"not gzip", PROTO, {"Content-Encoding": "gzip"}),
        (b"not gzip", JSON, {"Content-Encoding": "gzip"}),
        (b"not zstd", PROTO, {"Content-Encoding": "zstd"}),
        (zstd_frame(b"x" * 1000)[:-4], JSON, {"Content-Encoding": "zstd"}),
        (gzip.compress(b"x" * 1000)[:-4], JSON, {"Content-Encoding": "gzip"}),
        (gzip.compress(b"x" * 1000)[:-4], PROTO, {"Content-Encoding": "gzip"}),
    ):
        assert_refused(
            server.ask("POST", PUSH, body, {"Content-Type": codec, **headers}), 400, "invalid_argument", ""
        )
    assert_refused(
        server.ask("POST", PUSH, b"", {"Content-Type": "text/plain"}), 415, "invalid_argument", PROTO
    )
    assert_refused(
        server.ask("POST", PUSH, b"", {"Content-Type": PROTO, "Content-Encoding": "br"}),
        501,
        "unimplemented",
        "gzip",
    )
    assert_unharmed(server)
    assert server.metric("flamewire_rejected_total") >= 25


def test_a_push_without_profiles_is_accepted(start_server: Start) -> None:
    server = start_server()
    assert server.ask("POST", PUSH, b"", {"Content-Type": PROTO}).status == 200
    assert server.ask("POST", PUSH, b"{}", {"Content-Type": JSON}).status == 200
    assert_unharmed(server)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def zeros_bomb(size_bytes: int) -> bytes:
    """Gzip zeros without ever holding them."""
    deflater = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    parts = [deflater.compress(block) for _ in range(size_bytes >> 20)]
    return b"".join([*parts, deflater.flush()])


def test_a_bomb_of_a_gigabyte_is_refused_in_bounded_memory(start_server: Start) -> None:
    server = start_server()
    assert server.push(make_push("alive", make_profile({"main": 1}))).status == 200
    before = server.peak_rss_bytes()
    bomb = zeros_bomb(1 << 30)
    assert len(bomb) < 1.1 * (1 << 20)
    inside = make_push("bomb", make_profile({"main": 1}))
    inside.series[0].samples[0].raw_profile = bomb
    encoded = {"Content-Encoding": "gzip"}
    for codec in (PROTO, JSON):
        reply = server.ask("POST", PUSH, bomb, {"Content-Type": codec, **encoded})
        assert_refused(reply, 413, "resource_exhausted", "")
        # One profile that is too large is wrong content; ING-024.
        assert_refused(server.push(inside, codec=codec), 400, "invalid_argument", "4194304")
    reply = server.ask("POST", "/querier.v1.QuerierService/Series", bomb, {"Content-Type": JSON, **encoded})
    assert_refused(reply, 413, "resource_exhausted", "")
    # The largest accepted request is 64 MiB; its text may exist twice (inflated, parsed).
    assert server.peak_rss_bytes() - before < 200 << 20
    assert_unharmed(server)


def test_a_body_over_the_limit_is_refused_before_it_is_read(start_server: Start) -> None:
    server = start_server(environ={"FLAMEWIRE_SERVER_INGESTION_BODY_LIMIT_MB": "1"})
    headers = {"Content-Type": PROTO}
    assert_refused(
        server.ask("POST", PUSH, bytes(2 << 20), headers),
        413,
        "resource_exhausted",
        "ingestion_body_limit_mb",
    )
    # The length is not always told before.
    connection = http.client.HTTPConnection(server.host, server.port, timeout=DEADLINE_S)
    connection.request("POST", PUSH, iter([bytes(1 << 19)] * 3), headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (413, "resource_exhausted")
    connection.close()
    assert_unharmed(server)


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        ("SelectMergeStacktraces", {"label_selector": "{service_name=shop}"}, "at character 15"),
        ("SelectMergeStacktraces", {"label_selector": '{route=~"("}'}, "no regular expression"),
        ("SelectMergeStacktraces", {"profile_typeID": "cpu"}, "name:sample_type"),
        ("SelectMergeStacktraces", {"profile_typeID": ""}, "no profile type"),
        ("SelectMergeStacktraces", {"start": 2, "end": 1}, "before it starts"),
        ("SelectMergeStacktraces", {"start": -5}, "milliseconds since 1970"),
        ("SelectMergeStacktraces", {"end": 2**62}, "milliseconds since 1970"),
        ("SelectMergeStacktraces", {"max_nodes": 1048577}, "at most 1048576"),
        ("SelectMergeStacktraces", {"span_selector": ["12"]}, "16 hexadecimal digits"),
        ("SelectMergeSpanProfile", {}, "no span"),
        ("SelectSeries", {"step": 0}, "from 0.001"),
        ("SelectSeries", {"step": 0.001, "start": 1}, "larger step"),
        ("SelectSeries", {"step": 1e11}, "from 0.001"),
        ("SelectSeries", {"step": "NaN"}, "from 0.001"),
        ("SelectMergeStacktraces", {"format": "PROFILE_FORMAT_SANDWICH"}, "no function"),
        ("SelectHeatmap", {"step": 15, "exemplarType": "EXEMPLAR_TYPE_SPAN"}, "must fit query_type"),
        ("LabelValues", {}, "no label name"),
        ("LabelValues", {"name": "a", "matchers": ["{"]}, "does not parse"),
        ("Series", {"matchers": ['{a="b"}', "}"]}, "does not parse"),
        ("Series", {"start": "soon"}, "no querier.v1.SeriesRequest"),
    ],
)
def test_a_wrong_query_is_refused_with_words(
    server: ServerProcess, method: str, fields: dict[str, object], words: str
) -> None:
    whole = {**recent(), **fields}
    if method.startswith("Select"):
        whole = {"profile_typeID": CPU, "label_selector": "{}", **whole}
    reply = server.query_raw(method, json.dumps(whole).encode(), JSON)
    assert_refused(reply, 400, "invalid_argument", words)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("Nothing", {}),
        ("Diff", {"left": {"format": "PROFILE_FORMAT_DOT"}}),
        ("SelectMergeSpanProfile", {"spanSelector": ["0" * 16], "format": "PROFILE_FORMAT_PPROF"}),
        ("SelectMergeStacktraces", {"async": {"type": "ASYNC_QUERY_TYPE_FORCE"}}),
    ],
)
def test_what_is_not_there_yet_is_unimplemented_and_never_answered_wrongly(
    server: ServerProcess, method: str, fields: dict[str, object]
) -> None:
    whole = {"profile_typeID": CPU, "label_selector": "{}", **recent(), **fields} if fields else {}
    reply = server.query_raw(method, json.dumps(whole).encode(), JSON)
    assert_refused(reply, 501, "unimplemented", "not served here")


def test_errors_are_json_for_protobuf_too(server: ServerProcess) -> None:
    assert_refused(
        server.query_raw("Series", b"\xff", PROTO), 400, "invalid_argument", "querier.v1.SeriesRequest"
    )


def test_a_name_of_another_site_is_refused(server: ServerProcess) -> None:
    reply = server.ask("GET", "/ready", headers={"Host": "evil.example"})
    assert_refused(reply, 403, "permission_denied", "allowed_hosts")
    assert server.ask("GET", "/ready", headers={"Host": f"localhost:{server.port}"}).status == 200


def test_a_torn_request_harms_nobody(start_server: Start) -> None:
    server = start_server()
    head = f"POST {PUSH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PROTO}\r\n".encode()
    torn = (head + b"Content-Length: 99\r\n\r\nx", head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab")
    badly_chunked = head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab"
    for text in (b"POST ", b"\x00" * 1000, *torn, badly_chunked):
        with socket.create_connection((server.host, server.port), timeout=DEADLINE_S) as connection:
            connection.sendall(text)
    assert_unharmed(server)
    # Both kinds of end are the sender's fault, and are counted as such.
    wait_until(lambda: server.metric('flamewire_rejected_total{reason="torn_body"}') >= 2)
    assert server.metric('flamewire_rejected_total{reason="defect"}') == 0


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flamewire_server", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_listening_for_everybody_is_refused_without_insecure(tmp_path: Path) -> None:
    for address in ("0.0.0.0:0", "[::]:0", ":0"):
        done = run_command("--listen", address, "--data", str(tmp_path / "data"))
        assert done.returncode == 2
        assert "--insecure" in done.stderr
    assert not (tmp_path / "data").exists()


def test_insecure_listens_for_everybody(start_server: Start) -> None:
    server = start_server("--listen", "0.0.0.0:0", "--insecure")
    assert server.host == "0.0.0.0"
    # Others reach it by names that it cannot know.
    assert server.ask("GET", "/ready", headers={"Host": "profiles.example"}).status == 200


def test_a_taken_port_and_a_taken_folder_are_told_at_start(start_server: Start, tmp_path: Path) -> None:
    server = start_server()
    taken = run_command("--listen", f"127.0.0.1:{server.port}", "--data", str(tmp_path / "other"))
    assert (taken.returncode, "another --listen" in taken.stderr) == (2, True)
    folder = run_command("--listen", "127.0.0.1:0", "--data", str(server.data))
    assert (folder.returncode, "another --data" in folder.stderr) == (1, True)


def test_a_tenant_is_needed_where_there_are_several(start_server: Start, tmp_path: Path) -> None:
    config = tmp_path / "flamewire.yaml"
    config.write_text("multitenancy_enabled: true")
    server = start_server("--config", str(config))
    request = make_push("shop", make_profile({"main": 1}))
    assert_refused(server.push(request), 401, "unauthenticated", "X-Scope-OrgID")
    assert_refused(server.push(request, X_Scope_OrgID=".."), 400, "invalid_argument", "X-Scope-OrgID")
    assert_refused(server.push(request, X_Scope_OrgID="a/b"), 400, "invalid_argument", "X-Scope-OrgID")
    # The same profile in two tenants is two profiles, and each sees its own.
    for tenant in ("one", "two"):
        assert server.push(request, X_Scope_OrgID=tenant).status == 200
    body = json.dumps({"name": "service_name", **recent()}).encode()
    for tenant, names in (("one", ["shop"]), ("three", [])):
        reply = server.query_raw("LabelValues", body, JSON, X_Scope_OrgID=tenant)
        assert reply.json().get("names", []) == names
    assert_refused(server.query_raw("LabelValues", body, JSON), 401, "unauthenticated", "X-Scope-OrgID")


def test_the_tenant_is_ignored_where_there_is_one(server: ServerProcess) -> None:
    assert server.push(make_push("any", make_profile({"main": 1})), X_Scope_OrgID="../..").status == 200
    assert "any" in server.query("LabelValues", name="service_name", **recent())["names"]
