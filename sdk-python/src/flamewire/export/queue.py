"""Where uploads wait: the interface, and the queue in memory."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from flamewire.export.upload import Entry, Upload

__all__ = ["MemoryQueue", "Queue"]


class Queue(Protocol):
    """Holds uploads, bounded in size; every call comes with the exporter's lock held.

    An upload is put, claimed, and then either discarded (it is settled) or released (it waits again).
    """

    dropped: Counter[str]
    """Uploads that the queue itself gave up, by the words of ``DropReason``; the exporter takes them over."""
    shared: bool
    """Whether other processes send what is in it too."""

    def put(self, upload: Upload) -> None:
        """Take an upload in; where there is no room, the oldest go first."""

    def entries(self, *, own: bool = False) -> list[Entry]:
        """Return what waits unclaimed, oldest first; ``own``: only what this process has put in."""

    def claim(self, key: str) -> Upload | None:
        """Return the upload for sending; None where somebody else has it, or it is gone."""

    def release(self, key: str) -> None:
        """Let a claimed upload wait again."""

    def discard(self, key: str) -> None:
        """Forget an upload, claimed or not."""

    def forget(self) -> None:
        """Let go of what the parent process had claimed; called in a fork child."""

    def is_perishable(self, key: str) -> bool:
        """Tell whether an upload is lost with the process."""


class MemoryQueue:
    """The queue of a process without a spool.

    Args:
        max_bytes: room for bodies; one upload is taken in whatever its size.
    """

    shared = False

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bodies: dict[str, bytes] = {}
        self._claimed: set[str] = set()
        self._total_bytes = 0
        self.dropped: Counter[str] = Counter()

    def put(self, upload: Upload) -> None:
        """Take an upload in; where there is no room, the oldest go first."""
        self._bodies[upload.key] = upload.body
        self._total_bytes += len(upload.body)
        self._make_room()

    def entries(self, *, own: bool = False) -> list[Entry]:
        """Return what waits unclaimed, oldest first."""
        return [Entry(key, len(self._bodies[key])) for key in sorted(self._bodies.keys() - self._claimed)]

    def claim(self, key: str) -> Upload | None:
        """Return the upload for sending."""
        if key not in self._bodies or key in self._claimed:
            return None
        self._claimed.add(key)
        return Upload(key, self._bodies[key])

    def release(self, key: str) -> None:
        """Let a claimed upload wait again, unless newer ones have taken its room."""
        self._claimed.discard(key)
        self._make_room()

    def discard(self, key: str) -> None:
        """Forget an upload."""
        self._claimed.discard(key)
        self._total_bytes -= len(self._bodies.pop(key, b""))

    def forget(self) -> None:
        """Do nothing: a fork child makes a queue of its own."""

    def is_perishable(self, key: str) -> bool:
        """Tell whether an upload is lost with the process: here each is."""
        return key in self._bodies

    def _make_room(self) -> None:
        for entry in self.entries():
            if self._total_bytes <= self._max_bytes or len(self._bodies) == 1:
                return
            self.discard(entry.key)
            self.dropped["queue_full"] += 1
