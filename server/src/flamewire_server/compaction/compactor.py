"""Merges blocks: read, write new files, make them durable, swap in the catalog, leave old files to the
retention."""

from __future__ import annotations

import os
import secrets
import time
import zlib
from collections.abc import Callable, Collection, Sequence

from flamewire_server._native import BlockError, CompactedBlock, compact_blocks
from flamewire_server.compaction.plan import Merge, plan_merge
from flamewire_server.errors import StorageError
from flamewire_server.log import EventLog
from flamewire_server.metrics import Metrics
from flamewire_server.storage.checks import file_faults
from flamewire_server.storage.compaction_queue import (
    KINDS,
    BlockFile,
    CompactionQueue,
    Job,
    StoredBlock,
    Swap,
    SwapError,
)
from flamewire_server.storage.local_store import LocalStore, new_block_name

__all__ = ["Compactor", "Drop"]

# Rows to leave out: those of the series (by fingerprint) with start_ns <= time <= end_ns.
Drop = tuple[Sequence[int], int, int]

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
        self._metrics.quarantined_blocks.set(self._queue.quarantined())
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
        blocks = [block for block in self._queue.blocks(job.tenant, job.day) if block.is_whole]
        merge, next_due_s = plan_merge(blocks, now_s)
        if merge is None:
            return next_due_s
        # Damaged blocks are set aside, and the others merged in the next round.
        if not merge.is_promotion and self._quarantine(job, merge):
            return now_s
        try:
            self.merge(job.tenant, job.day, merge)
        except SwapError as error:
            _log.warn("compaction_raced", tenant=job.tenant, day=job.day, reason=str(error))
        except BlockError as error:
            # Files that are what was written and cannot be merged all the same: each alone says which.
            if len(merge.blocks) == 1:
                self._set_aside(job, merge.blocks[0], ("samples", "symbols"), str(error))
                return now_s
            if not self._quarantine_unreadable(job, merge):
                raise
        return now_s

    def _quarantine(self, job: Job, merge: Merge) -> bool:
        found = False
        for block in merge.blocks:
            faults = list(file_faults(self._store, block))
            if not faults:
                continue
            if not self._queue.has(block):
                return True  # retention took it meanwhile: plan again
            found = True
            self._set_aside(job, block, {fault.kind for fault in faults}, "; ".join(map(str, faults)))
        return found

    def _quarantine_unreadable(self, job: Job, merge: Merge) -> bool:
        found = False
        series = self._queue.series(job.tenant, job.day)
        path_of = self._store.path_of
        for block in merge.blocks:
            symbols = [path_of(block.symbols_name)] if block.symbols_name else []
            try:
                compact_blocks([path_of(block.samples_name)], symbols, series=series)
            except BlockError as error:
                found = True
                self._set_aside(job, block, ("samples", "symbols"), str(error))
        return found

    def _set_aside(self, job: Job, block: StoredBlock, kinds: Collection[str], reason: str) -> None:
        self._queue.quarantine(block, kinds)
        self._metrics.compaction_failures.inc()
        self._metrics.quarantined_blocks.set(self._queue.quarantined())
        _log.error(
            "block_quarantined", tenant=job.tenant, day=job.day, block=block.samples_name, reason=reason
        )

    def merge(self, tenant: str, day: str, merge: Merge, *, drop: Drop | None = None) -> int:
        """Merge blocks into one.

        Args:
            drop: rows to leave out.

        Returns:
            How many rows were left out.

        Raises:
            SwapError: a block is gone meanwhile.
            BlockError: a block is damaged.
            StorageError: the disk or the catalog failed. In each case the blocks are as they were.
        """
        if merge.is_promotion and drop is None:
            self._queue.promote(merge.blocks[0])
            return 0
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
            drop=drop,
        )
        expected = sum(block.row_count for block in merge.blocks)
        if compacted.rows + compacted.dropped_rows != expected:
            raise StorageError(
                f"blocks of {tenant} on {day} have {compacted.rows + compacted.dropped_rows} rows where the"
                f" catalog says {expected}; run flamewire-server admin verify"
            )
        self._replace(tenant, day, merge, compacted)
        self._count(merge.blocks, compacted, time.monotonic() - started_s)
        return compacted.dropped_rows

    def _replace(self, tenant: str, day: str, merge: Merge, compacted: CompactedBlock) -> None:
        name = new_block_name()
        files: list[BlockFile] = []
        try:
            for kind in KINDS:
                content: bytes | None = getattr(compacted, kind)
                if content is None:
                    continue
                written = self._store.write(tenant, day, f"{name}.{kind}", content)
                files.append(BlockFile(kind, written, len(content), zlib.crc32(content)))
            self._store.sync_folders([file.name for file in files])
            swap = Swap(
                tenant=tenant,
                day=day,
                level=merge.level,
                merged=merge.blocks,
                files=files,
                row_count=compacted.rows,
                series=compacted.series,
            )
            self._queue.swap(swap, now_s=int(self._clock_s()))
        except BaseException as error:
            if not (isinstance(error, StorageError) and error.uncertain):
                self._store.remove([file.name for file in files])
            raise

    def _count(self, merged: Sequence[StoredBlock], compacted: CompactedBlock, seconds: float) -> None:
        read = sum(block.bytes_of("samples", "symbols") for block in merged)
        written = sum(len(getattr(compacted, kind) or b"") for kind in KINDS)
        self._metrics.compaction_seconds.observe(seconds)
        self._metrics.compaction_bytes.labels("read").inc(read)
        self._metrics.compaction_bytes.labels("written").inc(written)
        self._metrics.compacted_blocks.inc(len(merged))
        _log.debug("compacted", blocks=len(merged), rows=compacted.rows, read=read, written=written)
