"""The upload queue and what happens to each upload: delivered, tried again, or counted as lost."""

from __future__ import annotations

import random
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flamewire.export.outcomes import Delivery, DropReason, LastPush
from flamewire.export.pacing import Pacing
from flamewire.export.queue import MemoryQueue, Queue
from flamewire.export.transport import Answer, Transport, TransportError
from flamewire.export.upload import Entry, Upload, born_unix_s_of, new_key
from flamewire.export.wires import wire_of
from flamewire.log import info, warn
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import Window

__all__ = ["Exporter"]

_RETRIED_4XX: Final = frozenset({408, 425, 429})
_FINAL_5XX: Final = frozenset({501, 505})
_JOINED_MAX_BYTES: Final = 512 * 1024
"""Below the 1 MiB at which many a proxy refuses a request unless it was told otherwise."""
_JOINED_MAX_UNPACKED_BYTES: Final = 8 * 1024 * 1024
_LOOK_AGAIN_S: Final = 0.2
"""How often a flush looks whether another process has sent what it waits for."""


class Exporter:
    """Owns the queue, the sender thread and the delivery counters of one session.

    ``step`` is the whole logic and needs no thread, so tests drive it with a clock of their own. The lock is
    re-entrant: a signal handler may call ``close`` on a thread that holds it.

    What waits goes out oldest first, many in one request; but after a failure one at a time, and what failed
    itself comes after what did not, so that one upload that a server chokes on holds up no other.

    Args:
        options: those of the session.
        transport: carries the requests.
        queue: where uploads wait; default in memory.
        clock: monotonic seconds.
        wall: calendar seconds, by which uploads age.
        jitter: draws a wait between its two arguments.
    """

    def __init__(
        self,
        options: Options,
        transport: Transport,
        *,
        queue: Queue | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] | None = None,
    ) -> None:
        self._options = options
        self._transport = transport
        self._wire = wire_of(options)
        self._queue = queue if queue is not None else MemoryQueue(options.max_queued_bytes)
        self._clock = clock
        self._wall = wall
        # Own generator: one shared with the host would be reseeded by it, and copied by fork.
        self._pacing = Pacing(
            clock,
            jitter if jitter is not None else random.Random().uniform,  # noqa: S311 - no secret
        )
        self._changed = threading.Condition()
        self._sending: list[Upload] = []
        self._failures_of: Counter[str] = Counter()
        """Key -> attempts that failed with this upload in them."""
        self._alone: set[str] = set()
        """Uploads whose joined request was refused: each is sent by itself, to learn which one it was."""
        self._refusals_said: set[tuple[int, str]] = set()
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

    def relabel(self, options: Options) -> None:
        """Label what is submitted from now on by these options, which differ in their tags only."""
        self._options = options

    def submit(self, window: Window) -> None:
        """Queue a window; where the queue is full, the oldest upload makes room and is counted."""
        profile_id = uuid.uuid4()
        body = zlib.compress(self._wire.encode(self._options, window, profile_id), 6, wbits=31)
        with self._changed:
            if self._closed:
                self._drop(DropReason.SHUTDOWN)
                return
            self._queue.put(Upload(new_key(self._wall(), profile_id), body))
            self._take_over_drops()
            self._changed.notify_all()

    def flush(self, deadline_s: float) -> bool:
        """Wait until all that this process has queued is settled; returns whether it is.

        Returns at the deadline (on the clock), and at once where the server counts as dead. A back-off of our
        own is cut short once; a Retry-After of the server is kept.
        """
        with self._changed:
            self._pacing.hurry(closing=False)
            self._changed.notify_all()
            while self._sending or self._queue.entries(own=True):
                left_s = deadline_s - self._clock()
                if left_s <= 0 or self._closed or self._pacing.is_open:
                    return False
                self._changed.wait(min(left_s, _LOOK_AGAIN_S) if self._queue.shared else left_s)
            return True

    def lose(self, reason: DropReason) -> None:
        """Count a profile that never reached the queue."""
        with self._changed:
            self._drop(reason)

    def close(self, deadline_s: float) -> bool:
        """Deliver what is queued until the deadline, end the thread; returns whether nothing is left.

        What is left is counted as lost, unless it is in a spool. Idempotent; does not wait for a server that
        hangs longer than the deadline says.
        """
        with self._changed:
            self._closing_until_s = deadline_s
            self._pacing.hurry(closing=True)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline_s - self._clock()))
        with self._changed:
            self._give_up_rest()
            left = bool(self._sending or self._queue.entries(own=True))
            self._closed = True
            self._changed.notify_all()
        return not left

    def forget(self) -> None:
        """Let go of what the parent had under way; called in a fork child, touches no lock."""
        self._queue.forget()

    def delivery(self) -> Delivery:
        """Return the counters as they are now."""
        with self._changed:
            waiting = self._queue.entries()
            in_flight = [len(upload.body) for upload in self._sending]
            return Delivery(
                pushed_profiles=self._pushed,
                retries=self._retries,
                dropped_profiles=dict(self._dropped),
                queued_profiles=len(waiting) + len(in_flight),
                queued_bytes=sum(entry.size_bytes for entry in waiting) + sum(in_flight),
                server_is_dead=self._pacing.is_open,
                last_push=self._last_push,
            )

    def step(self) -> float | None:
        """Attempt what is due; blocks while the transport sends.

        Returns:
            Seconds until the next attempt is due, 0.0 for at once, None where nothing waits for one.
        """
        with self._changed:
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                return wait_s
            uploads = self._sending = self._claim_next()
            self._take_over_drops()
            if not uploads:
                return None
        answer: Answer | TransportError
        try:
            answer = self._transport.send(
                b"".join(upload.body for upload in uploads), self._attempt_timeout_s()
            )
        except TransportError as error:
            answer = error
        with self._changed:
            # Some or all may have been given up meanwhile, because the session has ended.
            uploads, self._sending = self._sending, []
            if not uploads:
                return None
            self._settle(uploads, answer)
            self._take_over_drops()
            self._changed.notify_all()
            return None if self._closed else self._wait_s()

    def _run(self) -> None:
        while True:
            wait_s = self.step()
            with self._changed:
                if self._closed:
                    return
                if wait_s == 0:
                    continue
                # The queue may have changed, or the end have come, since step() looked.
                again_s = self._wait_s()
                sent_elsewhere = wait_s is None and again_s == 0
                if again_s is None or sent_elsewhere:
                    if self._closing_until_s is not None:
                        return
                    self._changed.wait(_LOOK_AGAIN_S if sent_elsewhere else None)
                elif again_s > 0:
                    self._changed.wait(again_s)

    def _waiting(self) -> list[Entry]:
        return self._queue.entries(own=self._closing_until_s is not None)

    def _wait_s(self) -> float | None:
        if not self._waiting():
            return None
        wait_s = self._pacing.wait_s
        if self._closing_until_s is not None and self._clock() + wait_s >= self._closing_until_s:
            # There will be no further attempt, so waiting would only hold up the host's exit.
            self._give_up_rest()
            return None
        return wait_s

    def _claim_next(self) -> list[Upload]:
        """Claim what the next request is to carry. The lock is held."""
        now_unix_s = self._wall()
        waiting = []
        for entry in self._waiting():
            if now_unix_s - born_unix_s_of(entry.key) > self._options.max_queued_age_s:
                self._discard(entry.key)
                self._drop(DropReason.EXPIRED)
            else:
                waiting.append(entry)
        waiting.sort(key=lambda entry: (self._failures_of[entry.key], entry.key))
        claimed: list[Upload] = []
        for entry in waiting:
            if claimed and not self._may_join(claimed, entry):
                break
            upload = self._queue.claim(entry.key)
            if upload is not None:
                claimed.append(upload)
        return claimed

    def _may_join(self, claimed: list[Upload], entry: Entry) -> bool:
        return (
            self._wire.joinable
            and self._pacing.failures == 0
            and not self._alone & {entry.key, claimed[0].key}
            and self._failures_of[entry.key] == self._failures_of[claimed[0].key]
            and sum(len(upload.body) for upload in claimed) + entry.size_bytes <= _JOINED_MAX_BYTES
            and sum(upload.unpacked_bytes for upload in claimed) <= _JOINED_MAX_UNPACKED_BYTES
        )

    def _attempt_timeout_s(self) -> float:
        if self._closing_until_s is None:
            return self._options.timeout_s
        return max(0.05, min(self._options.timeout_s, self._closing_until_s - self._clock()))

    def _settle(self, uploads: list[Upload], answer: Answer | TransportError) -> None:
        """Decide over the uploads of one request. The lock is held."""
        if isinstance(answer, TransportError):
            self._last_push = LastPush(None, str(answer), self._wall())
            if not self._pacing.is_open:
                warn("no answer", "push to %s: %s", self._options.server_url, answer)
            self._retry(uploads, None, hopeless=self._closing_until_s is not None and not answer.connected)
            return
        self._last_push = LastPush(answer.status, answer.words, self._wall())
        if 200 <= answer.status < 300 and not answer.refusal:
            self._succeed(uploads)
        elif answer.status in _RETRIED_4XX or (answer.status >= 500 and answer.status not in _FINAL_5XX):
            if not self._pacing.is_open:
                cause = f"status {answer.status}"
                warn(cause, "%s answered %d: %s", self._options.server_url, answer.status, answer.words)
            self._retry(uploads, answer.retry_after_s)
        else:
            self._refuse(uploads, answer)

    def _succeed(self, uploads: list[Upload]) -> None:
        if self._pacing.is_open:
            info(
                "%s takes profiles again, after %.0f s and %d attempts",
                self._options.server_url,
                self._pacing.failing_for_s,
                self._pacing.failures,
            )
        self._pacing.succeeded()
        self._refusals_said.clear()
        self._pushed += len(uploads)
        self._discard(*(upload.key for upload in uploads))

    def _retry(self, uploads: list[Upload], retry_after_s: float | None, *, hopeless: bool = False) -> None:
        """Let the uploads wait for another attempt; ``hopeless``: the session ends, and nobody is there."""
        if self._pacing.failed(retry_after_s):
            warn(
                f"dead {self._options.server_url}",
                "%s has failed %d times in a row; profiles wait, and this is the last line until it is back",
                self._options.server_url,
                self._pacing.failures,
            )
        for upload in uploads:
            self._failures_of[upload.key] += 1
            self._queue.release(upload.key)
        if hopeless:
            self._closing_until_s = self._clock()
        else:
            self._retries += 1

    def _refuse(self, uploads: list[Upload], answer: Answer) -> None:
        """Give up what a second attempt would not change; of a joined request each part gets one."""
        self._pacing.succeeded()
        unauthorized = answer.status in (401, 403)
        if len(uploads) > 1 and not unauthorized:
            for upload in uploads:
                self._alone.add(upload.key)
                self._queue.release(upload.key)
            return
        said = (answer.status, answer.words)
        if said not in self._refusals_said:
            self._refusals_said.add(said)
            warn(
                f"refused {said}",
                "%s refused a profile, %d: %s; it is dropped, as are others with the same answer",
                self._options.server_url,
                answer.status,
                answer.words,
            )
        reason = DropReason.TOO_LARGE if answer.status == 413 else DropReason.REJECTED
        self._drop(DropReason.UNAUTHORIZED if unauthorized else reason, len(uploads))
        self._discard(*(upload.key for upload in uploads))

    def _discard(self, *keys: str) -> None:
        for key in keys:
            self._queue.discard(key)
            self._alone.discard(key)
            self._failures_of.pop(key, None)

    def _give_up_rest(self) -> None:
        """At the end of the session, count what will not be sent; what is on disk is for the next one."""
        if self._closed:
            return
        left = [entry.key for entry in self._queue.entries(own=True)]
        left += [upload.key for upload in self._sending]
        lost = set(filter(self._queue.is_perishable, left))
        for key in lost:
            self._discard(key)
            self._drop(DropReason.SHUTDOWN)
        self._sending = [upload for upload in self._sending if upload.key not in lost]

    def _take_over_drops(self) -> None:
        """Count what the queue has given up."""
        while self._queue.dropped:
            reason, count = self._queue.dropped.popitem()
            self._drop(DropReason(reason), count)

    def _drop(self, reason: DropReason, count: int = 1) -> None:
        self._dropped[str(reason)] += count
        if reason in (DropReason.QUEUE_FULL, DropReason.SPOOL_FULL, DropReason.EXPIRED):
            warn(f"dropped {reason}", "a profile was dropped: %s", reason)
