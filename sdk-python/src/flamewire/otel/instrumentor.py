"""Zero code: what ``opentelemetry-instrument`` loads by its entry point ``flamewire``."""

from __future__ import annotations

import os
from typing import Final

from flamewire.errors import FlamewireError
from flamewire.log import warn

__all__ = ["FlamewireInstrumentor"]

SWITCHES: Final = (
    "FLAMEWIRE_ENABLED",
    "FLAMEWIRE_SERVER_URL",
    "PYROSCOPE_AGENT_ENABLED",
    "PYROSCOPE_PROFILING_ENABLED",
    "PYROSCOPE_SERVER_ADDRESS",
)
"""Profiling starts where one of these is set: to have the package installed is not to ask for it."""


class FlamewireInstrumentor:
    """Starts the default session with span profiles, if the environment asks for it; never raises.

    ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=flamewire`` keeps it from being loaded at all.
    """

    def instrument(self, **_: object) -> None:
        """Start, once the tracer provider is in place."""
        if not any(os.environ.get(name) for name in SWITCHES):
            return
        from flamewire.otel.starting import start

        try:
            start()
        except FlamewireError as error:
            warn("zero code", "profiling is not started: %s", error)

    def uninstrument(self, **_: object) -> None:
        """Stop the default session."""
        from flamewire.default import stop

        stop()
