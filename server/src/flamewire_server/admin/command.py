"""The verbs' arguments, and what opens the data folder for them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flamewire_server._native import BlockError
from flamewire_server.admin.delete import delete, parse_time_ns
from flamewire_server.admin.look import compact, inspect, verify
from flamewire_server.admin.transfer import export_blocks, import_blocks
from flamewire_server.audit import audit
from flamewire_server.errors import FlamewireError
from flamewire_server.log import configure_logging
from flamewire_server.model.tenant import ANONYMOUS
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.local_store import LocalStore

__all__ = ["run_admin"]

Verb = Callable[[LocalStore, Catalog, argparse.Namespace], int]
_VERBS: dict[str, tuple[Verb, str]] = {
    "inspect": (inspect, "show what is stored, by tenant and day"),
    "verify": (verify, "read every file, compare checksums and counts with the catalog"),
    "compact": (compact, "merge all blocks of each day, as far as their size allows"),
    "export": (export_blocks, "copy blocks into a folder, from where `import` takes them"),
    "import": (import_blocks, "take the blocks of a folder that `export` wrote"),
    "delete": (delete, "remove the profiles that a selector takes in a range of time"),
}


def run_admin(arguments: Sequence[str]) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 when all is well, 1 when something is damaged or cannot be done, 2 for wrong
        arguments.
    """
    options = _parser().parse_args(arguments)
    configure_logging(level="warn", format="text")
    verb, _ = _VERBS[options.verb]
    is_folder = (options.data / "catalog.sqlite").exists()
    if not is_folder and options.verb != "import":
        sys.stderr.write(f"flamewire-server: {options.data} is no data folder: it has no catalog.sqlite\n")
        return 2
    try:
        with _opened(options.data) as (store, catalog):
            status = verb(store, catalog, options)
            audit(options.data, f"admin {options.verb}", status=status)
            return status
    except (BlockError, FlamewireError, OSError) as error:
        sys.stderr.write(f"flamewire-server: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flamewire-server admin", description="Work on a data folder. The server must be stopped."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, text) in _VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument(
            "--data",
            type=Path,
            default=Path("flamewire-data"),
            metavar="FOLDER",
            help="default ./flamewire-data",
        )
        if name in ("compact", "export", "import", "delete"):
            verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        if name == "export":
            verb.add_argument("folder", type=Path, metavar="TO", help="where to; made where it is missing")
            verb.add_argument("--tenant", help="only this tenant's")
            verb.add_argument("--from", dest="first_day", metavar="DAY", help="first day, as 2026-11-23")
            verb.add_argument("--until", dest="last_day", metavar="DAY", help="last day, inclusive")
        if name == "import":
            verb.add_argument("folder", type=Path, metavar="FROM", help="what `export` wrote")
        if name == "delete":
            verb.add_argument("selector", help='as in queries: \'{service_name="cart", pod=~"a.*"}\'')
            verb.add_argument("--tenant", default=ANONYMOUS, help=f"whose, default {ANONYMOUS}")
            for flag, text in (("from", "first"), ("until", "last")):
                verb.add_argument(
                    f"--{flag}",
                    dest=f"{flag}_ns",
                    type=parse_time_ns,
                    metavar="TIME",
                    help=f"the {text} moment, inclusive, as 2026-11-23T13:20:00Z; default: no bound",
                )
    return parser


@contextmanager
def _opened(data: Path) -> Iterator[tuple[LocalStore, Catalog]]:
    store = LocalStore(data)
    try:
        catalog = Catalog(data / "catalog.sqlite")
        try:
            yield store, catalog
        finally:
            catalog.close()
    finally:
        store.close()
