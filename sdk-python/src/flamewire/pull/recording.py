"""What a session gathers while somebody waits for it."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flamewire.pprof import Frame, ValueType, encode_samples
from flamewire.pprof_read import read

if TYPE_CHECKING:
    from flamewire.engines.base import Window
    from flamewire.session import Session

__all__ = ["Recording", "merge"]

_CUT_S: Final = 10.0


class Recording:
    """Gathers the windows of one profile type from ``begin`` to ``end``.

    Any number may go on at once, beside the session's own uploads: each beginning and end cuts the windows of
    all, and each has its own merged again. Not thread-safe itself.
    """

    def __init__(self, session: Session, profile_type: str) -> None:
        self._session = session
        self._profile_type = profile_type
        self._windows: list[Window] = []
        self._began_unix_ns = 0
        self._began_s = 0.0
        self._stop_listening: Callable[[], None] = _nothing

    def begin(self) -> None:
        """Begin; blocks until the window that is under way has ended, milliseconds."""
        self._began_unix_ns, self._began_s = time.time_ns(), time.monotonic()
        self._stop_listening = self._session.listen(self._hear)
        self._session.cut(_CUT_S)

    def end(self) -> bytes:
        """End; returns the pprof of what was gathered, without samples where nothing ran."""
        self._session.cut(_CUT_S)
        self.cancel()
        if self._windows:
            return merge([window.pprof for window in self._windows])
        value_type = ValueType(self._profile_type, "nanoseconds")
        return encode_samples(
            (),
            sample_types=(value_type,),
            period_type=value_type,
            period=self._session.options.period_ns,
            time_unix_ns=self._began_unix_ns,
            duration_ns=int((time.monotonic() - self._began_s) * 1e9),
        )

    def cancel(self) -> None:
        """End without a result."""
        self._stop_listening()

    def _hear(self, window: Window) -> None:
        # The window that was under way at the beginning belongs to those before.
        if window.profile_type == self._profile_type and window.start_unix_ns >= self._began_unix_ns:
            self._windows.append(window)


def _nothing() -> None:
    """Stand in before a recording has begun."""


def merge(pprofs: list[bytes]) -> bytes:
    """Return one profile with the samples of all, in the order of time; their types are the same.

    Costs O(frames) with the GIL held, but for one alone, which is returned as it is.
    """
    if len(pprofs) == 1:
        return pprofs[0]
    profiles = sorted(map(read, pprofs), key=lambda profile: profile.time_unix_ns)
    first = profiles[0]
    totals: dict[tuple[tuple[Frame, ...], tuple[tuple[str, str], ...]], tuple[int, ...]] = {}
    for sample in (sample for profile in profiles for sample in profile.samples):
        key = (sample.stack, sample.labels)
        before = totals.get(key, (0,) * len(sample.values))
        totals[key] = tuple(map(operator.add, before, sample.values))
    return encode_samples(
        ((stack, values, labels) for (stack, labels), values in totals.items()),
        sample_types=first.sample_types,
        period_type=first.period_type,
        period=first.period,
        time_unix_ns=first.time_unix_ns,
        duration_ns=max(each.time_unix_ns + each.duration_ns for each in profiles) - first.time_unix_ns,
    )
