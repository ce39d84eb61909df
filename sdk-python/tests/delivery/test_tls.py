"""CA bundles and client certificates, against a real TLS server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sdk_support.push_server import PushServer

from flamewire.config import Options, resolve
from flamewire.errors import ConfigurationError
from flamewire.export.transport import RequestsTransport, TransportError

if TYPE_CHECKING:
    from conftest import Certificates


def options(server: PushServer, **given: object) -> Options:
    return resolve({"service_name": "shop", "server_url": server.url, **given}, {}, "app.py").options


def test_a_push_reaches_a_server_that_demands_a_client_certificate(certificates: Certificates) -> None:
    with PushServer(tls=certificates.server) as server:
        for files in (
            {
                "client_cert_file": certificates.client_cert_file,
                "client_key_file": certificates.client_key_file,
            },
            {"client_cert_file": certificates.client_both_file},
        ):
            given = options(server, ca_file=certificates.ca_file, **files)
            assert RequestsTransport(given).send(b"body", 10).status == 200
        assert [request.body for request in server.requests] == [b"body"] * 2


def test_without_a_client_certificate_nothing_is_sent_and_the_words_say_why(
    certificates: Certificates,
) -> None:
    with PushServer(tls=certificates.server) as server:
        with pytest.raises(TransportError, match=r"no connection|push failed|no answer"):
            RequestsTransport(options(server, ca_file=certificates.ca_file)).send(b"body", 10)
        assert not server.requests


def test_a_server_whose_certificate_the_bundle_does_not_cover_is_not_pushed_to(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trustme

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with PushServer(tls=tls) as server:
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            RequestsTransport(options(server, ca_file=certificates.ca_file)).send(b"body", 10)
        assert not server.requests


def test_the_option_outweighs_the_variables_of_requests(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import trustme

    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.authority.issue_cert("127.0.0.1").configure_cert(tls)
    with PushServer(tls=tls) as server:
        assert RequestsTransport(options(server, ca_file=certificates.ca_file)).send(b"", 10).status == 200
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            RequestsTransport(options(server)).send(b"body", 10)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.ca_file)
    with PushServer(tls=tls) as server:
        assert RequestsTransport(options(server)).send(b"", 10).status == 200


def test_files_that_cannot_serve_are_refused_at_the_start(certificates: Certificates, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    plain = Path(certificates.client_key_file).read_bytes()
    key = serialization.load_pem_private_key(plain, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "no.pem").write_bytes(b"\x30\x82")
    for given, advice in (
        ({"ca_file": str(tmp_path / "absent.pem")}, "No such file"),
        ({"ca_file": str(tmp_path / "no.pem")}, "no PEM file"),
        ({"client_key_file": certificates.client_key_file}, "only together"),
        (
            {
                "client_cert_file": certificates.client_cert_file,
                "client_key_file": str(tmp_path / "locked.key"),
            },
            "passphrase",
        ),
    ):
        with pytest.raises(ConfigurationError, match=advice):
            resolve(given, {}, "app.py")
