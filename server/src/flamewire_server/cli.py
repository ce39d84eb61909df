"""The command `flamewire-server`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flamewire_server import __version__
from flamewire_server.config import ENV_PREFIX, Config, load_config, split_listen
from flamewire_server.errors import ConfigError, FlamewireError
from flamewire_server.keys_cli import add_keys_parser, run_keys
from flamewire_server.log import EventLog, configure_logging

__all__ = ["main"]

_log = EventLog(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; or, with `admin` first, a verb on its data folder.

    Returns:
        The exit status: 0 after a graceful stop, 1 when the data folder cannot be used, 2 for a configuration
        that cannot.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == ["admin"]:
        from flamewire_server.admin import run_admin

        return run_admin(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        config, warnings = _load(options)
    except ConfigError as error:
        sys.stderr.write(f"flamewire-server: {error}\n")
        return 2
    if options.command == "keys":
        try:
            return run_keys(options, config.data_dir)
        except ConfigError as error:
            sys.stderr.write(f"flamewire-server: {error}\n")
            return 2
    configure_logging(level=config.log_level, format=config.log_format)
    for warning in warnings:
        _log.warn("configuration", message=warning)
    # Imported here: a wrong configuration is told without waiting for the server's parts.
    from flamewire_server.app import run_server

    try:
        asyncio.run(run_server(config))
    except FlamewireError as error:
        _log.error("not_started", reason=str(error))
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flamewire-server",
        description="Stores profiles pushed over push.v1 and answers queries about them.",
        epilog="`flamewire-server admin --help` tells of work on a stopped server's data."
        f" Every setting can also stand in the configuration file or in a variable {ENV_PREFIX}*.",
    )
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", help="default 127.0.0.1:4040; port 0 picks a free one"
    )
    parser.add_argument(
        "--otlp-grpc-listen",
        metavar="ADDRESS:PORT",
        help="a second address, as 127.0.0.1:4317 where OTLP's exporters look; the first takes OTLP too",
    )
    parser.add_argument("--data", metavar="FOLDER", help="where profiles are kept, default ./flamewire-data")
    parser.add_argument("--config", metavar="FILE", help="YAML in the shape of Pyroscope's")
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen on an address that others reach although there are no keys",
    )
    parser.add_argument("--log-format", choices=("text", "json"), help="default text")
    parser.add_argument("--log-level", choices=("debug", "info", "warn", "error"), help="default info")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="without one, the server runs")
    keys = commands.add_parser("keys", help="make, list and remove API keys of the data folder")
    add_keys_parser(keys)
    parser.add_argument("--version", action="version", version=f"flamewire-server {__version__}")
    return parser


def _load(options: argparse.Namespace) -> tuple[Config, list[str]]:
    flags: dict[str, object] = {}
    if options.listen is not None:
        flags |= split_listen(options.listen, "--listen")
    for field, value in (
        ("otlp_listen", options.otlp_grpc_listen),
        ("data_dir", options.data),
        ("log_format", options.log_format),
        ("log_level", options.log_level),
        ("insecure", options.insecure or None),
    ):
        if value is not None:
            flags[field] = value
    if options.command == "keys":
        # The first key is made while there is none: what refuses to listen then must not refuse this.
        flags["insecure"] = True
    path = options.config or os.environ.get(ENV_PREFIX + "CONFIG")
    return load_config(path=Path(path) if path else None, environ=os.environ, flags=flags)
