"""What the query of /ingest says."""

from __future__ import annotations

import pytest

from flamewire_server.errors import RequestError
from flamewire_server.ingest.format import Head
from flamewire_server.ingest.pyroscope import INGEST, parse_name


@pytest.mark.parametrize(
    ("name", "app", "labels"),
    [
        ("shop", "shop", {}),
        ("shop.cpu{}", "shop.cpu", {}),
        ("shop{region=eu,zone=b}", "shop", {"region": "eu", "zone": "b"}),
        (" shop { region = eu , } ", "shop", {"region": "eu"}),
        ("shop{region=eu,region=us}", "shop", {"region": "us"}),
        ("shop{runtime=OpenJDK Runtime Environment}", "shop", {"runtime": "OpenJDK Runtime Environment"}),
        ("shop{otel.scope.name=a=b}", "shop", {"otel.scope.name": "a=b"}),
        ("shop{region=eu", "shop", {"region": "eu"}),
    ],
)
def test_names_are_read(name: str, app: str, labels: dict[str, str]) -> None:
    found, pairs = parse_name(name)
    assert (found, dict(pairs)) == (app, labels)


@pytest.mark.parametrize("name", ["", "  ", "{a=b}", "shop{region}", "shop{=eu}"])
def test_wrong_names_are_refused_with_the_form_to_use(name: str) -> None:
    with pytest.raises(RequestError, match="app"):
        parse_name(name)


@pytest.mark.parametrize(
    "query", [{}, {"name": "a", "from": "x"}, {"name": "a", "until": "x"}, {"name": "a", "from": "9" * 11}]
)
def test_wrong_queries_are_refused_before_the_body_is_read(query: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="of the query cannot be used"):
        INGEST.begin(Head(query, "", 0))
