"""How many series a tenant may have in a UTC day."""

from __future__ import annotations

from collections.abc import Collection

from flamewire_server.storage.catalog import Catalog

__all__ = ["SeriesGate"]

# (tenant, day) whose series are held; a push reaches a day back.
_MAX_DAYS = 64


class SeriesGate:
    """Counts the series of tenants that have a limit. Belongs to the thread that commits."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[tuple[str, str], set[int]] = {}

    def takes(self, tenant: str, day: str, fingerprints: Collection[int], *, limit: int) -> bool:
        """Say whether the day has room for these series, of which it may know some.

        Raises:
            StorageError: the catalog failed.
        """
        known = self._load(tenant, day)
        new = sum(fingerprint not in known for fingerprint in fingerprints)
        return not new or len(known) + new <= limit

    def add(self, tenant: str, day: str, fingerprints: Collection[int]) -> None:
        """Count series that are committed."""
        if (tenant, day) in self._known:
            self._known[tenant, day].update(fingerprints)

    def _load(self, tenant: str, day: str) -> set[int]:
        known = self._known.get((tenant, day))
        if known is None:
            if len(self._known) >= _MAX_DAYS:
                self._known.clear()
            known = self._known[tenant, day] = self._catalog.fingerprints(tenant, day)
        return known
