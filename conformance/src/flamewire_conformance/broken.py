"""Implementations that are broken on purpose: which faults there are, and which cases must fail on each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.scenario import load_yaml
from flamewire_conformance.schema import Fields
from flamewire_conformance.targets import Target

__all__ = ["Fault", "break_target", "read_faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        does: what the implementation does wrong, in one sentence.
        turns_red: ids of cases that fail on it.
    """

    name: str
    does: str
    turns_red: tuple[str, ...]


def read_faults(path: Path, case_ids: Iterable[str]) -> Mapping[str, Fault]:
    """Read a table of faults.

    Raises:
        SuiteError: it is wrong, or names a case that is not there.
    """
    known = set(case_ids)
    table = Fields(path.name, load_yaml(path))
    found = {}
    for name in table.names():
        fields = Fields(f"{path.name}: {name}", table.take(name, dict))
        fault = Fault(name, fields.take("does", str), fields.texts("turns_red"))
        fields.done()
        if unknown := set(fault.turns_red) - known:
            raise SuiteError(f"{fields.where}: there is no case {', '.join(sorted(unknown))}")
        found[name] = fault
    return found


def break_target(target: Target, fault: str, **environ: str) -> Target:
    """Return the target with a fault; the empty one is none."""
    added = {**dict(target.environ), "BROKEN": fault, **environ}
    return dataclasses.replace(target, environ=tuple(added.items()))
