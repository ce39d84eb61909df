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
    if given.verb == "view":
        from flamewire.cli.view import show

        return show(given.source, given.html, given.type)
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
    if given.verb in ("query", "top"):
        from flamewire.cli import query, top

        ask = query.query if given.verb == "query" else top.top
        return ask(given, resolved.options)
    if given.verb == "attach":
        from flamewire.cli.attach import attach

        return attach(given.pid, environment, given.duration_s)
    return _start_program(parser, given, environment)


def _start_program(
    parser: argparse.ArgumentParser, given: argparse.Namespace, environment: Mapping[str, str]
) -> int:
    command = ["-m", *given.module] if given.module else given.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        verb = given.verb
        parser.error(
            f"{verb} what? write: flamewire {verb} app.py, flamewire {verb} -m module,"
            f" flamewire {verb} gunicorn ..."
        )
    if given.verb == "record":
        from flamewire.cli.record import record

        return record(command, environment, given.output, given.record_engine, given.duration_s)
    from flamewire.cli.run import run

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
    _add_program(run)
    record = verbs.add_parser("record", help="profile a program from start to end into a file; sends nothing")
    record.add_argument(
        "-o", "--output", default="profile.pb.gz", metavar="FILE",
        help="ends in .pb.gz (pprof, the default), .folded or .html",
    )  # fmt: skip
    record.add_argument(
        "--engine", dest="record_engine", choices=("auto", "native", "python", "yappi"), default="auto",
        help="yappi measures every call, and slows the program; the others sample it",
    )  # fmt: skip
    record.add_argument("--sample-rate-hz", metavar="HZ", help="samples per second of CPU time; default 100")
    record.add_argument("--duration-s", type=_seconds, metavar="S", help="profile only the first seconds")
    _add_program(record)
    attach = verbs.add_parser(
        "attach", parents=[options], help="profile a process that runs, from outside, with py-spy"
    )
    attach.add_argument("pid", type=int, metavar="PID", help="the process")
    attach.add_argument("--duration-s", type=_seconds, metavar="S", help="default: until it ends, or Ctrl-C")
    view = verbs.add_parser("view", help="show a profile: pprof or folded stacks, from a file or an address")
    view.add_argument(
        "source", metavar="FILE|URL", help="a file, - for the standard input, or an http address"
    )
    view.add_argument("--html", metavar="FILE", help="write a page that needs nothing else, instead of text")
    view.add_argument("--type", metavar="TYPE", help="which sample type of a pprof, for example cpu")
    _add_queries(verbs, options)
    verbs.add_parser(
        "doctor",
        parents=[options],
        help="say whether profiling works here, and what to mend where it does not",
    )
    return parser


def _add_queries(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], options: argparse.ArgumentParser
) -> None:
    from flamewire.cli import query, top

    query.add_arguments(
        verbs.add_parser("query", parents=[options], help="ask a server: functions, trees, files, changes")
    )
    top.add_arguments(
        verbs.add_parser("top", parents=[options], help="the functions that cost most right now, on a server")
    )


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, as for python -m"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="a Python file, or a command, with its arguments"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e7:
        raise argparse.ArgumentTypeError("give a number of seconds above 0")
    return seconds


def _refuse_bad_flags(resolved: Resolved, flags: Mapping[str, str]) -> None:
    """Raise for a flag that cannot be used; a bad variable of the environment only counts as absent."""
    for problem in resolved.problems:
        for setting in SETTINGS:
            if setting.environment_name in flags and problem.startswith(f"{setting.environment_name}="):
                flag = setting.name.replace("_", "-")
                raise ConfigurationError(f"--{flag}{problem.removeprefix(setting.environment_name)}")
