"""``flamewire doctor``: says what works, what does not, and what to mend."""

from __future__ import annotations

import email.utils
import os
import socket
from pathlib import Path

import pytest
from sdk_support.push_server import PushServer, Reply

from flamewire.cli import doctor
from flamewire.cli.main import main


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("FLAMEWIRE_", "PYROSCOPE_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLAMEWIRE_SERVICE_NAME", "shop")


def examine(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, str]]:
    """Run the command; returns its status and subject -> verdict and words."""
    status = main(["doctor", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return status, {line[6:17].strip(): f"{line[:4].strip()} {line[18:]}" for line in lines}


def test_a_server_that_only_takes_profiles_is_well(
    push_server: PushServer, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    push_server.script.extend([Reply(200), Reply(404)])
    status, found = examine(capsys, "--server-url", push_server.url, "--engine", engine)
    assert status == 0, found
    assert found["interpreter"].startswith("ok CPython")
    assert found["engine"].startswith(f"{'ok' if engine == 'native' else 'note'} {engine}")
    assert found["push"].startswith("ok")
    assert found["read back"].startswith("note the server takes profiles, but answers queries with 404")
    (push,) = push_server.requests[0].pushes
    assert push.labels["service_name"] == "flamewire-doctor"
    assert push.profile.cpu_of("doctor_burns_cpu") > 0.2e9


def test_a_server_that_has_the_profile_is_well(
    push_server: PushServer, capsys: pytest.CaptureFixture[str]
) -> None:
    push_server.script.extend([Reply(200), Reply(200), Reply(200, body=b'{"names":["doctor_burns_cpu"]}')])
    status, found = examine(capsys, "--server-url", push_server.url)
    assert (status, found["read back"].split()[0]) == (0, "ok")


def test_no_server_is_a_failure_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        status, found = examine(capsys, "--server-url", url)
    assert status == 1
    assert found["server"].startswith(f"FAIL {url} cannot be reached")
    assert "push" not in found


def test_a_refused_push_says_which_option_to_set(
    push_server: PushServer, capsys: pytest.CaptureFixture[str]
) -> None:
    push_server.script.extend([Reply(401, body=b'{"code":"unauthenticated","message":"no key"}')])
    status, found = examine(capsys, "--server-url", push_server.url)
    assert status == 1
    assert found["push"].startswith("FAIL refused with 401 unauthenticated: no key; set auth_token")


def test_secrets_are_not_shown(push_server: PushServer, capsys: pytest.CaptureFixture[str]) -> None:
    push_server.script.extend([Reply(403)])
    main(["doctor", "--server-url", push_server.url, "--auth-token", "s3cret"])
    captured = capsys.readouterr()
    assert push_server.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in captured.out + captured.err


def test_a_bad_variable_and_a_switched_off_session_are_said(
    push_server: PushServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLAMEWIRE_TIMEOUT_S", "soon")
    push_server.script.extend([Reply(200), Reply(404)])
    status, found = examine(capsys, "--server-url", push_server.url)
    assert status == 1
    assert found["options"].startswith("FAIL FLAMEWIRE_TIMEOUT_S='soon'")
    monkeypatch.delenv("FLAMEWIRE_TIMEOUT_S")
    monkeypatch.setenv("FLAMEWIRE_ENABLED", "no")
    push_server.script.extend([Reply(200), Reply(404)])
    status, found = examine(capsys, "--server-url", push_server.url)
    assert (status, found["options"].split()[0]) == (0, "note")
    assert "FLAMEWIRE_ENABLED" in found["options"]


def test_a_spool_that_cannot_be_written_is_a_failure(
    push_server: PushServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for folder, verdict in ((tmp_path / "spool", "ok"), (tmp_path / "file" / "spool", "FAIL")):
        push_server.script.extend([Reply(200), Reply(404)])
        status, found = examine(capsys, "--server-url", push_server.url, "--spool-dir", str(folder))
        assert (status, found["spool"].split()[0]) == (verdict == "FAIL", verdict)


def test_a_host_that_the_ratio_leaves_out_is_told(
    push_server: PushServer, capsys: pytest.CaptureFixture[str]
) -> None:
    push_server.script.extend([Reply(200), Reply(404)])
    status, found = examine(capsys, "--server-url", push_server.url, "--fleet-ratio", "0")
    assert status == 0
    assert found["options"].startswith("note fleet_ratio=0 leaves this host out")


def test_a_proxy_is_named_without_its_credentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cret@127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        status = main(["doctor", "--server-url", "http://profiles.invalid:4040"])
    said = capsys.readouterr().out
    assert status == 1
    assert f"http://(secret)@127.0.0.1:{port}" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(("skew_s", "words"), [(300, "300 s ahead of"), (-300, "300 s behind"), (None, None)])
def test_a_clock_that_is_wrong_is_noted(
    push_server: PushServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    skew_s: float | None,
    words: str | None,
) -> None:
    monkeypatch.setattr(doctor, "_skew_s", lambda *_: skew_s)
    push_server.script.extend([Reply(200), Reply(404)])
    _, found = examine(capsys, "--server-url", push_server.url)
    assert words in found["clock"] if words else "clock" not in found


def test_the_servers_clock_is_read_from_its_date() -> None:
    now_s = 1_800_000_000.0
    assert doctor._skew_s(email.utils.formatdate(now_s - 300, usegmt=True), now_s) == 300
    assert doctor._skew_s("", now_s) is doctor._skew_s("yesterday", now_s) is None


def test_another_wire_is_tried_as_it_is(push_server: PushServer, capsys: pytest.CaptureFixture[str]) -> None:
    push_server.script.extend([Reply(200), Reply(404)])
    status, found = examine(capsys, "--server-url", push_server.url, "--export-protocol", "otlp")
    assert status == 0, found
    assert found["push"].startswith("ok")
    assert push_server.requests[0].path == "/v1development/profiles"


def test_spans_say_which_opentelemetry_can_be_followed(
    push_server: PushServer, capsys: pytest.CaptureFixture[str]
) -> None:
    push_server.script.extend([Reply(200), Reply(404)])
    _, found = examine(capsys, "--server-url", push_server.url)
    assert "not installed" in found["spans"] or "can be followed" in found["spans"]
