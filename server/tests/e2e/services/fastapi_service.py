"""The same, profiled with its spans as the guide says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi_plain import app
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

import flamewire
import flamewire.otel

trace.set_tracer_provider(TracerProvider())


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    flamewire.otel.start()
    yield
    flamewire.stop()


app.router.lifespan_context = lifespan
FastAPIInstrumentor.instrument_app(app)
