"""Merges blocks: read, write new files, make them durable, swap in the catalog, leave old files to the
retention."""

from __future__ import annotations

import os
import secrets
import time
import zlib
from collections.abc import Callable, Sequence

from flamewire_server._native import BlockError, CompactedBlock, compact_blocks
from flamewire_server.compaction.plan import Merge, plan_merge
from flamewire_server.errors import StorageError
from flamewire_server.log import EventLog
from flamewire_server.metrics import Metrics
from flamewire_server.storage.checks import file_faults
from flamewire_server.storage.compaction_queue import CompactionQueue, Job, StoredBlock, Swap, SwapError
from flamewire_server.storage.local_store import LocalStore, new_block_name

__all__ = ["Compactor"]

# A merge takes seconds; whoever dies in one delays its day by this.
_LEASE_S = 60
# A day whose blocks cannot be read or written is tried again after this.
_RETRY_S = 60
_log = EventLog(__name__)


class Compactor:
    """Works days off, one at a time. Not thread-safe: one for each thread that compacts.

    Several may work on one catalog, in any number of processes: the lease keeps them apart, and should it end
    too early, the swap lets only one of them through.

    Args:
        clock_s: the calendar clock.
    """

    def __init__(
        self,
        *,
        store: LocalStore,
        queue: CompactionQueue,
        metrics: Metrics,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._clock_s = clock_s
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"

    def run_once(self) -> bool:
        """Claim the day that waits the longest, do one merge of it, give it back.

        Returns:
            Whether a day was due: call again.

        Raises:
            StorageError: the catalog failed; the day is tried again when its lease has ended.
        """
        now_s = int(self._clock_s())
        oldest_s = self._queue.oldest_new_block_s()
        self._metrics.compaction_lag.set(0 if oldest_s is None else max(now_s - oldest_s, 0))
        job = self._queue.claim(self._worker, now_s=now_s, lease_s=_LEASE_S)
        if job is None:
            return False
        try:
            self._queue.finish(job, due_at_s=self._work(job, now_s))
        except (BlockError, OSError, StorageError) as error:
            self._metrics.compaction_failures.inc()
            _log.error("compaction_failed", tenant=job.tenant, day=job.day, reason=str(error))
            self._queue.postpone(job, until_s=now_s + _RETRY_S)
        return True

    def _work(self, job: Job, now_s: int) -> int | None:
        merge, next_due_s = plan_merge(self._queue.blocks(job.tenant, job.day), now_s)
        if merge is None:
            return next_due_s
        try:
            self.merge(job.tenant, job.day, merge)
        except SwapError as error:
            _log.warn("compaction_raced", tenant=job.tenant, day=job.day, reason=str(error))
        return now_s

    def merge(self, tenant: str, day: str, merge: Merge) -> None:
        """Merge blocks into one.

        Raises:
            SwapError: a block is gone meanwhile.
            BlockError: a block is damaged.
            StorageError: the disk or the catalog failed. In each case the blocks are as they were.
        """
        if merge.is_promotion:
            self._queue.promote(merge.blocks[0])
            return
        started_s = time.monotonic()
        for block in merge.blocks:
            # Damage must not spread into files that have a checksum of their own.
            for fault in file_faults(self._store, block):
                raise BlockError(f"block file {fault}; restore it from a backup")
        path_of = self._store.path_of
        compacted = compact_blocks(
            [path_of(block.samples_name) for block in merge.blocks],
            [path_of(block.symbols_name) for block in merge.blocks if block.symbols_name],
            series=self._queue.series(tenant, day),
        )
        expected = sum(block.row_count for block in merge.blocks)
        if compacted.rows != expected:
            raise StorageError(
                f"blocks of {tenant} on {day} have {compacted.rows} rows where the catalog says {expected};"
                " run flamewire-server admin verify"
            )
        self._replace(tenant, day, merge, compacted)
        self._count(merge.blocks, compacted, time.monotonic() - started_s)

    def _replace(self, tenant: str, day: str, merge: Merge, compacted: CompactedBlock) -> None:
        name = new_block_name()
        names: list[str] = []

        def write(kind: str, content: bytes) -> str:
            names.append(self._store.write(tenant, day, f"{name}.{kind}", content))
            return names[-1]

        samples, symbols, totals = compacted.samples, compacted.symbols, compacted.totals
        try:
            swap = Swap(
                tenant=tenant,
                day=day,
                level=merge.level,
                merged=merge.blocks,
                samples_name=write("samples", samples),
                symbols_name=None if symbols is None else write("symbols", symbols),
                totals_name=write("totals", totals),
                samples_bytes=len(samples),
                symbols_bytes=len(symbols or b""),
                totals_bytes=len(totals),
                samples_crc=zlib.crc32(samples),
                symbols_crc=None if symbols is None else zlib.crc32(symbols),
                totals_crc=zlib.crc32(totals),
                row_count=compacted.rows,
                series=compacted.series,
            )
            self._store.sync_folders(names)
            self._queue.swap(swap, now_s=int(self._clock_s()))
        except BaseException as error:
            if not (isinstance(error, StorageError) and error.uncertain):
                self._store.remove(names)
            raise

    def _count(self, merged: Sequence[StoredBlock], compacted: CompactedBlock, seconds: float) -> None:
        read = sum(block.samples_bytes + block.symbols_bytes for block in merged)
        written = len(compacted.samples) + len(compacted.totals) + len(compacted.symbols or b"")
        self._metrics.compaction_seconds.observe(seconds)
        self._metrics.compaction_bytes.labels("read").inc(read)
        self._metrics.compaction_bytes.labels("written").inc(written)
        self._metrics.compacted_blocks.inc(len(merged))
        _log.debug("compacted", blocks=len(merged), rows=compacted.rows, read=read, written=written)
