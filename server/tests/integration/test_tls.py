"""TLS with real certificates: of the server, and of clients."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import client_context, make_ca, make_certificate
from server_process import ServerProcess


def environ(**files: Path) -> dict[str, str]:
    return {f"FLAMEWIRE_SERVER_TLS_{name.upper()}_FILE": str(path) for name, path in files.items()}


def ready(server: ServerProcess, context: ssl.SSLContext) -> bytes:
    connection = http.client.HTTPSConnection(server.host, server.port, timeout=60, context=context)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_server_with_a_certificate_speaks_tls_only(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    ca, stranger = make_ca(tmp_path, "ca"), make_ca(tmp_path, "stranger")
    own = make_certificate(tmp_path, "server", ca)
    server = start_server(environ=environ(cert=own.cert, key=own.key))
    context = client_context(ca)
    assert ready(server, context) == b"ready\n"
    with pytest.raises(ssl.SSLCertVerificationError):
        ready(server, client_context(stranger))
    old = client_context(ca)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert ready(server, old) == b"ready\n"
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.ask("GET", "/ready")
    assert server.stop() == 0


def test_with_a_ca_for_clients_nobody_else_connects(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    ca, clients = make_ca(tmp_path, "ca"), make_ca(tmp_path, "clients")
    own = make_certificate(tmp_path, "server", ca)
    server = start_server(environ=environ(cert=own.cert, key=own.key, client_ca=clients.cert))
    known = make_certificate(tmp_path, "known", clients)
    assert ready(server, client_context(ca, known)) == b"ready\n"
    for context in (client_context(ca), client_context(ca, make_certificate(tmp_path, "unknown", ca))):
        # With TLS 1.3 the client learns of the refusal when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ready(server, context)


def test_a_certificate_that_cannot_be_used_is_told_at_start(tmp_path: Path) -> None:
    ca = make_ca(tmp_path, "ca")
    one, other = make_certificate(tmp_path, "one", ca), make_certificate(tmp_path, "other", ca)
    (tmp_path / "text").write_text("no certificate")
    for files, words in (
        ({"cert": one.cert}, "both cert_file and key_file"),
        ({"cert": one.cert, "key": other.key}, "cannot be used"),
        ({"cert": tmp_path / "gone", "key": one.key}, "cannot be used"),
        ({"cert": one.cert, "key": one.key, "client_ca": tmp_path / "text"}, "client_ca_file"),
    ):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "flamewire_server",
                "--listen",
                "127.0.0.1:0",
                "--data",
                tmp_path / "data",
            ],
            env=environ(**files),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert words in done.stderr
