"""A program with OpenTelemetry spans, profiled by flamewire: what each span burnt is known.

Usage: python span_program.py SERVER_URL SERVICE_NAME

Two asyncio tasks, each in a span of its own, burn CPU in turns of about 50 ms; a third span has a child,
which burns half of it. Prints the spans' ids and CPU seconds as one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, format_span_id

import flamewire.otel

TURNS_S = [random.Random(number).uniform(0.04, 0.06) for number in range(40)]


def work_a(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def work_b(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def work_of_parent(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def work_of_child(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def burn(work: Callable[[float], None], cpu_s: float) -> float:
    began_s = time.thread_time()
    work(began_s + cpu_s)
    return time.thread_time() - began_s


def said(span: Span, cpu_s: float) -> dict[str, object]:
    return {"id": format_span_id(span.get_span_context().span_id), "cpu_s": cpu_s}


def main(server_url: str, service: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": service, "service.version": "3"}))
    session = flamewire.otel.start(provider, server_url=server_url, shutdown_timeout_s=20)
    tracer = provider.get_tracer("program")

    async def task(name: str, work: Callable[[float], None]) -> dict[str, object]:
        with tracer.start_as_current_span(name) as span:
            cpu_s = 0.0
            for turn_s in TURNS_S:
                cpu_s += burn(work, turn_s)
                await asyncio.sleep(0)
        return said(span, cpu_s)

    async def both() -> list[dict[str, object]]:
        return await asyncio.gather(task("task a", work_a), task("task b", work_b))

    a, b = asyncio.run(both())
    with tracer.start_as_current_span("parent") as parent:
        of_parent_s = burn(work_of_parent, 1.0)
        with tracer.start_as_current_span("child") as child:
            of_child_s = burn(work_of_child, 1.0)
    burnt_s = time.process_time()
    session.stop()
    spans = {
        "a": a,
        "b": b,
        "parent": said(parent, of_parent_s + of_child_s),
        "child": said(child, of_child_s),
    }
    status = session.status()
    apart_s = burnt_s / status.samples_gathered
    print(json.dumps({"engine": status.engine, "sample_s": apart_s, "spans": spans}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
