"""What the default session counts, as metrics of OpenTelemetry.

The instruments are observable: they cost nothing until a reader of the program's own meter provider collects
them. Without such a provider nobody does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from flamewire._version import __version__
from flamewire.default import status

if TYPE_CHECKING:
    from flamewire.snapshot import Status

__all__ = ["publish_metrics"]

_FRESH_S: Final = 0.5

_Values = Mapping[str, float]
"""Value by reason; "" where there are no reasons."""


class _Publisher:
    """Registers the instruments once for each meter provider."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[metrics.MeterProvider] = []

    def register(self, provider: metrics.MeterProvider) -> None:
        with self._lock:
            if any(known is provider for known in self._known):
                return
            self._known.append(provider)
        meter = provider.get_meter("flamewire", __version__)
        snapshot = _Snapshot()
        for name, unit, words, read in _COUNTERS:
            observe = _Observing(snapshot, read, rises=True)
            meter.create_observable_counter(name, [observe], unit=unit, description=words)
        for name, unit, words, read in _LEVELS:
            observe = _Observing(snapshot, read, rises=False)
            meter.create_observable_up_down_counter(name, [observe], unit=unit, description=words)


class _Snapshot:
    """The status, read once for all instruments of a collection."""

    def __init__(self) -> None:
        self._taken: tuple[float, Status] | None = None

    def read(self) -> Status:
        now_s = time.monotonic()
        taken = self._taken
        if taken is None or now_s - taken[0] > _FRESH_S:
            taken = self._taken = (now_s, status())
        return taken[1]


class _Observing:
    """The callback of one instrument. A session that starts anew counts from 0; its counter goes on."""

    def __init__(self, snapshot: _Snapshot, read: Callable[[Status], _Values], *, rises: bool) -> None:
        self._snapshot = snapshot
        self._read = read
        self._rises = rises
        self._last: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def __call__(self, _: CallbackOptions) -> Iterable[Observation]:
        found = self._snapshot.read()
        if found.options is None:
            return
        values = dict(self._read(found))
        if self._rises:
            for reason in {*values, *self._last}:
                value = values.get(reason, 0)
                if value < self._last.get(reason, 0):
                    self._before[reason] = self._before.get(reason, 0) + self._last[reason]
                self._last[reason] = value
                values[reason] = self._before.get(reason, 0) + value
        for reason, value in values.items():
            yield Observation(value, {"reason": reason} if reason else {})


_Instrument = tuple[str, str, str, Callable[["Status"], _Values]]

_COUNTERS: Final[tuple[_Instrument, ...]] = (
    ("flamewire.gathered_samples", "{sample}", "Samples taken", lambda seen: {"": seen.samples_gathered}),
    ("flamewire.dropped_samples", "{sample}", "Samples lost", lambda seen: seen.dropped_samples or {}),
    (
        "flamewire.pushed_profiles",
        "{profile}",
        "Profiles acknowledged",
        lambda seen: {"": seen.pushed_profiles},
    ),
    ("flamewire.dropped_profiles", "{profile}", "Profiles lost", lambda seen: seen.dropped_profiles or {}),
    ("flamewire.retries", "{attempt}", "Pushes put off to be tried again", lambda seen: {"": seen.retries}),
    ("flamewire.own_cpu", "s", "CPU that profiling cost", lambda seen: {"": seen.own_cpu_s}),
)
_LEVELS: Final[tuple[_Instrument, ...]] = (
    ("flamewire.queued_profiles", "{profile}", "Profiles that wait", lambda seen: {"": seen.queued_profiles}),
    ("flamewire.queued_bytes", "By", "Size of the profiles that wait", lambda seen: {"": seen.queued_bytes}),
    ("flamewire.threads", "{thread}", "Threads being sampled", lambda seen: {"": seen.threads}),
)
_publisher: Final = _Publisher()


def publish_metrics(provider: metrics.MeterProvider | None = None) -> None:
    """Register the default session's counters with a meter provider; a second call for it does nothing.

    Args:
        provider: default the global one, also where that is set later.
    """
    _publisher.register(provider if provider is not None else metrics.get_meter_provider())
