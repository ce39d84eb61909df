"""The same; each process of the worker traces and profiles its tasks as the guide says."""

from __future__ import annotations

from celery.signals import worker_process_init
from celery_plain import app
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

import flamewire.otel

__all__ = ["app"]


@worker_process_init.connect(weak=False)
def trace_and_profile(**_: object) -> None:
    trace.set_tracer_provider(TracerProvider())
    CeleryInstrumentor().instrument()
    flamewire.otel.start()
