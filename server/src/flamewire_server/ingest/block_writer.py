"""One commit: decode the pushes, leave duplicates out, encode, make files durable, commit the catalog."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flamewire_server._native import DecodeError, EncodedBlock, Encoder, Limits, ProfileBatch
from flamewire_server.errors import OverloadedError, RequestError, StorageError
from flamewire_server.ingest.encoding import Encoding, refusal_of
from flamewire_server.ingest.format import Decode
from flamewire_server.ingest.series_gate import SeriesGate
from flamewire_server.log import EventLog
from flamewire_server.overrides import TenantConfigs
from flamewire_server.storage.catalog import Catalog, DuplicateError, NewBlock, NewSeries, ProfileId
from flamewire_server.storage.local_store import LocalStore, new_block_name

__all__ = ["BlockWriter", "Push", "Stored"]

_NS_PER_S = 10**9
_NS_PER_HOUR = 3600 * _NS_PER_S
_ATTEMPTS = 3
# Of profiles that are decoded and not yet written.
_MAX_DECODED_BYTES = 24 << 20
_log = EventLog(__name__)


@dataclass(frozen=True, slots=True)
class Push:
    """A request body as it came in."""

    tenant: str
    body: bytes
    encoding: Encoding
    decode: Decode


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a push: the counts of its profiles."""

    profiles: int
    duplicates: int
    conflicts: int
    samples: int
    decoded_bytes: int


@dataclass(slots=True)
class _Decoded:
    push: Push
    batch: ProfileBatch
    keep: list[int] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0
    refused: RequestError | None = None

    def stored(self) -> Stored:
        return Stored(
            len(self.keep), self.duplicates, self.conflicts, self.batch.sample_count, self.batch.decoded_bytes
        )


class BlockWriter:
    """Commits pushes; called by one thread at a time.

    Args:
        limits: what a push may hold.
        configs: what differs between tenants, in place of limits; None where nothing does.
        clock_ns: the calendar clock.
    """

    def __init__(
        self,
        *,
        store: LocalStore,
        catalog: Catalog,
        encoder: Encoder,
        limits: Limits,
        configs: TenantConfigs | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._encoder = encoder
        self._limits = limits
        self._configs = configs
        self._series = SeriesGate(catalog)
        self._clock_ns = clock_ns

    def commit(self, pushes: Sequence[Push]) -> list[Stored | RequestError]:
        """Commit pushes together.

        Returns:
            For each push what was stored, durably, or why it is refused. One push's refusal touches no other.

        Raises:
            StorageError: the disk or the catalog failed: nothing of any push is stored.
        """
        outcomes: list[_Decoded | RequestError] = []
        unwritten: list[_Decoded] = []
        stored_some = False
        for number, push in enumerate(pushes):
            outcome = self._decode(push)
            outcomes.append(outcome)
            if isinstance(outcome, _Decoded):
                unwritten.append(outcome)
            held_bytes = sum(entry.batch.decoded_bytes for entry in unwritten)
            # Small bodies may unfold into large profiles: these are not all held at once.
            if number + 1 < len(pushes) and held_bytes < _MAX_DECODED_BYTES:
                continue
            try:
                self._store_together(unwritten)
            except StorageError as error:
                if not stored_some:
                    raise
                # What is stored stays so, and is acknowledged; the rest is to be sent again.
                _log.error("commit_cut_short", reason=str(error), pushes=len(pushes) - number)
                for entry in unwritten:
                    entry.refused = _not_now()
                outcomes += [_not_now()] * (len(pushes) - len(outcomes))
                break
            stored_some = stored_some or bool(unwritten)
            unwritten = []
        return [
            outcome if isinstance(outcome, RequestError) else outcome.refused or outcome.stored()
            for outcome in outcomes
        ]

    def _decode(self, push: Push) -> _Decoded | RequestError:
        try:
            batch = push.decode(
                push.body,
                encoding=push.encoding,
                now_ns=self._clock_ns(),
                limits=self._limits_of(push.tenant),
            )
        except DecodeError as error:
            return refusal_of(error)
        except RequestError as error:
            return error
        return _Decoded(push, batch)

    def _limits_of(self, tenant: str) -> Limits:
        return self._limits if self._configs is None else self._configs.limits(tenant)

    def _store_together(self, decoded: Sequence[_Decoded]) -> None:
        for attempt in range(_ATTEMPTS):
            ids = [entry for tenant, group in _by_tenant(decoded) for entry in self._choose(tenant, group)]
            if not ids:
                return
            try:
                encoded = self._encode(decoded)
                if self._refuse_series(decoded, encoded):
                    continue
                self._write(encoded, ids)
            except DuplicateError:
                # Another writer committed one of these ids after our look-up: look again.
                _log.warn("duplicate_raced", attempt=attempt + 1)
                continue
            return
        raise StorageError("the catalog says again and again that a new profile id is known")

    def _choose(self, tenant: str, group: Sequence[_Decoded]) -> list[tuple[str, ProfileId, int]]:
        """Set which profiles of each push are kept; returns their ids with the hour in which to forget
        them."""
        all_keys = [entry.batch.keys for entry in group]
        known = self._catalog.known_contents(
            tenant, list({(series, uid) for keys in all_keys for series, uid, _, _ in keys})
        )
        chosen: list[tuple[str, ProfileId, int]] = []
        for entry, keys in zip(group, all_keys, strict=True):
            entry.keep, entry.duplicates, entry.conflicts = [], 0, 0
            for index, (series, uid, content, time_ns) in enumerate(keys):
                contents = known.setdefault((series, uid), set())
                if content in contents:
                    entry.duplicates += 1
                    continue
                if entry.refused is not None:
                    continue
                entry.conflicts += bool(contents)
                contents.add(content)
                entry.keep.append(index)
                chosen.append((tenant, ProfileId(series, uid, content), self._forget_at_h(tenant, time_ns)))
        return chosen

    def _forget_at_h(self, tenant: str, time_ns: int) -> int:
        # A retry is accepted until the profile is too old; one hour more for clocks that differ.
        return (
            max(time_ns, self._clock_ns()) + self._limits_of(tenant).reject_older_than_ns
        ) // _NS_PER_HOUR + 2

    def _encode(self, decoded: Sequence[_Decoded]) -> list[tuple[str, EncodedBlock]]:
        return [
            (tenant, block)
            for tenant, group in _by_tenant(decoded)
            for block in self._encoder.encode(
                tenant, [(entry.batch, entry.keep) for entry in group if entry.keep]
            )
        ]

    def _refuse_series(
        self, decoded: Sequence[_Decoded], encoded: Sequence[tuple[str, EncodedBlock]]
    ) -> bool:
        """Refuse pushes that bring more series than their tenant may have; returns whether any was."""
        over = {
            tenant for tenant, block in encoded if not self._has_room(tenant, block.day, _series_of(block))
        }
        taken: dict[tuple[str, str], set[int]] = {}
        for entry in decoded:
            tenant = entry.push.tenant
            if tenant not in over or not entry.keep:
                continue
            # Those that fit are taken, in the order in which they came.
            blocks = self._encoder.encode(tenant, [(entry.batch, entry.keep)])
            together = {
                (tenant, block.day): _series_of(block) | taken.get((tenant, block.day), set())
                for block in blocks
            }
            if all(self._has_room(*of_day, series) for of_day, series in together.items()):
                taken |= together
            else:
                entry.refused = _too_many_series(self._series_limit(tenant))
        return bool(over)

    def _has_room(self, tenant: str, day: str, series: set[int]) -> bool:
        limit = self._series_limit(tenant)
        return not limit or self._series.takes(tenant, day, series, limit=limit)

    def _series_limit(self, tenant: str) -> int:
        return 0 if self._configs is None else self._configs.of(tenant).max_series

    def _write(
        self, encoded: Sequence[tuple[str, EncodedBlock]], ids: Sequence[tuple[str, ProfileId, int]]
    ) -> None:
        names: list[str] = []
        try:
            blocks = [self._write_block(tenant, block, names) for tenant, block in encoded]
            self._store.sync_folders(names)
            self._catalog.commit(blocks, ids)
        except BaseException as error:
            if not (isinstance(error, StorageError) and error.uncertain):
                self._store.remove(names)
            raise
        for tenant, block in encoded:
            self._encoder.committed(block)
            self._series.add(tenant, block.day, _series_of(block))

    def _write_block(self, tenant: str, block: EncodedBlock, names: list[str]) -> NewBlock:
        name = new_block_name()
        samples = block.samples
        samples_name = self._store.write(tenant, block.day, f"{name}.samples", samples)
        names.append(samples_name)
        symbols = block.symbols
        symbols_name = None
        if symbols is not None:
            symbols_name = self._store.write(tenant, block.day, f"{name}.symbols", symbols)
            names.append(symbols_name)
        return NewBlock(
            tenant=tenant,
            day=block.day,
            samples_name=samples_name,
            symbols_name=symbols_name,
            samples_bytes=len(samples),
            symbols_bytes=len(symbols or b""),
            row_count=block.rows,
            time_min_ns=block.time_min_ns,
            time_max_ns=block.time_max_ns,
            series=[
                NewSeries(
                    one.fingerprint,
                    one.service,
                    one.profile_type,
                    one.labels,
                    one.time_min_ns,
                    one.time_max_ns,
                )
                for one in block.series
            ],
            created_at_s=self._clock_ns() // _NS_PER_S,
            samples_crc=zlib.crc32(samples),
            symbols_crc=None if symbols is None else zlib.crc32(symbols),
        )


def _series_of(block: EncodedBlock) -> set[int]:
    return {one.fingerprint for one in block.series}


def _not_now() -> OverloadedError:
    return OverloadedError(
        "unavailable",
        "the server could not store this push (its log and /ready say why); send it again, with backoff",
        reason="storage",
    )


def _too_many_series(limit: int) -> OverloadedError:
    return OverloadedError(
        "resource_exhausted",
        f"the tenant has {limit} series today, as many as it may; leave labels with many values out, or have"
        " limits.max_global_series_per_tenant raised",
        reason="series_limit",
        retry_after_s=60,
    )


def _by_tenant(decoded: Sequence[_Decoded]) -> list[tuple[str, list[_Decoded]]]:
    groups: dict[str, list[_Decoded]] = {}
    for entry in decoded:
        groups.setdefault(entry.push.tenant, []).append(entry)
    return list(groups.items())
