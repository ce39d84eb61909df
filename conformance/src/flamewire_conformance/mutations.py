"""Mutations: edits of our own sources, each of which a case must notice; anchored by text, not by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.scenario import load_yaml
from flamewire_conformance.schema import Fields

__all__ = ["AT_LEAST", "PACKAGES", "Mutation", "Package", "check_areas", "read_mutations"]

AT_LEAST = 3
"""So many mutations has each area at least."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of ours that is mutated.

    Attributes:
        folder: where its sources are, below the tree.
        module: as it is imported.
        target: the target that judges it.
    """

    folder: str
    module: str
    target: str


PACKAGES = (
    Package("sdk-python", "flamewire", "python"),
    Package("server", "flamewire_server", "server"),
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One edit.

    Attributes:
        name: area/name, as its file.
        does: what the package does wrong with it, in one sentence.
        file: what is edited, below the tree.
        find: text that stands in the file exactly once.
        replace: what stands there instead.
        turns_red: ids of cases, of which at least one must fail.
    """

    name: str
    does: str
    file: str
    find: str
    replace: str
    turns_red: tuple[str, ...]

    @property
    def area(self) -> str:
        """The folder of its file."""
        return self.name.partition("/")[0]

    @property
    def package(self) -> Package:
        """Whose sources it edits."""
        return next(one for one in PACKAGES if self.file.startswith(f"{one.folder}/"))

    @property
    def is_native(self) -> bool:
        """Whether the package's native core has to be built anew for it."""
        return self.file.endswith((".c", ".h", ".rs"))

    def applied(self, tree: Path) -> str:
        """Return the text of the file with the edit.

        Raises:
            SuiteError: it no longer applies; the message says why.
        """
        path = tree / self.file
        fit = f"the mutation {self.name} no longer applies; fit it to the code, or replace it by another"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SuiteError(f"{fit}: {error}") from error
        if (times := text.count(self.find)) != 1:
            raise SuiteError(f"{fit}: {self.file} has its text {times} times, not once:\n{self.find}")
        return text.replace(self.find, self.replace)


def read_mutations(root: Path, case_ids: Iterable[str]) -> tuple[Mutation, ...]:
    """Read all mutations of a suite, sorted by name.

    Raises:
        SuiteError: one is wrong, or names a case that is not there.
    """
    folder, known = root / "mutations", set(case_ids)
    return tuple(
        _read(path.relative_to(folder).with_suffix("").as_posix(), path, known)
        for path in sorted(folder.glob("*/*.yaml"))
    )


def check_areas(mutations: Iterable[Mutation], areas: Iterable[str]) -> None:
    """Complain about areas with too few mutations.

    Raises:
        SuiteError: there is one.
    """
    names = [mutation.area for mutation in mutations]
    for area in sorted(set(areas)):
        if (count := names.count(area)) < AT_LEAST:
            raise SuiteError(f"the area {area} has {count} mutations; it must have {AT_LEAST} at least")


def _read(name: str, path: Path, known: set[str]) -> Mutation:
    where = f"mutations/{name}.yaml"
    fields = Fields(where, load_yaml(path))
    mutation = Mutation(
        name=name,
        does=fields.take("does", str),
        file=fields.take("file", str),
        find=fields.take("find", str),
        replace=fields.take("replace", str),
        turns_red=fields.texts("turns_red"),
    )
    fields.done()
    if not any(mutation.file.startswith(f"{one.folder}/") for one in PACKAGES):
        raise SuiteError(f"{where}: {mutation.file} is of none of {', '.join(p.folder for p in PACKAGES)}")
    if not mutation.find or mutation.find == mutation.replace:
        raise SuiteError(f"{where}: changes nothing")
    if unknown := set(mutation.turns_red) - known:
        raise SuiteError(f"{where}: there is no case {', '.join(sorted(unknown))}")
    if not any(case.startswith(f"{mutation.area}/") for case in mutation.turns_red):
        raise SuiteError(f"{where}: names no case of its area, {mutation.area}")
    return mutation
