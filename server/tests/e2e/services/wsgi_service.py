"""A WSGI service whose requests are spans; the session starts where the module is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from work import handle

import flamewire.otel

trace.set_tracer_provider(TracerProvider())
flamewire.otel.start()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    with trace.get_tracer("service").start_as_current_span("request"):
        return [json.dumps(handle()).encode()]
