"""When the next attempt may be made: full-jitter back-off, Retry-After, and a circuit that opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Pacing"]

_BACKOFF_BASE_S: Final = 0.5
_BACKOFF_MAX_S: Final = 30.0
_OPENS_AFTER: Final = 5
_LONGEST_RETRY_AFTER_S: Final = 3600.0
"""After this time everything that waits has expired (SDK-035), so the server is asked anew."""


class Pacing:
    """Keeps the time of the next attempt.

    After five failures in a row the circuit is open: attempts carry one upload, and nobody waits for them but
    the end of the session. The first success closes it.

    Args:
        clock: monotonic seconds.
        jitter: draws a wait between its two arguments.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[float, float], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._not_before_s = 0.0
        self._server_asked = False
        self._failing_since_s: float | None = None
        self.failures = 0
        """Attempts that failed since the last success."""

    @property
    def is_open(self) -> bool:
        """Whether the server counts as dead."""
        return self.failures >= _OPENS_AFTER

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt may be made."""
        return max(0.0, self._not_before_s - self._clock())

    @property
    def failing_for_s(self) -> float:
        """Seconds since the first of these failures."""
        return 0.0 if self._failing_since_s is None else self._clock() - self._failing_since_s

    def succeeded(self) -> None:
        """Go on at once."""
        self.failures = 0
        self._failing_since_s = None
        self._server_asked = False
        self._not_before_s = 0.0

    def failed(self, retry_after_s: float | None) -> bool:
        """Put the next attempt off (SDK-033); returns whether this failure has opened the circuit."""
        if self._failing_since_s is None:
            self._failing_since_s = self._clock()
        ceiling_s = min(_BACKOFF_MAX_S, _BACKOFF_BASE_S * 2.0 ** min(self.failures, 16))
        self.failures += 1
        self._server_asked = retry_after_s is not None
        asked_s = min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S)
        self._not_before_s = self._clock() + max(self._jitter(0.0, ceiling_s), asked_s)
        return self.failures == _OPENS_AFTER

    def hurry(self, *, closing: bool) -> None:
        """Cut a back-off of our own short, that of an open circuit only at the end; a Retry-After is kept."""
        if not self._server_asked and (closing or not self.is_open):
            self._not_before_s = 0.0
