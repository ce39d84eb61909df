"""Scenarios: what a testee is told to do, and how the server behaves meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.schema import Fields
from flamewire_conformance.sink import Answer, read_script

__all__ = ["CONFIG_KEYS", "Scenario", "load_yaml", "read_scenarios"]

CONFIG_KEYS = frozenset(
    {
        "server_url", "service_name", "sample_rate_hz", "upload_interval_s", "tags", "profile_types",
        "basic_auth_user", "basic_auth_password", "auth_token", "tenant_id", "http_headers", "timeout_s",
        "enabled", "shutdown_timeout_s", "transport",
    }
)  # fmt: skip
"""The options that a testee has to know, by their names in protocol/spec/options.yaml."""

_STEPS: Mapping[str, tuple[dict[str, type], frozenset[str]]] = {
    "busy": ({"function": str, "cpu_ms": int}, frozenset({"native"})),
    "sleep": ({"ms": int}, frozenset()),
    "recurse": ({"depth": int, "steps": list}, frozenset()),
    "thread": ({"name": str, "steps": list}, frozenset()),
    "tasks": ({"lists": list}, frozenset()),
    "tag": ({"key": str, "value": object, "steps": list}, frozenset()),
    "span": ({"name": str, "steps": list}, frozenset({"unsampled"})),
    "fork": ({"steps": list}, frozenset()),
    "repeat": ({"times": int, "steps": list}, frozenset()),
    "session": ({"action": str}, frozenset()),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run of a testee.

    Attributes:
        config: options, beside server_url and service_name, which the runner adds.
        base_path: stands behind the sink's address in server_url.
        refused: nobody listens at server_url.
        competitors: busy processes that share one processor with the testee; 0 leaves it alone.
        finish: "stop" ends the session and the process; "exit" only ends the process; "sigterm" waits for it.
        deadline_s: of the whole run.
    """

    name: str
    config: Mapping[str, Any]
    workload: tuple[Any, ...]
    script: tuple[Answer, ...]
    base_path: str
    refused: bool
    competitors: int
    finish: str
    deadline_s: int


def load_yaml(path: Path) -> object:
    """Read one YAML file.

    Raises:
        SuiteError: it cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SuiteError(f"{path}: {error}") from error


def read_scenarios(folder: Path) -> dict[str, Scenario]:
    """Read all scenarios, by name.

    Raises:
        SuiteError: one of them is wrong.
    """
    return {path.stem: _read(path.stem, load_yaml(path)) for path in sorted(folder.glob("*.yaml"))}


def _read(name: str, value: object) -> Scenario:
    where = f"scenarios/{name}.yaml"
    fields = Fields(where, value)
    fields.take("why", str)
    config = fields.take("config", dict, {})
    if unknown := config.keys() - CONFIG_KEYS:
        raise SuiteError(f"{where}: config knows no {', '.join(sorted(unknown))}")
    workload = fields.take("workload", list)
    _check_steps(f"{where}: workload", workload)
    scenario = Scenario(
        name=name,
        config=config,
        workload=tuple(workload),
        script=read_script(where, fields.take("server", list, [])),
        base_path=fields.take("base_path", str, ""),
        refused=fields.take("refused", bool, False),
        competitors=fields.take("competitors", int, 0),
        finish=fields.choice("finish", ("stop", "exit", "sigterm"), "stop"),
        deadline_s=fields.take("deadline_s", int, 60),
    )
    fields.done()
    json.dumps(workload)  # what cannot be sent must not be here
    return scenario


def _check_steps(where: str, steps: list[Any]) -> None:
    for index, step in enumerate(steps):
        here = f"{where}[{index}]"
        if not isinstance(step, dict) or len(step) != 1:
            raise SuiteError(f"{here}: a step is a mapping with one verb")
        ((verb, arguments),) = step.items()
        if verb not in _STEPS:
            raise SuiteError(f"{here}: knows no verb {verb}; known are {', '.join(_STEPS)}")
        needed, optional = _STEPS[verb]
        fields = Fields(f"{here}.{verb}", arguments)
        for name, kind in needed.items():
            value: object = fields.take(name, kind)
            if name == "steps":
                _check_steps(f"{here}.{verb}", list(arguments["steps"]))
            elif name == "lists":
                for one in arguments["lists"]:
                    _check_steps(f"{here}.{verb}", one)
            elif verb == "session" and value not in ("stop", "start", "flush"):
                raise SuiteError(f"{here}: a session's action is stop, start or flush")
        for name in optional:
            fields.take(name, bool, False)
        fields.done()
