"""The Host check: names of other sites do not reach a server on loopback."""

from __future__ import annotations

import pytest

from flamewire_server.http.middleware import is_allowed_host


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:4040",
        "app.localhost:4040",
        "127.0.0.1:4040",
        "[::1]:4040",
        "[::1]",
        "10.0.0.1",
        "",
        "profiles.example:80",
        "localhost.",
    ],
)
def test_harmless_hosts_pass(host: str) -> None:
    assert is_allowed_host(host, ["profiles.example"])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4040",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[evil]:80",
        "notlocalhost",
    ],
)
def test_other_names_do_not(host: str) -> None:
    assert not is_allowed_host(host, ["profiles.example"])
