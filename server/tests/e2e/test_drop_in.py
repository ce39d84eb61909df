"""The drop-in has all that pyroscope-io has, by the same names, in the same order, with the same defaults."""

from __future__ import annotations

import inspect
from types import ModuleType

import pyroscope

from flamewire.compat import pyroscope as ours


def surface(module: ModuleType) -> dict[str, object]:
    """Return what a user may call: no modules, and nothing that is only imported."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "contextmanager"
    }


def members(choice: object) -> set[str]:
    return {name for name in dir(choice) if not name.startswith("_") and name[0].isupper()}


def test_every_name_of_the_original_is_there() -> None:
    assert surface(pyroscope).keys() <= surface(ours).keys()
    for name in ("LineNo", "ProfilerImplementation"):
        assert members(getattr(pyroscope, name)) <= members(getattr(ours, name))


def test_every_call_takes_the_same_arguments() -> None:
    for name, value in surface(pyroscope).items():
        if not inspect.isfunction(value):
            continue
        theirs, mine = inspect.signature(value).parameters, inspect.signature(getattr(ours, name)).parameters
        assert [*theirs] == [*mine], name
        for parameter in theirs.values():
            default = mine[parameter.name].default
            is_choice = isinstance(default, (ours.LineNo, ours.ProfilerImplementation))
            assert is_choice or default == parameter.default, f"{name}({parameter.name})"
            assert mine[parameter.name].kind == parameter.kind
