"""One log line per cause per minute, through logging only."""

from __future__ import annotations

import logging
import time
from typing import Final

__all__ = ["LOGGER", "info", "warn"]

LOGGER: Final = logging.getLogger("flamewire")
# Without it, logging's last resort would print warnings to the host's stderr.
LOGGER.addHandler(logging.NullHandler())

_QUIET_S: Final = 60.0


class _CauseLimiter:
    """Lets one line per cause through per minute and counts those that it holds back.

    Unlocked on purpose: single dict operations are atomic, and a lost race costs one more or one fewer line.
    """

    def __init__(self) -> None:
        self._quiet_until: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def admit(self, cause: str, now_s: float) -> int | None:
        """Return how many lines were held back since the last one, or None to hold this one back too."""
        if now_s < self._quiet_until.get(cause, -1.0):
            self._held_back[cause] = self._held_back.get(cause, 0) + 1
            return None
        self._quiet_until[cause] = now_s + _QUIET_S
        return self._held_back.pop(cause, 0)


_limiter = _CauseLimiter()


def warn(cause: str, message: str, *arguments: object) -> None:
    """Log a warning unless the same cause was logged within the last minute."""
    held_back = _limiter.admit(cause, time.monotonic())
    if held_back is None:
        return
    if held_back:
        message, arguments = f"{message} (%d more like this)", (*arguments, held_back)
    LOGGER.warning(message, *arguments)


def info(message: str, *arguments: object) -> None:
    """Log what happens once per session."""
    LOGGER.info(message, *arguments)
