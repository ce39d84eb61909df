"""A tenant that pushes more than it may is told when to come again; others are not touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from flamewire_server.config import Config
from flamewire_server.errors import OverloadedError
from flamewire_server.ingest.rate import RateGate
from flamewire_server.overrides import TenantConfigs

OVERRIDES = "overrides: {slow: {ingestion_rate_mb: 1, ingestion_burst_size_mb: 3}}"
MEGABYTE = 1 << 20


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def configs(tmp_path: Path) -> TenantConfigs:
    path = tmp_path / "overrides.yaml"
    path.write_text(OVERRIDES)
    return TenantConfigs(Config(overrides_file=path))


def test_a_burst_is_let_in_and_then_the_rate_holds(configs: TenantConfigs) -> None:
    clock = Clock()
    gate = RateGate(configs, clock_s=clock)
    for _ in range(3):
        gate.check("slow")
        gate.charge("slow", MEGABYTE)
    with pytest.raises(OverloadedError) as refused:
        gate.check("slow")
    assert (refused.value.code, refused.value.reason) == ("resource_exhausted", "rate_limit")
    assert refused.value.retry_after_s == 1
    clock.now_s += 0.5
    gate.check("slow")


def test_a_large_push_is_let_in_and_paid_for_later(configs: TenantConfigs) -> None:
    clock = Clock()
    gate = RateGate(configs, clock_s=clock)
    gate.charge("slow", 13 * MEGABYTE)
    with pytest.raises(OverloadedError) as refused:
        gate.check("slow")
    assert refused.value.retry_after_s == 10
    clock.now_s += 10.5
    gate.check("slow")


def test_a_tenant_without_a_rate_is_never_held_up(configs: TenantConfigs) -> None:
    gate = RateGate(configs, clock_s=Clock())
    for _ in range(100):
        gate.check("other")
        gate.charge("other", 1 << 30)
