"""Leaves these tests out where their tools are not installed; the group `sdk-frameworks` brings them.

They take a minute of waiting and nothing in them depends on the interpreter, so one of the matrix runs them.
"""

from __future__ import annotations

import importlib.util
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import trustme


def _is_there(*names: str) -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


if sys.version_info[:2] != (3, 12) or not _is_there(
    "trustme", "opentelemetry.proto", "opentelemetry.instrumentation.requests", "flamewire._native"
):
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Certificates:
    """An authority made for one test, a server's side that demands a client certificate, and a client's."""

    authority: trustme.CA
    ca_file: str
    server: ssl.SSLContext
    client_cert_file: str
    client_key_file: str
    client_both_file: str


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    import trustme

    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("sdk@profiles.test")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    return Certificates(
        authority,
        str(tmp_path / "ca.pem"),
        server,
        str(tmp_path / "client.pem"),
        str(tmp_path / "client.key"),
        str(tmp_path / "both.pem"),
    )
