"""Targets: what is tested, how it is built and run, what it declares, and what it is known to fail."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flamewire_conformance.cases import FEATURES
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.schema import Fields

__all__ = ["BROAD", "Known", "Target", "endpoint", "read_target"]

BROAD = 20
"""A pattern of known failures that covers more cases than this hides what it should tell."""


@dataclass(frozen=True, slots=True)
class Known:
    """One line of known-failing.txt: ``pattern  # reason  | beginning of the message``.

    Attributes:
        unsettled: the line begins with ``~``: the case fails or passes by what else the machine does.
    """

    pattern: str
    reason: str
    message: str
    unsettled: bool = False

    def covers(self, case_id: str) -> bool:
        """Tell whether the line speaks of the case."""
        return fnmatch.fnmatchcase(case_id, self.pattern)


@dataclass(frozen=True, slots=True)
class Target:
    """One implementation.

    Attributes:
        build: commands that make it ready; run once as long as its folder does not change.
        run: the command of its testee. ``{suite}``, ``{here}``, ``{env}`` and ``{python}`` are replaced.
        needs: programs without which it cannot run.
        frame: how a function of the workload is named in its profiles, with ``{fn}``, ``*`` for anything.
        features: those that it declares.
        kind: "sdk" or "server".
        url: of a server that runs already; empty where `run` starts one.
        ready: a pattern in what a started server writes, with its address as the one group.
        headers: of every request to a server.
    """

    name: str
    folder: Path
    language: str
    origin: str
    build: tuple[tuple[str, ...], ...]
    run: tuple[str, ...]
    environ: tuple[tuple[str, str], ...]
    needs: tuple[str, ...]
    frame: str
    features: frozenset[str]
    known: tuple[Known, ...]
    kind: str = "sdk"
    url: str = ""
    ready: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def known_for(self, case_id: str) -> Known | None:
        """Return the line that covers a case."""
        return next((line for line in self.known if line.covers(case_id)), None)

    def check_known(self, case_ids: Iterable[str]) -> None:
        """Complain about lines that cover nothing or too much.

        Raises:
            SuiteError: there is one.
        """
        ids = list(case_ids)
        for line in self.known:
            covered = sum(line.covers(one) for one in ids)
            if not covered or covered > BROAD:
                raise SuiteError(
                    f"{self.folder.name}/known-failing.txt: {line.pattern} covers {covered} cases;"
                    f" it must be at least 1 and at most {BROAD}"
                )


def read_target(folder: Path) -> Target:
    """Read one target.

    Raises:
        SuiteError: its files are wrong.
    """
    path = folder / "target.toml"
    where = f"targets/{folder.name}/target.toml"
    try:
        fields = Fields(where, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{where}: {error}") from error
    if (name := fields.take("name", str)) != folder.name:
        raise SuiteError(f"{where}: its name is {name}")
    kind = fields.choice("kind", ("sdk", "server"))
    features = fields.texts("features")
    if unknown := set(features) - FEATURES:
        raise SuiteError(f"{where}: knows no feature {', '.join(sorted(unknown))}")
    target = Target(
        name=name,
        folder=folder,
        language=fields.take("language", str),
        origin=fields.choice("origin", ("ours", "official")),
        build=tuple(tuple(command) for command in fields.take("build", list, [])),
        run=fields.texts("run"),
        environ=tuple((str(k), str(v)) for k, v in fields.take("environ", dict, {}).items()),
        needs=fields.texts("needs", ()),
        frame=fields.take("frame", str, "{fn}"),
        features=frozenset(features),
        known=_read_known(folder / "known-failing.txt"),
        kind=kind,
        ready=fields.take("ready", str, ""),
    )
    fields.done()
    if target.origin == "ours" and any(line.unsettled for line in target.known):
        raise SuiteError(f"{where}: only others' implementations may fail now and then")
    return target


def endpoint(url: str, headers: Mapping[str, str]) -> Target:
    """Return a target for a server that runs already."""
    features = frozenset(feature for feature in FEATURES if feature.startswith("server."))
    return Target(
        name="endpoint", folder=Path.cwd(), language="", origin="official", build=(), run=(), environ=(),
        needs=(), frame="{fn}", features=features, known=(), kind="server", url=url.rstrip("/"),
        headers=tuple(headers.items()),
    )  # fmt: skip


def _read_known(path: Path) -> tuple[Known, ...]:
    if not path.exists():
        return ()
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, _, rest = line.partition("#")
        reason, _, message = rest.partition("|")
        if not pattern.strip() or not reason.strip():
            raise SuiteError(f"{path}:{number}: write `pattern  # reason  | beginning of the message`")
        unsettled = pattern.startswith("~")
        found.append(Known(pattern.lstrip("~").strip(), reason.strip(), message.strip(), unsettled))
    return tuple(found)
