"""Retention: blocks of days that are over for longer than the retention leave the catalog, then the disk.

A block's symbols may stand in any block of its day, so whole UTC days go. Files follow after a grace period,
for queries that read them still.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flamewire_server.log import EventLog
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.local_store import LocalStore

__all__ = ["FILE_GRACE_S", "apply_retention"]

FILE_GRACE_S = 600
_log = EventLog(__name__)


def apply_retention(
    catalog: Catalog,
    store: LocalStore,
    *,
    retention_s: float,
    now_s: float,
    retention_of: Callable[[str], float] | None = None,
) -> int:
    """Remove what is too old, and forget profile ids that no accepted push can carry any more.

    Args:
        retention_s: 0 keeps every block.
        now_s: the calendar clock.
        retention_of: that of a tenant, where tenants differ.

    Returns:
        How many blocks left the catalog.

    Raises:
        StorageError: the catalog failed; what is left is done next time.
    """
    removed = 0
    for tenant in catalog.tenants():
        kept_s = retention_s if retention_of is None else retention_of(tenant)
        if kept_s > 0:
            first_kept = datetime.fromtimestamp(max(now_s - kept_s, 0), UTC).strftime("%Y-%m-%d")
            removed += catalog.remove_days(tenant, first_kept, now_s=int(now_s))
    names = catalog.removed_files(int(now_s) - FILE_GRACE_S)
    if names:
        store.remove(names)
        catalog.forget_files(names)
    forgotten = catalog.forget_ids(int(now_s) // 3600)
    if removed or names:
        _log.info("retention_applied", blocks=removed, files=len(names), ids=forgotten)
    return removed
