"""The alerting rules name metrics, labels and reasons that the server has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from flamewire_server.metrics import Metrics

SERVER = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = yaml.safe_load((SERVER / "deploy" / "alerts.yaml").read_text())["groups"][0][
    "rules"
]
SOURCE = "".join(path.read_text() for path in (SERVER / "src" / "flamewire_server").rglob("*.py"))


def served() -> set[str]:
    """Every metric and sample name at /metrics, also of those that nothing was counted for yet."""
    names = set()
    for family in text_string_to_metric_families(Metrics().render().decode()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_are_served(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"flamewire_\w+", rule["expr"]))
    assert asked
    assert asked <= served()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert {"summary", "action"} == set(rule["annotations"])
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_reasons_and_events_are_those_of_the_server() -> None:
    reasons = {
        reason
        for rule in RULES
        for group in re.findall(r'reason=~?"([^"]+)"', rule["expr"])
        for reason in group.split("|")
    }
    events = {
        event
        for rule in RULES
        for event in re.findall(
            r"\b[a-z]+_(?:failed|quarantined|refused|defect)\b", rule["annotations"]["action"]
        )
    }
    assert {"rate_limit", "defect"} <= reasons
    assert {"commit_failed", "block_quarantined"} <= events
    for reason in reasons:
        assert f'reason="{reason}"' in SOURCE or f'labels("{reason}")' in SOURCE, reason
    for event in events:
        assert f'"{event}"' in SOURCE, event


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
