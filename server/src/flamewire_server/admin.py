"""The command `flamewire-server admin`: look at a data folder, check and compact it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from flamewire_server._native import BlockError, verify_samples, verify_symbols
from flamewire_server.audit import audit
from flamewire_server.compaction.compactor import Compactor
from flamewire_server.compaction.plan import merge_all
from flamewire_server.errors import FlamewireError
from flamewire_server.log import configure_logging
from flamewire_server.metrics import Metrics
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.checks import Fault, file_faults
from flamewire_server.storage.compaction_queue import CompactionQueue, StoredBlock
from flamewire_server.storage.local_store import LocalStore

__all__ = ["run_admin"]

_Item = TypeVar("_Item")


def run_admin(arguments: Sequence[str]) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 when all is well, 1 when something is damaged or cannot be done, 2 for wrong
        arguments.
    """
    options = _parser().parse_args(arguments)
    configure_logging(level="warn", format="text")
    verb = {"inspect": _inspect, "verify": _verify, "compact": _compact}[options.verb]
    if not (options.data / "catalog.sqlite").exists():
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
    for name, text in (
        ("inspect", "show what is stored, by tenant and day"),
        ("verify", "read every file, compare checksums and counts with the catalog"),
        ("compact", "merge all blocks of each day, as far as their size allows"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument(
            "--data",
            type=Path,
            default=Path("flamewire-data"),
            metavar="FOLDER",
            help="default ./flamewire-data",
        )
        if name == "compact":
            verb.add_argument("--dry-run", action="store_true", help="only say what would be merged")
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


def _inspect(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    queue = CompactionQueue(catalog.database)
    print(f"{'tenant':20} {'day':10} {'series':>7} {'rows':>12} {'bytes':>12}  blocks by level")
    for tenant, day in queue.days():
        blocks = queue.blocks(tenant, day)
        levels = [block.level for block in blocks]
        by_level = " ".join(f"{level}:{levels.count(level)}" for level in sorted(set(levels)))
        rows = sum(block.row_count for block in blocks)
        size = sum(block.bytes_of() for block in blocks)
        series = len(queue.series(tenant, day))
        print(f"{tenant:20} {day:10} {series:7} {rows:12,} {size:12,}  {by_level}")
    return 0


def _verify(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    queue = CompactionQueue(catalog.database)
    blocks = [block for day in queue.days() for block in queue.blocks(*day)]
    faults = 0
    for block in _with_progress(blocks, "verified"):
        for fault in _faults(store, block):
            faults += 1
            print(fault)
    unknown = store.unknown(catalog.file_names())
    for name in unknown:
        print(f"{name}: not in the catalog; the server removes it when it starts")
    print(f"{len(blocks)} blocks: {faults} faults, {len(unknown)} files of no block")
    return 1 if faults else 0


def _faults(store: LocalStore, block: StoredBlock) -> Iterator[Fault]:
    """Say what is wrong with a block; rows are counted only where the files are what was written."""
    faults = list(file_faults(store, block))
    yield from faults
    if faults:
        return
    sums: dict[str, int] = {}
    for file in block.files:
        path = store.path_of(file.name)
        try:
            if file.kind == "symbols":
                verify_symbols(path)
                continue
            rows, sums[file.kind] = verify_samples(path)
        except BlockError as error:
            yield Fault(file.kind, file.name, str(error))
            continue
        if file.kind == "samples" and rows != block.row_count:
            yield Fault(file.kind, file.name, f"has {rows} rows, the catalog says {block.row_count}")
        if "samples" in sums and sums[file.kind] != sums["samples"]:
            yield Fault(file.kind, file.name, f"its sum is not that of the samples, {sums['samples']}")


def _compact(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    queue = CompactionQueue(catalog.database)
    compactor = Compactor(store=store, queue=queue, metrics=Metrics())
    merges = [(day, merge) for day in queue.days() for merge in merge_all(queue.blocks(*day))]
    if options.dry_run:
        for (tenant, day), merge in merges:
            rows = sum(block.row_count for block in merge.blocks)
            print(f"{tenant} {day}: {len(merge.blocks)} blocks of {rows:,} rows would become one")
        return 0
    for (tenant, day), merge in _with_progress(merges, "merged"):
        compactor.merge(tenant, day, merge)
    print(f"{sum(len(merge.blocks) for _, merge in merges)} blocks became {len(merges)}")
    return 0


def _with_progress(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """Yield the items; where stderr is a terminal, count them there."""
    shown = sys.stderr.isatty()
    for number, item in enumerate(items):
        if shown:
            sys.stderr.write(f"\r{what} {number} of {len(items)}")
            sys.stderr.flush()
        yield item
    if shown:
        sys.stderr.write("\r\x1b[K")
