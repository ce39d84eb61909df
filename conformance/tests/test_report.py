"""Reports: merged by commit, dated, and without a not-run that looks like a pass."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from flamewire_conformance.broken import break_target
from flamewire_conformance.cases import Suite, sentences
from flamewire_conformance.cli import main
from flamewire_conformance.coverage import coverage_of, coverage_text
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.places import Places
from flamewire_conformance.report import markdown, matrix, merge, without_alien_cases
from flamewire_conformance.runner import run_target
from flamewire_conformance.targets import read_target

WANTED = ("wire/gzip", "wire/user-agent", "profile/sample-type")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def data(suite: Suite, root: Path, out: Path) -> dict[str, Any]:
    """A matrix of a testee with a fault, and of a target that cannot be built."""
    target = break_target(read_target(root / "broken" / "testee"), "no-gzip")
    cases = [case for case in suite.cases if case.id in WANTED]
    places = Places(suite.root, out / "state", out)
    result = run_target(target, cases, places, jobs=1)
    absent = dataclasses.replace(target, name="absent", needs=("no-such-program",))
    found = matrix([result, run_target(absent, cases, places, jobs=1)])
    (out / "matrix.json").write_text(json.dumps(found))
    return found


def states(data: dict[str, Any], target: str) -> dict[str, str]:
    return {case_id: cell["state"] for case_id, cell in data["targets"][target]["cells"].items()}


def test_matrix_tells_states_dates_and_who_it_was(data: dict[str, Any]) -> None:
    assert states(data, "testee") == {
        "wire/gzip": "fail", "wire/user-agent": "pass", "profile/sample-type": "pass",
    }  # fmt: skip
    assert set(states(data, "absent").values()) == {"not-run"}
    target = data["targets"]["testee"]
    assert (target["sdk"], len(target["date"])) == ("simulated 1", 10)


def test_not_run_never_looks_like_a_pass(data: dict[str, Any]) -> None:
    lines = markdown(data).splitlines()
    (overview,) = [line for line in lines if line.startswith("| absent |")]
    assert overview.split(" | ")[3:7] == ["0", "0", "0", "3"]
    (row,) = [line for line in lines if line.startswith("| user-agent |")]
    assert row.split(" | ")[3:] == ["pass", "not run |"]


def test_case_that_a_target_did_not_get_to_is_not_run(data: dict[str, Any]) -> None:
    part = copy.deepcopy(data)
    del part["targets"]["testee"]["cells"]["wire/user-agent"]
    (row,) = [line for line in markdown(part).splitlines() if line.startswith("| user-agent |")]
    assert row.split(" | ")[3] == "not run"


def test_merge_keeps_the_last_result_of_a_target(data: dict[str, Any]) -> None:
    later = copy.deepcopy(data)
    later["targets"] = {"testee": {**later["targets"]["testee"], "date": "2099-01-01"}}
    merged = merge([data, later])
    assert list(merged["targets"]) == ["testee", "absent"]
    assert merged["targets"]["testee"]["date"] == "2099-01-01"


@pytest.mark.parametrize("what", ["commit", "suite"])
def test_results_of_different_commits_or_suites_do_not_mix(data: dict[str, Any], what: str) -> None:
    with pytest.raises(SuiteError, match=what):
        merge([data, {**data, what: "another"}])


def test_cases_that_are_gone_are_left_out(data: dict[str, Any], suite: Suite) -> None:
    old = copy.deepcopy(data)
    old["cases"]["wire/gone"] = old["cases"]["wire/gzip"]
    old["targets"]["testee"]["cells"]["wire/gone"] = {"state": "pass", "faults": [], "reason": ""}
    assert without_alien_cases(old, suite) == data


def test_page_leads_from_a_failure_to_its_requests_and_profiles(
    data: dict[str, Any], out: Path, root: Path, tmp_path: Path
) -> None:
    folders = ["--suite", str(root), "--spec", str(root.parent / "protocol" / "spec")]
    pages = ["--to", str(tmp_path / "page.md"), "--html", str(tmp_path / "page.html")]
    assert main([*folders, "report", str(out / "matrix.json"), *pages]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "href='#testee-wire-gzip'" in page
    assert "id='testee-wire-gzip'" in page
    assert all(name in page for name in ("request-0.body", "profile-0.folded", "stderr.txt", "truth.json"))
    assert "MUST sentences" in (tmp_path / "page.md").read_text()


def test_sentence_without_a_case_is_told(suite: Suite, root: Path) -> None:
    unproved, allowed = f"ING-{999}", f"ING-{998}"  # numbers that the check of the specification must not see
    known = {**sentences(root.parent / "protocol" / "spec"), unproved: "MUST", allowed: "MAY"}
    found = coverage_of(known, suite.cases, {case.id for case in suite.cases})
    assert unproved in found.without
    assert allowed in found.others_without
    assert unproved in coverage_text(found)
    assert coverage_of({"ING-001": "MUST"}, suite.cases, set()).unproven == ("ING-001",)
