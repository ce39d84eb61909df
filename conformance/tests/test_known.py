"""Lists of known failures cannot rot: what passes, matches nothing or covers too much is an error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from flamewire_conformance.cases import Suite
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.places import Places
from flamewire_conformance.runner import State, run_target
from flamewire_conformance.targets import Known, Target, read_target


@pytest.fixture
def target(root: Path) -> Target:
    return read_target(root / "broken" / "testee")


def state_of(target: Target, suite: Suite, case_id: str, out: Path) -> tuple[State, str]:
    cases = [case for case in suite.cases if case.id == case_id]
    (cell,) = run_target(target, cases, Places(suite.root, out, out), jobs=1).cells
    return cell.state, cell.reason


@pytest.mark.parametrize(
    ("line", "broken", "state"),
    [
        (Known("wire/gzip", "it does not compress", ""), "no-gzip", State.EXPECTED_FAIL),
        (
            Known("wire/gzip", "it does not compress", "Content-Encoding is None"),
            "no-gzip",
            State.EXPECTED_FAIL,
        ),
        (Known("wire/gzip", "it does not compress", "something else"), "no-gzip", State.FAIL),
        (Known("wire/gzip", "it does not compress", ""), "", State.UNEXPECTED_PASS),
        (Known("wire/gzip", "not always", "", unsettled=True), "", State.PASS),
        (Known("wire/gzip", "not always", "", unsettled=True), "no-gzip", State.EXPECTED_FAIL),
    ],
)
def test_listed_case(
    target: Target, suite: Suite, tmp_path: Path, line: Known, broken: str, state: State
) -> None:
    environ = (*target.environ, ("BROKEN", broken))
    listed = dataclasses.replace(target, known=(line,), environ=environ)
    assert state_of(listed, suite, "wire/gzip", tmp_path)[0] is state
    assert state.breaks_run == (state in (State.FAIL, State.UNEXPECTED_PASS))


@pytest.mark.parametrize("pattern", ["wire/no-such-case", "*"])
def test_line_that_covers_nothing_or_too_much_is_an_error(target: Target, suite: Suite, pattern: str) -> None:
    listed = dataclasses.replace(target, known=(Known(pattern, "a reason", ""),))
    with pytest.raises(SuiteError, match="covers"):
        listed.check_known(case.id for case in suite.cases)


def write_target(folder: Path, origin: str, known: str) -> Path:
    folder.mkdir()
    (folder / "target.toml").write_text(
        f'name = "{folder.name}"\nkind = "sdk"\nlanguage = "x"\norigin = "{origin}"\n'
        'run = ["x"]\nfeatures = ["cpu"]\n'
    )
    (folder / "known-failing.txt").write_text(known)
    return folder


def test_line_without_a_reason_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="reason"):
        read_target(write_target(tmp_path / "one", "official", "wire/gzip\n"))


def test_ours_may_not_fail_now_and_then(tmp_path: Path) -> None:
    line = "~wire/gzip  # not always\n"
    assert read_target(write_target(tmp_path / "theirs", "official", line)).known[0].unsettled
    with pytest.raises(SuiteError, match="now and then"):
        read_target(write_target(tmp_path / "ours", "ours", line))


def test_every_target_of_the_suite_is_sound(root: Path, suite: Suite) -> None:
    for path in sorted((root / "targets").glob("*/target.toml")):
        read_target(path.parent).check_known(case.id for case in suite.cases)
