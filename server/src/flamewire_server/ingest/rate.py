"""How many bytes of profiles a tenant may push: a bucket that fills with the rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flamewire_server.errors import OverloadedError
from flamewire_server.overrides import TenantConfigs

__all__ = ["RateGate"]

# Tenants whose buckets are kept; a full bucket is worth nothing, so those go first.
_MAX_TENANTS = 10_000


class RateGate:
    """Lets pushes in while their tenant's bucket is not empty. Belongs to the event loop.

    What a push holds is known when it is decoded: so it is let in first and charged then, and a tenant may be
    over its rate by the pushes that are under way.

    Args:
        clock_s: monotonic clock.
    """

    def __init__(self, configs: TenantConfigs, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._configs = configs
        self._clock_s = clock_s
        # Tenant -> (bytes that it may push, when that was so).
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, tenant: str) -> None:
        """Let a push in.

        Raises:
            OverloadedError: the tenant is over its rate.
        """
        rate = self._configs.of(tenant).ingestion_rate_bytes
        if not rate:
            return
        left = self._left(tenant)
        if left > 0:
            return
        wait_s = max(math.ceil(-left / rate), 1)
        raise OverloadedError(
            "resource_exhausted",
            f"the tenant pushes more than {rate} bytes of profiles a second; send this one again after"
            f" {wait_s} s, push less often, or have limits.ingestion_rate_mb raised",
            reason="rate_limit",
            retry_after_s=wait_s,
        )

    def charge(self, tenant: str, size_bytes: int) -> None:
        """Count what a push held, uncompressed."""
        if self._configs.of(tenant).ingestion_rate_bytes:
            self._buckets[tenant] = (self._left(tenant) - size_bytes, self._clock_s())
            if len(self._buckets) > _MAX_TENANTS:
                self._buckets = {
                    name: bucket
                    for name, bucket in self._buckets.items()
                    if self._left(name) < self._full(name)
                }

    def _full(self, tenant: str) -> float:
        config = self._configs.of(tenant)
        return max(config.ingestion_burst_bytes, config.ingestion_rate_bytes)

    def _left(self, tenant: str) -> float:
        full = self._full(tenant)
        if tenant not in self._buckets:
            return full
        left, at_s = self._buckets[tenant]
        return min(left + (self._clock_s() - at_s) * self._configs.of(tenant).ingestion_rate_bytes, full)
