from __future__ import annotations

import socket

import pytest

import flamewire
from flamewire.errors import ConfigurationError
from flamewire.fleet import is_chosen

HOSTS = [f"shop-{number}" for number in range(2_000)]


def chosen(ratio: float, service_name: str = "shop") -> set[str]:
    return {host for host in HOSTS if is_chosen(ratio, service_name, host)}


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_the_share_is_that_of_the_ratio(ratio: float) -> None:
    """n = 2,000; the choice is a fixed hash, so the 3-sigma margin is one of its quality, not of luck."""
    margin = 3 * (ratio * (1 - ratio) * len(HOSTS)) ** 0.5
    assert len(chosen(ratio)) == pytest.approx(ratio * len(HOSTS), abs=margin)


def test_the_choice_is_stable_grows_with_the_ratio_and_differs_between_services() -> None:
    assert chosen(0.1) == chosen(0.1)
    assert chosen(0.1) < chosen(0.2) < chosen(0.7)
    assert chosen(0.1) != chosen(0.1, "billing")
    assert is_chosen(0.3, "shop") == is_chosen(0.3, "shop", socket.gethostname())


def test_a_host_that_is_left_out_does_nothing_and_says_so() -> None:
    session = flamewire.start(service_name="shop", server_url="http://127.0.0.1:9", fleet_ratio=0.0)
    assert (session.running, session.status().state) == (False, "not chosen")
    assert session.stop()


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "half", True, float("nan")])
def test_what_is_no_share_raises(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        flamewire.start(service_name="shop", fleet_ratio=wrong)  # type: ignore[arg-type]
