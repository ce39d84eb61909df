"""What became of uploads: reasons of loss, the latest attempt, the counters."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Delivery", "DropReason", "LastPush"]


class DropReason(enum.StrEnum):
    """Why a profile did not arrive; the keys of ``dropped_profiles`` in the status."""

    QUEUE_FULL = "queue_full"
    SPOOL_FULL = "spool_full"
    UNAUTHORIZED = "unauthorized"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CORRUPT = "corrupt"
    FAILED = "failed"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class LastPush:
    """How the latest attempt ended. ``code`` is the HTTP status, None where no answer came."""

    code: int | None
    words: str
    unix_s: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """Counters of the exporter since its start; what waits in a spool is that of all its processes."""

    pushed_profiles: int
    retries: int
    dropped_profiles: dict[str, int]
    queued_profiles: int
    queued_bytes: int
    server_is_dead: bool
    last_push: LastPush | None

    @property
    def lost(self) -> int:
        """Profiles that were dropped, for whatever reason."""
        return sum(self.dropped_profiles.values())
