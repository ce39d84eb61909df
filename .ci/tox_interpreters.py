"""Let tox find the interpreters that nox finds: the same links, put first on PATH before tox looks."""

from __future__ import annotations

import os
import re

import interpreters
from tox.config.sets import ConfigSet
from tox.plugin import impl
from tox.session.state import State


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Link the interpreters that env_list names, once per call of tox."""
    links = core_conf["tox_root"] / ".nox" / "interpreters"
    for version in filter(re.compile(r"3\.\d+").fullmatch, core_conf["env_list"]):
        interpreters.link(version, links)
    os.environ["PATH"] = f"{links}{os.pathsep}{os.environ.get('PATH', '')}"
