"""Parse the command line and hand over to the verb."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from flamewire._version import __version__
from flamewire.config import SETTINGS, Resolved, resolve
from flamewire.errors import ConfigurationError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 well, 1 something is wrong, 2 the command line is."""
    parser = _parser()
    given = parser.parse_args(arguments)
    flags = {
        setting.environment_name: value
        for setting in SETTINGS
        if (value := getattr(given, setting.name, None)) is not None
    }
    environment = {**os.environ, **flags}
    try:
        resolved = resolve({}, environment, "")
        _refuse_bad_flags(resolved, flags)
    except ConfigurationError as error:
        print(f"flamewire: {error}", file=sys.stderr)
        return 2
    if given.verb == "doctor":
        from flamewire.cli.doctor import examine

        return examine(resolved, sys.stdout)
    from flamewire.cli.run import run

    command = ["-m", *given.module] if given.module else given.command
    if not command:
        parser.error(
            "run what? write: flamewire run app.py, flamewire run -m module, flamewire run gunicorn ..."
        )
    return run(command, environment)


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group(
        "options of the session", "as in the environment, which they outweigh; see the reference"
    )
    for setting in SETTINGS:
        flag = f"--{setting.name.replace('_', '-')}"
        group.add_argument(flag, dest=setting.name, metavar="VALUE", help=f"{setting.environment_name}")
    parser = argparse.ArgumentParser(prog="flamewire", description="Continuous profiling of Python programs.")
    parser.add_argument("--version", action="version", version=f"flamewire {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run", parents=[options], help="run a program with a session in it, without a change of its code"
    )
    run.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, as for python -m"
    )
    run.add_argument(
        "command", nargs=argparse.REMAINDER, help="a Python file, or a command, with its arguments"
    )
    verbs.add_parser(
        "doctor",
        parents=[options],
        help="say whether profiling works here, and what to mend where it does not",
    )
    return parser


def _refuse_bad_flags(resolved: Resolved, flags: Mapping[str, str]) -> None:
    """Raise for a flag that cannot be used; a bad variable of the environment only counts as absent."""
    for problem in resolved.problems:
        for setting in SETTINGS:
            if setting.environment_name in flags and problem.startswith(f"{setting.environment_name}="):
                flag = setting.name.replace("_", "-")
                raise ConfigurationError(f"--{flag}{problem.removeprefix(setting.environment_name)}")
