"""What the reader makes of spans: their names of now, and a bound to their number."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator

import pytest
from sdk_support.pprof_reader import read_profile

from flamewire import _native

DEADLINE_S = 60.0


@pytest.fixture
def bounded() -> Iterator[None]:
    """A sampler whose windows hold four ids of spans."""
    _native.start(2_000_000, 16, None, 0, 4)
    yield
    _native.stop()


def sampled_in(scope: _native.Scope) -> None:
    """Burn in the scope until at least two samples were taken in it."""
    token = _native.scope_variable.set(scope)
    try:
        _native.poll()
        wanted = _native.stats()["samples_gathered"] + 2
        deadline_s = time.monotonic() + DEADLINE_S
        while _native.stats()["samples_gathered"] < wanted:
            assert time.monotonic() < deadline_s
            sum(range(5000))
            _native.poll()
    finally:
        _native.scope_variable.reset(token)


def taken_spans() -> set[tuple[tuple[str, str], ...]]:
    window = _native.take_window()
    assert window is not None
    return {tuple(sorted(sample.labels.items())) for sample in read_profile(window[0]).samples}


def test_beyond_the_bound_the_child_goes_first_and_is_counted(bounded: None) -> None:
    roots = [_native.Scope({"n": 1}, span_id=f"{number:016x}", span_name="r") for number in range(1, 5)]
    children = [
        _native.Scope({}, span_id=f"{1:016x}", child_span_id=f"{number:016x}", span_name="r", root=roots[0])
        for number in (0xA, 0xB)
    ]
    for scope in (roots[0], *children, *roots[1:3], roots[0]):
        sampled_in(scope)
    stats = _native.stats()
    assert stats["without_child_span"] >= 2
    assert stats["without_span"] == 0
    of_first = (("span_id", f"{1:016x}"), ("span_name", "r"))
    spans = taken_spans()
    assert (("child_span_id", f"{0xA:016x}"), *of_first) in spans
    assert of_first in spans, "the second child's samples keep their root"
    assert {dict(labels).get("span_id") for labels in spans} >= {f"{number:016x}" for number in (1, 2, 3)}
    assert not any(("child_span_id", f"{0xB:016x}") in labels for labels in spans)

    sampled_in(children[1])
    assert (("child_span_id", f"{0xB:016x}"), *of_first) in taken_spans(), "each window has its own bound"


def test_beyond_the_bound_further_roots_keep_their_tags_only(bounded: None) -> None:
    roots = [_native.Scope({"n": number}, span_id=f"{number:016x}", span_name="r") for number in range(1, 6)]
    for scope in roots:
        sampled_in(scope)
    assert _native.stats()["without_span"] >= 2
    spans = taken_spans()
    assert (("n", "5"),) in spans
    assert {dict(labels)["n"] for labels in spans if "span_id" in dict(labels)} == {"1", "2", "3", "4"}


def test_a_rename_reaches_every_context_that_the_span_is_current_in(sampler: None) -> None:
    root = _native.Scope({}, span_id="1" * 16, span_name="before")
    child = _native.Scope({}, span_id="1" * 16, child_span_id="2" * 16, span_name="before", root=root)

    def labels() -> dict[str, str]:
        return _native.capture()[0][1]

    contexts = {scope: contextvars.copy_context() for scope in (root, child)}
    for scope, context in contexts.items():
        context.run(_native.scope_variable.set, scope)
    for name in ("after", "at last", "größer \udc80"):
        root.rename(name)
        expected = name.replace("\udc80", "?")
        for scope, context in contexts.items():
            assert context.run(labels)["span_name"] == expected
            assert scope.span["span_name"] == expected

    def within_tags() -> dict[str, str]:
        with _native.tags(route="/cart"):
            root.rename("within")
            return labels()

    assert contexts[child].run(within_tags) == {
        "route": "/cart",
        "span_id": "1" * 16,
        "child_span_id": "2" * 16,
        "span_name": "within",
    }
    root.end()
    assert contexts[root].run(labels) == {}
    assert contexts[child].run(labels)["span_name"] == "within"


def test_samples_of_spans_that_are_gone_are_read_all_the_same(sampler: None) -> None:
    """Their labels, names and roots outlive them until the rings have been read."""
    for number in range(300):
        root = _native.Scope({}, span_id=f"{number:016x}", span_name="before")
        child = _native.Scope({}, span_id=f"{number:016x}", child_span_id="f" * 16, root=root, span_name="b")
        token = _native.scope_variable.set(child)
        end_s = time.thread_time() + 0.001
        while time.thread_time() < end_s:
            root.rename(f"name {number}")
        _native.scope_variable.reset(token)
        del root, child, token
        if number % 7 == 0:
            _native.poll()
    window = _native.take_window()
    assert window is not None
    named = [sample.labels for sample in read_profile(window[0]).samples if "span_id" in sample.labels]
    assert named
    for labels in named:
        assert labels["span_name"] in (f"name {int(labels['span_id'], 16)}", "before", "b")
