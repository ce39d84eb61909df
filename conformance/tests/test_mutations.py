"""Mutations apply to the sources as they are, and one that no case notices is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from flamewire_conformance.cases import Case, Suite, read_suite
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.mutant import caught_by, install_mutant, over
from flamewire_conformance.mutations import Mutation, check_areas, read_mutations
from flamewire_conformance.runner import Cell, State
from flamewire_conformance.targets import read_target

ROOT = Path(__file__).resolve().parent.parent
MUTATIONS = read_mutations(ROOT, [case.id for case in read_suite(ROOT).cases])
ONE = Mutation("wire/one", "It is wrong.", "server/src/flamewire_server/a.py", "1 + 1", "3", ("wire/gzip",))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_applies_to_the_sources(mutation: Mutation) -> None:
    text = mutation.applied(ROOT.parent)
    assert text != (ROOT.parent / mutation.file).read_text(encoding="utf-8")
    if mutation.file.endswith(".py"):
        compile(text, mutation.file, "exec")


def test_each_area_has_enough(suite: Suite) -> None:
    check_areas(MUTATIONS, [case.area for case in suite.cases])
    with pytest.raises(SuiteError, match="codec has 0"):
        check_areas([one for one in MUTATIONS if one.area != "codec"], ["wire", "codec"])


def write_sources(tree: Path, text: str) -> Path:
    """Write a package of one module below the tree; returns it as if it was installed there."""
    sources = tree / "server" / "src" / "flamewire_server"
    sources.mkdir(parents=True)
    (sources / "a.py").write_text(text)
    return sources


@pytest.mark.parametrize(("text", "times"), [("x = 1 + 2\n", 0), ("x = 1 + 1\ny = 1 + 1\n", 2)])
def test_mutation_that_no_longer_applies_says_so(tmp_path: Path, text: str, times: int) -> None:
    write_sources(tmp_path, text)
    with pytest.raises(SuiteError, match=rf"wire/one no longer applies.*\n?.* {times} times"):
        ONE.applied(tmp_path)


def test_mutation_of_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="wire/one no longer applies"):
        ONE.applied(tmp_path)


def test_mutant_is_a_copy(tmp_path: Path) -> None:
    sources = write_sources(tmp_path, "x = 1 + 1\n")
    overlay = install_mutant(ONE, tmp_path, sources, tmp_path / "work")
    assert (overlay / "flamewire_server" / "a.py").read_text() == "x = 3\n"
    assert (sources / "a.py").read_text() == "x = 1 + 1\n"


def test_mutant_of_other_sources_than_those_installed_is_an_error(tmp_path: Path) -> None:
    write_sources(tmp_path, "x = 1 + 1\n")
    installed = write_sources(tmp_path / "old", "x = 1 + 1  # before\n")
    with pytest.raises(SuiteError, match="install it anew"):
        install_mutant(ONE, tmp_path, installed, tmp_path / "work")


def test_mutant_is_imported_before_what_else_the_target_needs(tmp_path: Path) -> None:
    target = over(read_target(ROOT / "targets" / "python"), tmp_path)
    paths = dict(target.environ)["PYTHONPATH"].split(":")
    assert paths == [str(tmp_path), "{suite}/testees/python"]


@pytest.mark.parametrize(
    ("state", "fault", "caught"),
    [
        (State.FAIL, "the period is 5 ms", True),
        (State.PASS, "", False),
        (State.NOT_RUN, "", False),
        (State.UNSUPPORTED, "", False),
        (State.FAIL, "the testee failed: it ended with 1 and told no truth", False),
    ],
)
def test_only_a_case_that_judged_and_failed_has_noticed(
    suite: Suite, state: State, fault: str, caught: bool
) -> None:
    case: Case = suite.cases[0]
    cells = [Cell(case, state, (fault,) if fault else ())]
    assert caught_by(cells) == ([case.id] if caught else [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("turns_red: [wire/no-such-case]", "there is no case"),
        ("turns_red: [codec/strict]", "there is no case"),
        ("turns_red: [tags/scope]", "no case of its area"),
        ("turns_red: [wire/gzip]\nextra: 1", "knows no extra"),
    ],
)
def test_file_that_is_wrong_is_an_error(suite: Suite, tmp_path: Path, line: str, said: str) -> None:
    folder = tmp_path / "mutations" / "wire"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text(f"does: x\nfile: server/a.py\nfind: a\nreplace: b\n{line}\n")
    with pytest.raises(SuiteError, match=said):
        read_mutations(tmp_path, [case.id for case in suite.cases])
