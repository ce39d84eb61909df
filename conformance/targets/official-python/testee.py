"""The conformance testee of pyroscope-io: the contract's options mapped onto its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pyroscope
from workload import UnsupportedError, main

RENAMED = {
    "service_name": "application_name",
    "server_url": "server_address",
    "sample_rate_hz": "sample_rate",
    "basic_auth_user": "basic_auth_username",
    "basic_auth_password": "basic_auth_password",
    "tags": "tags",
    "tenant_id": "tenant_id",
    "http_headers": "http_headers",
}


class Pyroscope:
    name = "pyroscope-io"
    version = version("pyroscope-io")

    def __init__(self) -> None:
        self.tracers: dict[bool, Any] = {}

    def start(self, config: dict[str, Any]) -> None:
        options: dict[str, Any] = {}
        for key, value in config.items():
            if key == "upload_interval_s":
                options["upload_interval"] = max(1, round(value))  # it knows whole seconds only
            elif key == "auth_token":
                options["http_headers"] = {"Authorization": f"Bearer {value}"}
            elif key == "shutdown_timeout_s":
                continue  # it has no such option
            elif key in RENAMED:
                options[RENAMED[key]] = value
            else:
                raise UnsupportedError(key)
        if not pyroscope.configure(**options):
            raise RuntimeError("configure() returned False")

    def stop(self) -> None:
        pyroscope.shutdown()

    def flush(self) -> None:
        raise UnsupportedError("flush")

    @contextmanager
    def span(self, name: str, sampled: bool) -> Iterator[str]:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
        from pyroscope.otel import PyroscopeSpanProcessor

        if sampled not in self.tracers:
            provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
            provider.add_span_processor(PyroscopeSpanProcessor())
            self.tracers[sampled] = provider.get_tracer("conformance")
        with self.tracers[sampled].start_as_current_span(name) as span:
            yield f"{span.get_span_context().span_id:016x}"

    def tag(self, key: str, value: Any) -> Any:
        return pyroscope.tag_wrapper({key: value})


if __name__ == "__main__":
    main(Pyroscope())
