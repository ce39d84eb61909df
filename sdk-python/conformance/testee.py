"""The conformance testee of flamewire's Python SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workload import UnsupportedError, main

import flamewire


class Flamewire:
    name = "flamewire"
    version = flamewire.__version__

    def __init__(self) -> None:
        self.tracers: dict[bool, Any] = {}

    def start(self, config: dict[str, Any]) -> None:
        flamewire.start(**config)

    def stop(self) -> None:
        flamewire.stop()

    def flush(self) -> None:
        flamewire.flush(timeout_s=10)

    def tag(self, key: str, value: Any) -> Any:
        return flamewire.tags(**{key: value})

    @contextmanager
    def span(self, name: str, sampled: bool) -> Iterator[str]:
        try:
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
        except ImportError:
            raise UnsupportedError("spans: opentelemetry-sdk is not installed") from None
        from flamewire.otel import FlamewireSpanProcessor

        if sampled not in self.tracers:
            provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
            provider.add_span_processor(FlamewireSpanProcessor())
            self.tracers[sampled] = provider.get_tracer("conformance")
        with self.tracers[sampled].start_as_current_span(name) as span:
            yield f"{span.get_span_context().span_id:016x}"


if __name__ == "__main__":
    main(Flamewire())
