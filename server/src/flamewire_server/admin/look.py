"""The verbs that look: inspect, verify; and compact, which changes no answer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from flamewire_server._native import BlockError, verify_samples, verify_symbols
from flamewire_server.admin.progress import with_progress
from flamewire_server.compaction.compactor import Compactor
from flamewire_server.compaction.plan import merge_all
from flamewire_server.metrics import Metrics
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.checks import Fault, file_faults
from flamewire_server.storage.compaction_queue import CompactionQueue, StoredBlock
from flamewire_server.storage.local_store import LocalStore

__all__ = ["compact", "inspect", "verify"]


def inspect(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Show tenants and days."""
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


def verify(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Check every block; sets damaged ones aside, and takes back those that are whole again."""
    queue = CompactionQueue(catalog.database)
    blocks = [block for day in queue.days() for block in queue.blocks(*day)]
    faults = 0
    for block in with_progress(blocks, "verified"):
        found = list(_faults(store, block))
        for fault in found:
            print(fault)
        faults += len(found)
        if bool(found) == block.is_whole:
            queue.quarantine(block, {fault.kind for fault in found})
            print(f"{block.samples_name}: {'set aside' if found else 'whole again, back in use'}")
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


def compact(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Merge the blocks of each day."""
    queue = CompactionQueue(catalog.database)
    compactor = Compactor(store=store, queue=queue, metrics=Metrics())
    merges = [(day, merge) for day in queue.days() for merge in merge_all(_whole(queue.blocks(*day)))]
    if options.dry_run:
        for (tenant, day), merge in merges:
            rows = sum(block.row_count for block in merge.blocks)
            print(f"{tenant} {day}: {len(merge.blocks)} blocks of {rows:,} rows would become one")
        return 0
    for (tenant, day), merge in with_progress(merges, "merged"):
        compactor.merge(tenant, day, merge)
    print(f"{sum(len(merge.blocks) for _, merge in merges)} blocks became {len(merges)}")
    return 0


def _whole(blocks: Sequence[StoredBlock]) -> list[StoredBlock]:
    return [block for block in blocks if block.is_whole]
