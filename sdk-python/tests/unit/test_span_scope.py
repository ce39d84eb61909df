"""The span of a context: follows, ends, and stays apart from the tags around it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

native = pytest.importorskip("flamewire._native", reason="built without the native core")


@pytest.fixture(autouse=True)
def no_scope_is_left() -> Iterator[None]:
    yield
    assert native.scope_variable.get(None) is None


def span(number: int) -> object:
    return native.Scope({}, span_id=f"{number:016x}", span_name=f"span {number}")


def in_force() -> tuple[dict[str, str], str | None]:
    scope = native.scope_variable.get(None)
    return (scope.labels, scope.span.get("span_id")) if scope is not None else ({}, None)


def test_following_a_span_keeps_the_tags_and_returns_the_span_before() -> None:
    first, second = span(1), span(2)
    with native.tags(a=1):
        assert native.follow_span(first) is None
        assert in_force() == ({"a": "1"}, f"{1:016x}")
        with native.tags(b=2):
            assert native.follow_span(second) is first
            assert in_force() == ({"a": "1", "b": "2"}, f"{2:016x}")
            assert native.follow_span(first) is second
        assert in_force() == ({"a": "1"}, f"{1:016x}")
        assert native.follow_span(None) is first
        assert in_force() == ({"a": "1"}, None)


def test_tags_that_outlive_the_span_and_tags_that_it_outlives_are_taken_back() -> None:
    tags = native.tags(a=1)
    native.follow_span(span(1))
    tags.__enter__()
    native.follow_span(None)
    assert in_force() == ({"a": "1"}, None)
    tags.__exit__(None, None, None)
    assert in_force() == ({}, None)
    tags.__enter__()
    native.follow_span(span(2))
    tags.__exit__(None, None, None)
    assert in_force() == ({}, f"{2:016x}")
    native.follow_span(None)


def test_crossing_spans_and_tags_for_long_do_not_pile_up() -> None:
    one, tags = span(1), native.tags(a=1)
    for _ in range(10_000):
        native.follow_span(one)
        tags.__enter__()
        native.follow_span(None)
        tags.__exit__(None, None, None)
        assert native.scope_variable.get(None) is None or in_force() == ({}, None)
    native.follow_span(None)
    native.scope_variable.set(None)


def test_the_end_of_a_span_reaches_every_scope_that_has_it() -> None:
    one = span(1)
    native.follow_span(one)
    with native.tags(a=1):
        outer = native.scope_variable.get()
        one.end()
        assert in_force() == ({"a": "1"}, None)
        assert outer.ended
    native.follow_span(None)


def test_scopes_let_go_of_spans() -> None:
    one = span(1)
    before = sys.getrefcount(one)
    for _ in range(100):
        with native.tags(a=1):
            native.follow_span(one)
            native.follow_span(None)
    gc.collect()
    assert sys.getrefcount(one) == before


def test_a_function_runs_in_a_scope_and_leaves_nothing_behind() -> None:
    scope = native.Scope({"a": 1}, span_id=f"{1:016x}")

    def function(first: int, *, second: int) -> tuple[object, int, int]:
        native.tags(b=2).__enter__()  # left on purpose
        return in_force(), first, second

    with native.tags(c=3):
        found = native.run_in_scope(scope, function, 1, second=2)
        assert found == (({"a": "1", "b": "2"}, f"{1:016x}"), 1, 2)
        assert in_force() == ({"c": "3"}, None)
        with pytest.raises(ZeroDivisionError):
            native.run_in_scope(None, lambda: 1 / 0)
        assert in_force() == ({"c": "3"}, None)


def test_wrong_arguments_raise() -> None:
    with pytest.raises(TypeError):
        native.follow_span("span")
    with pytest.raises(TypeError):
        native.run_in_scope("scope", print)
    with pytest.raises(TypeError):
        native.run_in_scope(None)
