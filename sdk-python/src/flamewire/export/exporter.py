"""The upload queue and what happens to each upload: delivered, tried again, or counted as lost."""

from __future__ import annotations

import enum
import random
import threading
import time
import uuid
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flamewire.export.envelope import push_request, series_labels
from flamewire.export.transport import Answer, Transport, TransportError
from flamewire.log import warn
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import Window

__all__ = ["Delivery", "DropReason", "Exporter", "LastPush"]

_BACKOFF_BASE_S: Final = 0.5
_BACKOFF_MAX_S: Final = 30.0
_MAX_AGE_S: Final = 3600.0
"""Grafana Pyroscope refuses profiles that are older than this."""
_RETRIED_4XX: Final = frozenset({408, 425, 429})
_FINAL_5XX: Final = frozenset({501, 505})


class DropReason(enum.StrEnum):
    """Why a profile did not arrive; the keys of ``dropped_profiles`` in the status."""

    QUEUE_FULL = "queue_full"
    UNAUTHORIZED = "unauthorized"
    REJECTED = "rejected"
    EXPIRED = "expired"
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
    """Counters of the exporter since its start."""

    pushed_profiles: int
    retries: int
    dropped_profiles: dict[str, int]
    queued_profiles: int
    queued_bytes: int
    last_push: LastPush | None

    @property
    def lost(self) -> int:
        """Profiles that were dropped, for whatever reason."""
        return sum(self.dropped_profiles.values())


@dataclass(frozen=True, slots=True)
class _Upload:
    """One gzipped PushRequest; the profile id within stays the same through all attempts."""

    body: bytes
    born_monotonic_s: float


class Exporter:
    """Owns the queue, the sender thread and the delivery counters of one session.

    ``step`` is the whole logic and needs no thread, so tests drive it with a clock of their own. The lock is
    re-entrant: a signal handler may call ``close`` on a thread that holds it.
    """

    def __init__(
        self,
        options: Options,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] | None = None,
    ) -> None:
        self._options = options
        self._transport = transport
        self._clock = clock
        # Own generator: one shared with the host would be reseeded by it, and copied by fork.
        self._jitter = jitter if jitter is not None else random.Random().uniform  # noqa: S311 - no secret
        self._changed = threading.Condition()
        self._waiting: deque[_Upload] = deque()
        self._sending: _Upload | None = None
        self._attempts = 0
        self._not_before_s = 0.0
        self._server_asked_to_wait = False
        self._closing_until_s: float | None = None
        self._closed = False
        self._pushed = 0
        self._retries = 0
        self._dropped: Counter[str] = Counter()
        self._last_push: LastPush | None = None
        self._thread: SdkThread | None = None

    def start(self) -> None:
        """Start the sender thread."""
        self._thread = SdkThread("sender", self._run)
        self._thread.start()

    def submit(self, window: Window) -> None:
        """Queue a window; where the queue is full, the oldest upload makes room and is counted."""
        labels = series_labels(self._options, window.profile_type)
        body = push_request(labels, window.pprof, str(uuid.uuid4()))
        upload = _Upload(zlib.compress(body, 6, wbits=31), self._clock())
        with self._changed:
            if self._closed:
                self._drop(DropReason.SHUTDOWN)
                return
            self._waiting.append(upload)
            while self._queued_bytes() > self._options.max_queued_bytes and len(self._waiting) > 1:
                self._waiting.popleft()
                self._drop(DropReason.QUEUE_FULL)
            self._changed.notify_all()

    def flush(self, deadline_s: float) -> bool:
        """Wait until all that is queued is settled or the deadline (on the clock) passes; returns whether.

        A back-off of our own is cut short once; a Retry-After of the server is kept.
        """
        with self._changed:
            self._hurry()
            while self._waiting or self._sending is not None:
                left_s = deadline_s - self._clock()
                if left_s <= 0 or self._closed:
                    return False
                self._changed.wait(left_s)
            return True

    def lose(self, reason: DropReason) -> None:
        """Count a profile that never reached the queue."""
        with self._changed:
            self._drop(reason)

    def close(self, deadline_s: float) -> None:
        """Deliver what is queued until the deadline, count the rest as lost, end the thread.

        Idempotent; does not wait for a server that hangs longer than the deadline says.
        """
        with self._changed:
            self._closing_until_s = deadline_s
            self._hurry()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline_s - self._clock()))
        with self._changed:
            left = len(self._waiting) + (self._sending is not None)
            if not self._closed:
                for _ in range(left):
                    self._drop(DropReason.SHUTDOWN)
            self._closed = True
            self._waiting.clear()
            self._sending = None
            self._changed.notify_all()

    def delivery(self) -> Delivery:
        """Return the counters as they are now."""
        with self._changed:
            return Delivery(
                pushed_profiles=self._pushed,
                retries=self._retries,
                dropped_profiles=dict(self._dropped),
                queued_profiles=len(self._waiting) + (self._sending is not None),
                queued_bytes=self._queued_bytes(),
                last_push=self._last_push,
            )

    def step(self) -> float | None:
        """Attempt the oldest upload if it is time; blocks while the transport sends.

        Returns:
            Seconds until the next attempt is due, 0.0 for at once, None where nothing is queued.
        """
        with self._changed:
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                return wait_s
            upload = self._sending = self._waiting.popleft()
        answer: Answer | TransportError
        try:
            answer = self._transport.send(upload.body, self._attempt_timeout_s())
        except TransportError as error:
            answer = error
        with self._changed:
            if self._closed:
                return None
            self._sending = None
            self._settle(upload, answer)
            self._changed.notify_all()
            return self._wait_s()

    def _run(self) -> None:
        while True:
            wait_s = self.step()
            with self._changed:
                if self._closed or (self._closing_until_s is not None and not self._waiting):
                    return
                if wait_s is None or wait_s > 0:
                    # The queue may have changed since step() looked.
                    wait_s = self._wait_s()
                    if wait_s is None or wait_s > 0:
                        self._changed.wait(wait_s)

    def _wait_s(self) -> float | None:
        if not self._waiting:
            return None
        wait_s = max(0.0, self._not_before_s - self._clock())
        if self._closing_until_s is not None and self._clock() + wait_s >= self._closing_until_s:
            # There will be no further attempt, so waiting would only hold up the host's exit.
            for _ in range(len(self._waiting)):
                self._drop(DropReason.SHUTDOWN)
            self._waiting.clear()
            return None
        return wait_s

    def _attempt_timeout_s(self) -> float:
        if self._closing_until_s is None:
            return self._options.timeout_s
        return max(0.05, min(self._options.timeout_s, self._closing_until_s - self._clock()))

    def _settle(self, upload: _Upload, answer: Answer | TransportError) -> None:
        """Decide over an upload after one attempt. The lock is held."""
        if isinstance(answer, TransportError):
            self._last_push = LastPush(None, str(answer), time.time())
            warn("no answer", "push to %s: %s", self._options.server_url, answer)
            if self._closing_until_s is not None and not answer.connected:
                self._drop(DropReason.SHUTDOWN)
            else:
                self._retry(upload, None)
            return
        self._last_push = LastPush(answer.status, answer.words, time.time())
        if 200 <= answer.status < 300:
            self._pushed += 1
            self._attempts = 0
            self._not_before_s = 0.0
            return
        cause = f"status {answer.status}"
        if answer.status in _RETRIED_4XX or (answer.status >= 500 and answer.status not in _FINAL_5XX):
            warn(cause, "%s answered %d: %s", self._options.server_url, answer.status, answer.words)
            self._retry(upload, answer.retry_after_s)
            return
        reason = DropReason.UNAUTHORIZED if answer.status in (401, 403) else DropReason.REJECTED
        warn(cause, "%s refused a profile, %d: %s", self._options.server_url, answer.status, answer.words)
        self._attempts = 0
        self._drop(reason)

    def _retry(self, upload: _Upload, retry_after_s: float | None) -> None:
        now_s = self._clock()
        if now_s - upload.born_monotonic_s > _MAX_AGE_S:
            self._drop(DropReason.EXPIRED)
            return
        if self._queued_bytes() + len(upload.body) > self._options.max_queued_bytes and self._waiting:
            self._drop(DropReason.QUEUE_FULL)
        else:
            self._waiting.appendleft(upload)
            self._retries += 1
        ceiling_s = min(_BACKOFF_MAX_S, _BACKOFF_BASE_S * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        self._server_asked_to_wait = retry_after_s is not None
        self._not_before_s = now_s + max(self._jitter(0.0, ceiling_s), retry_after_s or 0.0)

    def _hurry(self) -> None:
        if not self._server_asked_to_wait:
            self._not_before_s = 0.0
        self._changed.notify_all()

    def _queued_bytes(self) -> int:
        sending = len(self._sending.body) if self._sending is not None else 0
        return sending + sum(len(upload.body) for upload in self._waiting)

    def _drop(self, reason: DropReason) -> None:
        self._dropped[str(reason)] += 1
        if reason is not DropReason.SHUTDOWN:
            warn(f"dropped {reason}", "a profile was dropped: %s", reason)
