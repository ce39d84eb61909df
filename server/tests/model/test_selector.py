"""Label selectors select as PromQL's do, and say where they do not parse."""

from __future__ import annotations

import time

import pytest

from flamewire_server.errors import SelectorError
from flamewire_server.model.labels import Labels
from flamewire_server.model.selector import parse_selector

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
SHOP = Labels(
    (
        ("__name__", "process_cpu"),
        ("__profile_type__", CPU),
        ("k8s.pod", "shop-1"),
        ("note", 'say "hi"\\\n'),
        ("route", "/cart/42"),
        ("service_name", "shop"),
        ("strasse", "Größe"),
    )
)


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("", True),
        ("{}", True),
        (" { } ", True),
        ('{service_name="shop"}', True),
        ('{ service_name = "shop" , }', True),
        ("{service_name='shop'}", True),
        ("{service_name=`shop`}", True),
        ('{service_name="sho"}', False),
        ('{service_name!="shop"}', False),
        ('{service_name!="cart"}', True),
        ('{service_name="shop",route="/cart/42"}', True),
        ('{service_name="shop",route="/cart"}', False),
        # A regular expression matches the whole value.
        ('{route=~"/cart"}', False),
        ('{route=~"/cart/.*"}', True),
        ('{route=~"/cart|/cart/42"}', True),
        ('{route=~"cart/42"}', False),
        ('{route!~"/cart"}', True),
        ('{route!~"/cart/[0-9]+"}', False),
        ('{route=~"(?i)/CART/42"}', True),
        ('{strasse=~"Gr..e"}', True),
        ('{note=~"say.*"}', True),
        # An absent label has the empty value.
        ('{region=""}', True),
        ('{region!=""}', False),
        ('{region!="eu"}', True),
        ('{region=~".*"}', True),
        ('{region=~".+"}', False),
        ('{region!~".+"}', True),
        ('{region=~""}', True),
        # Names in quotes.
        ('{"k8s.pod"="shop-1"}', True),
        ('{k8s.pod="shop-1"}', True),
        ('{"k8s.pod"=~"shop-[23]"}', False),
        ('{"process_cpu"}', True),
        ('{"process_cpu", service_name="shop"}', True),
        ('{"memory"}', False),
        # Escapes.
        (r'{note="say \"hi\"\\\n"}', True),
        ("{note='say \"hi\"\\\\\\n'}", True),
        (r'{strasse="Gr\u00f6\u00dfe"}', True),
        (r'{service_name="\x73hop"}', True),
        (r'{service_name="\163hop"}', True),
        (r"{route=~`/cart/\d+`}", True),
        # What stands before the braces.
        ("process_cpu", True),
        ("process_cpu{}", True),
        ("memory{}", False),
        (CPU, True),
        (CPU + '{service_name="shop"}', True),
        ('memory:inuse_space:bytes:space:bytes{service_name="shop"}', False),
        ('{__profile_type__="' + CPU + '"}', True),
    ],
)
def test_selects(text: str, takes: bool) -> None:
    assert parse_selector(text).takes(SHOP) is takes


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("{", 2, "ends here"),
        ("{service_name}", 14, "one of = != =~ !~"),
        ("{service_name=}", 15, "value in quotes"),
        ("{service_name=shop}", 15, "value in quotes"),
        ('{service_name="shop}', 15, "not closed"),
        ('{service_name="shop"', 21, "ends here"),
        ('{service_name="shop" route="/"}', 22, "`,` or `}`"),
        ('{service_name="shop"} x', 23, "nothing may follow"),
        ('{service_name="shop"}}', 22, "nothing may follow"),
        ('{,service_name="shop"}', 2, "a label name"),
        ('{9lives="x"}', 2, "a label name"),
        ('{k8s-pod="x"}', 5, "one of = != =~ !~"),
        ('{a=="x"}', 4, "value in quotes"),
        ('{route=~"("}', 9, "no regular expression"),
        (r'{route="\q"}', 9, "escape is not known"),
        (r'{route="\ud800"}', 9, "no character"),
        ('{route="a\nb"}', 10, "line break"),
        ("some thing{}", 1, "expected `{`"),
        ('a:b:c:d"e:f{}', 1, "expected `{`"),
    ],
)
def test_points_at_the_character_that_does_not_parse(text: str, position: int, words: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert f"at character {position}:" in caught.value.message
    assert words in caught.value.message
    assert caught.value.code == "invalid_argument"


def test_knows_the_one_service_and_type_that_it_can_select() -> None:
    selector = parse_selector(CPU + '{service_name="shop",route=~"x"}')
    assert (selector.profile_type, selector.service) == (CPU, "shop")
    assert parse_selector('{service_name=""}').service is None
    assert parse_selector('{service_name=~"shop"}').service is None


def test_an_expression_that_backtracks_elsewhere_costs_cpu_linear_in_the_text() -> None:
    selector = parse_selector('{a=~"(a*)*b"}')
    started_s = time.process_time()
    assert not selector.takes(Labels((("a", "a" * 2000),)))
    # A backtracking engine needs 2**2000 steps: the bound is no timing, it tells "ends" from "never".
    assert time.process_time() - started_s < 30


def test_an_expression_that_would_compile_to_gigabytes_is_refused() -> None:
    with pytest.raises(SelectorError, match="no regular expression"):
        parse_selector('{a=~"((((x{100}){100}){100}){100})"}')


def test_a_selector_of_a_megabyte_is_refused() -> None:
    with pytest.raises(SelectorError, match="at most"):
        parse_selector('{a="' + "x" * (1 << 20) + '"}')
