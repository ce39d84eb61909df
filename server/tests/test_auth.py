"""API keys: made, found, refused."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from flamewire_server.auth import KeyRing, add_key, key_of_headers, read_keys, remove_key
from flamewire_server.errors import ConfigError


class Clock:
    """Two seconds pass between any two looks."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 2
        return self.now_s


def test_the_file_holds_no_secret_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    _, text = add_key(path, tenant="shop", scopes=["push"], name="ci")
    assert text[-43:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_a_key_is_found_by_its_whole_text_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    entry, text = add_key(path, tenant="shop", scopes=["push", "read"], name="")
    other = add_key(path, tenant="shop", scopes=["admin"], name="")[1]
    ring = KeyRing(path)
    assert ring.find(text) == entry
    for wrong in ("", text[:-1], text + "A", text.upper(), text[:-43] + other[-43:], f"fw_{entry.id}_"):
        assert ring.find(wrong) is None


def test_a_running_server_learns_of_keys_and_never_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = KeyRing(path, clock_s=Clock())
    assert not ring.is_needed
    entry, text = add_key(path, tenant="shop", scopes=["push"], name="")
    assert ring.is_needed
    assert ring.find(text) == entry
    assert remove_key(path, entry.id)
    assert ring.find(text) is None
    assert ring.is_needed
    path.unlink()
    assert ring.is_needed
    path.write_text("{")
    assert ring.is_needed
    assert ring.find(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"keys": [{}]}',
        '{"keys": 3}',
        '{"keys": [{"id":"a","tenant":"b","scopes":["root"],"name":"","secret_sha256":""}]}',
    ],
)
def test_a_broken_file_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        KeyRing(path)


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "a|b", "a b", "x" * 151])
def test_a_key_names_one_tenant(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(ConfigError, match="tenant"):
        add_key(tmp_path / "keys.json", tenant=tenant, scopes=["push"], name="")
    assert read_keys(tmp_path / "keys.json") == []


def test_a_key_is_shown_as_a_token_or_a_password() -> None:
    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert key_of_headers({"Authorization": "Bearer k"}) == "k"
    assert key_of_headers({"Authorization": "bearer  k "}) == "k"
    assert key_of_headers({"Authorization": basic("anybody:k:k")}) == "k:k"
    for nothing in ({}, {"Authorization": "Basic !"}, {"Authorization": "Digest k"}, {"Authorization": ""}):
        assert not key_of_headers(nothing)
