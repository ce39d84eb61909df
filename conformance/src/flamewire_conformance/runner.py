"""Runs targets: each scenario once, in a process and with a sink of its own; judges cases by what it left."""

from __future__ import annotations

import enum
import hashlib
import json
import os
import shutil
import subprocess
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flamewire_conformance.capture import write_request
from flamewire_conformance.cases import Case
from flamewire_conformance.checks.registry import judge
from flamewire_conformance.errors import FlamewireError, SuiteError, TesteeError
from flamewire_conformance.evidence import Evidence, gather
from flamewire_conformance.places import Places
from flamewire_conformance.scenario import Scenario
from flamewire_conformance.server.run import ServerOutcome, play, server_version, serving
from flamewire_conformance.sink import Sink
from flamewire_conformance.targets import Target
from flamewire_conformance.testee import run_testee

__all__ = ["Cell", "State", "TargetResult", "build", "default_jobs", "run_target"]

_BUILD_DEADLINE_S = 600

Outcome = Evidence | ServerOutcome | FlamewireError


class State(enum.StrEnum):
    """What became of a case on a target. Only PASS looks like a pass."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    EXPECTED_FAIL = "expected-fail"
    UNEXPECTED_PASS = "unexpected-pass"  # noqa: S105
    UNSUPPORTED = "unsupported"
    NOT_RUN = "not-run"

    @property
    def breaks_run(self) -> bool:
        """Tell whether a run with such a cell has failed."""
        return self in (State.FAIL, State.UNEXPECTED_PASS)


@dataclass(frozen=True, slots=True)
class Cell:
    """A case on a target."""

    case: Case
    state: State
    faults: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """All cells of a target, and what its testee said of itself."""

    target: Target
    cells: tuple[Cell, ...]
    sdk: str = ""
    runtime: str = ""


def build(target: Target, places: Places) -> str:
    """Make a target ready, unless it is; returns why it cannot be run, empty where it can."""
    if missing := [program for program in target.needs if shutil.which(program) is None]:
        return f"{', '.join(missing)} is not on this machine"
    if not target.build:
        return ""
    total = hashlib.sha256(places.python.encode())
    for path in sorted(path for path in target.folder.rglob("*") if path.is_file()):
        total.update(path.name.encode() + path.read_bytes())
    stamp = places.state / f"{target.name}.stamp"
    if stamp.exists() and stamp.read_text() == total.hexdigest():
        return ""
    places.state.mkdir(parents=True, exist_ok=True)
    for command in target.build:
        filled = [places.fill(part, target) for part in command]
        done = subprocess.run(
            filled, cwd=target.folder, capture_output=True, text=True, timeout=_BUILD_DEADLINE_S, check=False
        )
        if done.returncode:
            return f"`{' '.join(filled)}` failed: {done.stderr.strip()[-300:]}"
    stamp.write_text(total.hexdigest())
    return ""


def run_target(
    target: Target,
    cases: Sequence[Case],
    places: Places,
    *,
    jobs: int,
    told: Callable[[Cell], None] = lambda _: None,
) -> TargetResult:
    """Run cases on a target and judge them.

    Args:
        jobs: scenarios at one time; those with competitors run alone, after the others.
        told: is given each cell as soon as it is known, on the calling thread.
    """
    if why := build(target, places):
        return TargetResult(target, tuple(Cell(case, State.NOT_RUN, reason=why) for case in cases))
    cases = [case for case in cases if case.kind == target.kind]
    cells = {
        case.id: Cell(case, State.UNSUPPORTED, reason=f"does not declare {', '.join(lacking)}")
        for case in cases
        if (lacking := sorted(set(case.needs) - target.features))
    }
    runnable = [case for case in cases if case.id not in cells]
    if target.kind == "server":
        return _run_server(target, cases, runnable, cells, places, told)
    return _run_sdk(target, cases, runnable, cells, places, jobs, told)


def _run_server(
    target: Target,
    cases: Sequence[Case],
    runnable: Sequence[Case],
    cells: dict[str, Cell],
    places: Places,
    told: Callable[[Cell], None],
) -> TargetResult:
    version = ""
    try:
        with serving(target, places) as url:
            for case in runnable:
                outcome = play(case, url, dict(target.headers))
                cells[case.id] = _cell(target, case, outcome)
                _keep(target, cells[case.id], outcome, places)
                told(cells[case.id])
            version = server_version(url, dict(target.headers))
    except TesteeError as error:
        for case in runnable:
            cells.setdefault(case.id, Cell(case, State.NOT_RUN, reason=str(error)))
    return TargetResult(target, tuple(cells[case.id] for case in cases), version)


def _run_sdk(
    target: Target,
    cases: Sequence[Case],
    runnable: Sequence[Case],
    cells: dict[str, Cell],
    places: Places,
    jobs: int,
    told: Callable[[Cell], None],
) -> TargetResult:
    wanted: dict[str, tuple[Scenario, list[Case]]] = {}
    for case in runnable:
        if case.scenario is not None:
            wanted.setdefault(case.scenario.name, (case.scenario, []))[1].append(case)
    sdk = runtime = ""
    crowded = [group for group in wanted.values() if group[0].competitors]
    quiet = [group for group in wanted.values() if not group[0].competitors]
    with ThreadPoolExecutor(jobs) as many, ThreadPoolExecutor(1) as alone:
        for pool, groups in ((many, quiet), (alone, crowded)):
            # Longest first, so that none is left to run alone at the end.
            groups.sort(key=lambda group: -_cpu_ms(group[0]))
            outcomes = pool.map(lambda group: _play(target, group[0], places), groups)
            for (_, group), outcome in zip(groups, outcomes, strict=True):
                if isinstance(outcome, Evidence) and outcome.story.ready:
                    ready = outcome.story.ready
                    sdk = f"{ready.get('sdk', '')} {ready.get('sdk_version', '')}".strip()
                    runtime = str(outcome.story.ready.get("runtime", ""))
                for case in group:
                    cells[case.id] = _cell(target, case, outcome)
                    _keep(target, cells[case.id], outcome, places)
                    told(cells[case.id])
    return TargetResult(target, tuple(cells[case.id] for case in cases), sdk, runtime)


def _cpu_ms(scenario: Scenario) -> int:
    text = json.dumps(scenario.workload)
    return sum(int(part.split("}")[0].split(",")[0]) for part in text.split('"cpu_ms": ')[1:])


def _play(target: Target, scenario: Scenario, places: Places) -> Evidence | FlamewireError:
    logs = places.out / "logs" / target.name
    logs.mkdir(parents=True, exist_ok=True)
    sink = Sink(scenario.script)
    environ = {name: places.fill(value, target) for name, value in target.environ}
    command = [places.fill(part, target) for part in target.run]
    try:
        with sink.serving():
            # Port 1 belongs to nobody: a connection to it is refused at once.
            url = ("http://127.0.0.1:1" if scenario.refused else sink.url) + scenario.base_path
            log = logs / f"{scenario.name}.stderr"
            story = run_testee(command, environ, target.folder, scenario, url, log)
        return gather(story, list(sink.requests), sink.port, target.frame)
    except (FlamewireError, OSError) as error:
        return error if isinstance(error, FlamewireError) else TesteeError(str(error))


def _cell(target: Target, case: Case, outcome: Outcome) -> Cell:
    if isinstance(outcome, FlamewireError):
        faults = [f"the testee failed: {outcome}"]
    elif isinstance(outcome, ServerOutcome):
        faults = outcome.faults
    elif outcome.story.unsupported is not None:
        faults = [f"declares what its testee does not support: {outcome.story.unsupported}"]
    else:
        try:
            faults = judge(outcome, case.expect)
        except (KeyError, TypeError, ValueError) as error:
            where = traceback.extract_tb(error.__traceback__)[-1].name
            raise SuiteError(f"{case.id}: the check {where} cannot use its argument: {error!r}") from error
    known = target.known_for(case.id)
    if not faults:
        if known is None:
            return Cell(case, State.PASS)
        state = State.PASS if known.unsettled else State.UNEXPECTED_PASS
        return Cell(case, state, reason=known.reason)
    if known is not None and any(fault.startswith(known.message) for fault in faults):
        return Cell(case, State.EXPECTED_FAIL, tuple(faults), known.reason)
    reason = f"fails otherwise than known: {known.message}" if known is not None else ""
    return Cell(case, State.FAIL, tuple(faults), reason)


def _keep(target: Target, cell: Cell, outcome: Outcome, places: Places) -> None:
    """Write what explains a failure: raw requests, decoded profiles, what the testee said."""
    if not cell.faults:
        return
    folder = places.out / "failures" / target.name / cell.case.id.replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "faults.txt").write_text("\n".join(cell.faults) + "\n", encoding="utf-8", errors="replace")
    source = cell.case.scenario.name if cell.case.scenario else "server"
    log = places.out / "logs" / target.name / f"{source}.stderr"
    if log.exists():
        shutil.copyfile(log, folder / "stderr.txt")
    if isinstance(outcome, ServerOutcome):
        outcome.keep(folder)
    if not isinstance(outcome, Evidence):
        return
    for number, request in enumerate(outcome.requests):
        write_request(folder, number, request)
    for number, upload in enumerate(outcome.attempts):
        lines = [f"# {dict(upload.labels)} id={upload.profile_id} types={upload.profile.sample_types}"]
        for sample in upload.profile.samples:
            stack = ";".join(frame.function for frame in reversed(sample.stack))
            lines.append(f"{stack} {' '.join(map(str, sample.values))} {dict(sample.labels) or ''}".rstrip())
        text = "\n".join(lines) + "\n"
        (folder / f"profile-{number}.folded").write_text(text, encoding="utf-8", errors="replace")
    truth: list[Mapping[str, object]] = [
        {"function": step.function, "thread": step.thread, "cpu_ns": step.cpu_ns, "tags": dict(step.tags)}
        for step in outcome.story.steps
    ]
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def default_jobs() -> int:
    """Return how many scenarios run at one time unless the caller says: one a processor, two at most."""
    return min(2, len(os.sched_getaffinity(0)))
