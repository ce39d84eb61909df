"""``flamewire doctor``: says what works, what does not, and what to mend."""

from __future__ import annotations

import os
import socket

import pytest
from sdk_support.push_server import PushServer, Reply

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
