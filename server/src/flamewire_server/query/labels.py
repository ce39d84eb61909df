"""Label queries, answered from the catalog alone."""

from __future__ import annotations

from collections.abc import Sequence

from flamewire_server.model.labels import PROFILE_TYPE, Labels, is_legacy_name
from flamewire_server.model.selector import Selector, parse_selector
from flamewire_server.model.time_range import TimeRange
from flamewire_server.storage.catalog import Catalog, Series

__all__ = ["LabelQueries", "select_series"]


def select_series(catalog: Catalog, tenant: str, time_range: TimeRange, selector: Selector) -> list[Series]:
    """List the series that a selector takes in a range.

    Raises:
        StorageError: the catalog failed.
    """
    candidates = catalog.series(
        tenant, time_range, service=selector.service, profile_type=selector.profile_type
    )
    return [one for one in candidates if selector.takes(one.labels)]


class LabelQueries:
    """Names, values and label sets, of all tenants asked for together. Methods raise RequestError for a bad
    matcher, StorageError for the catalog's."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def profile_types(self, tenants: Sequence[str], time_range: TimeRange) -> list[str]:
        """List the profile types, sorted."""
        return self.values(tenants, time_range, PROFILE_TYPE, [])

    def names(
        self, tenants: Sequence[str], time_range: TimeRange, matchers: Sequence[str], *, utf8_names: bool
    ) -> list[str]:
        """List label names, sorted; those outside the legacy charset only where the client says it takes
        them."""
        found = {name for one in self._select(tenants, time_range, matchers) for name in one.names()}
        return sorted(name for name in found if utf8_names or is_legacy_name(name))

    def values(
        self, tenants: Sequence[str], time_range: TimeRange, name: str, matchers: Sequence[str]
    ) -> list[str]:
        """List the values of a label, sorted."""
        found = {one.get(name) for one in self._select(tenants, time_range, matchers)}
        return sorted(found - {""})

    def label_sets(
        self, tenants: Sequence[str], time_range: TimeRange, names: Sequence[str], matchers: Sequence[str]
    ) -> list[tuple[tuple[str, str], ...]]:
        """List the distinct label sets, cut down to the given names (all names if none is given), sorted."""
        series = self._select(tenants, time_range, matchers)
        return sorted({one.project(names) if names else one.pairs for one in series})

    def _select(self, tenants: Sequence[str], time_range: TimeRange, matchers: Sequence[str]) -> list[Labels]:
        selectors = [parse_selector(text) for text in matchers or ("{}",)]
        found: dict[tuple[str, int], Labels] = {}
        for tenant in tenants:
            for selector in selectors:
                for one in select_series(self._catalog, tenant, time_range, selector):
                    found[tenant, one.fingerprint] = one.labels
        return list(found.values())
