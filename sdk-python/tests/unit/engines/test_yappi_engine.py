"""Stacks out of a call graph: what is exact stays exact, whatever the graph."""

from __future__ import annotations

import random

import pytest

from flamewire.engines.yappi import Function, stacks_of
from flamewire.pprof import Frame


def function(name: str, self_ns: int, total_ns: int, **calls: int) -> Function:
    return Function(
        Frame(name, "a.py", 1, 1), self_ns, total_ns, {ord(key): value for key, value in calls.items()}
    )


def built(*functions: Function) -> dict[str, int]:
    """Build stacks of functions with names of one letter; returns "root;leaf" -> ns."""
    stacks = stacks_of({ord(each.frame.function): each for each in functions})
    return {";".join(frame.function for frame in reversed(stack)): value for stack, value in stacks.items()}


def test_one_caller_gives_the_true_stacks() -> None:
    assert built(function("m", 10, 100, a=60, b=30), function("a", 60, 60), function("b", 30, 30)) == {
        "m": 10,
        "m;a": 60,
        "m;b": 30,
    }


def test_a_shared_callee_is_shared_out_as_its_calls_cost() -> None:
    found = built(
        function("m", 0, 1000, a=700, b=300),
        function("a", 100, 700, c=600),
        function("b", 150, 300, c=150),
        function("c", 750, 750),
    )
    assert found == {"m;a": 100, "m;b": 150, "m;a;c": 600, "m;b;c": 150}


def test_recursion_ends_a_stack_and_loses_nothing() -> None:
    found = built(
        function("m", 0, 1000, a=1000), function("a", 600, 1000, a=500, b=400), function("b", 400, 400, a=200)
    )
    assert found == {"m;a": 600, "m;a;b": 400}


@pytest.mark.parametrize("seed", range(30))
def test_each_functions_own_time_is_exact_in_any_graph(seed: int) -> None:
    """Also in one that makes no sense, as yappi's do at the edges of a window."""
    chance = random.Random(seed)
    keys = range(1, 15)
    functions = {}
    for key in keys:
        self_ns = chance.randrange(1, 10**9)
        calls = {chance.choice(keys): chance.randrange(10**9) for _ in range(chance.randrange(4))}
        frame = Frame(f"f{key}", "a.py", key, key)
        functions[key] = Function(frame, self_ns, self_ns + sum(calls.values()), calls)
    own: dict[str, int] = {}
    for stack, value in stacks_of(functions).items():
        own[stack[0].function] = own.get(stack[0].function, 0) + value
    for each in functions.values():
        # Each way there is rounded to a nanosecond.
        assert own[each.frame.function] == pytest.approx(each.self_ns, abs=5000)
