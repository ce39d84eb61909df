"""What is set for single tenants is read at start and when it changes; a wrong file changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flamewire_server.config import Config
from flamewire_server.errors import ConfigError
from flamewire_server.overrides import TenantConfigs

FILE = """
overrides:
  one:
    retention_period: 3d
    max_label_names_per_series: 5
    ingestion_rate_mb: 0.5
  two: {max_global_series_per_tenant: 7, max_query_lookback: 1h}
"""


def write(path: Path, text: str, *, at_s: int) -> None:
    path.write_text(text)
    os.utime(path, (at_s, at_s))


def test_a_tenant_has_what_is_set_for_it_and_else_the_servers(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(FILE)
    tenants = TenantConfigs(Config(overrides_file=path, max_samples=99))
    one, two, other = (tenants.of(name) for name in ("one", "two", "other"))
    assert (one.retention_s, one.max_label_names, one.ingestion_rate_bytes) == (3 * 86400, 5, 1 << 19)
    assert (two.max_series, one.max_series, other.max_series) == (7, 0, 0)
    assert other.retention_s == 14 * 86400
    assert tenants.limits("one").max_label_names == 5
    assert {tenants.limits(name).max_samples for name in ("one", "two", "other")} == {99}


def test_a_changed_file_counts_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    write(path, FILE, at_s=1)
    tenants = TenantConfigs(Config(overrides_file=path))
    assert tenants.reload()
    write(path, "overrides: {one: {max_label_names_per_series: 6}}", at_s=2)
    assert tenants.reload()
    assert tenants.of("one").max_label_names == 6
    assert tenants.of("two").max_series == 0
    write(path, "overrides: {one: {max_label_names_per_series: many}}", at_s=3)
    assert not tenants.reload()
    assert not tenants.reload()
    assert tenants.of("one").max_label_names == 6
    path.unlink()
    assert not tenants.reload()
    write(path, "overrides: {}", at_s=4)
    assert tenants.reload()
    assert tenants.of("one").max_label_names == 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("overrides: {one: {max_label_names: 5}}", "cannot be set for one tenant"),
        ("overrides: {one: {max_query_length: 5h}}", "cannot be set for one tenant"),
        ("overrides: {one: {ingestion_rate_mb: fast}}", "a number of megabytes"),
        ("overrides: [one]", "the file must be"),
        ("tenants: {}", "the file must be"),
        ("overrides: {one: 3}", "must be a block"),
        ("overrides: {", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_refuses_the_start(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        TenantConfigs(Config(overrides_file=path))


def test_a_file_that_is_missing_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        TenantConfigs(Config(overrides_file=tmp_path / "missing.yaml"))
