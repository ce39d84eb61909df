"""The verb `delete`: blocks are written anew without the profiles that a selector takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

from flamewire_server.admin.progress import with_progress
from flamewire_server.compaction.compactor import Compactor
from flamewire_server.compaction.plan import Merge
from flamewire_server.metrics import Metrics
from flamewire_server.model.selector import parse_selector
from flamewire_server.model.time_range import TimeRange
from flamewire_server.query.labels import select_series
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.compaction_queue import CompactionQueue, StoredBlock
from flamewire_server.storage.local_store import LocalStore

__all__ = ["delete", "parse_time_ns"]

_NS_PER_S = 10**9
_EVER = TimeRange.from_ms(0, 253_402_300_799_000)


def parse_time_ns(text: str) -> int:
    """Read an ISO 8601 time, in UTC where it has no zone.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * _NS_PER_S + moment.microsecond * 1000


def delete(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Delete profiles. Their ids stay known: a late retry does not bring them back."""
    start_ns = _EVER.start_ns if options.from_ns is None else options.from_ns
    end_ns = _EVER.end_ns if options.until_ns is None else options.until_ns
    time_range = TimeRange(start_ns, end_ns)
    tenant = options.tenant
    selected = select_series(catalog, tenant, time_range, parse_selector(options.selector))
    fingerprints = [one.fingerprint for one in selected]
    queue = CompactionQueue(catalog.database)
    work = [
        (day, block)
        for of_tenant, day in queue.days()
        if of_tenant == tenant
        for block in queue.blocks_with(tenant, day, fingerprints, start_ns, end_ns)
    ]
    days = [day for day, _ in groupby(work, key=lambda one: one[0])]
    if options.dry_run:
        print(
            f"profiles of {len(fingerprints)} series would be deleted: {len(work)} blocks of {len(days)} days"
            " would be written anew"
        )
        return 0
    damaged = [block for _, block in work if not block.is_whole]
    compactor = Compactor(store=store, queue=queue, metrics=Metrics())
    rows = 0
    for day, block in with_progress([one for one in work if one[1].is_whole], "rewritten"):
        merge = Merge([block], max(block.level, 1))
        rows += compactor.merge(tenant, day, merge, drop=(fingerprints, start_ns, end_ns))
    for day in days:
        queue.forget_empty(tenant, day, now_s=int(datetime.now(UTC).timestamp()))
    print(f"{rows:,} rows of {len(fingerprints)} series deleted from {len(work) - len(damaged)} blocks")
    return _tell_damaged(damaged)


def _tell_damaged(blocks: Sequence[StoredBlock]) -> int:
    for block in blocks:
        print(f"{block.samples_name}: damaged, so nothing was deleted from it; restore it and delete again")
    return 1 if blocks else 0
