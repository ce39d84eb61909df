"""The work of the services, by names that flame graphs show, and what each span of it cost."""

from __future__ import annotations

import os
import time

from opentelemetry import trace

REQUEST_S, STEP_S = 2.0, 2.0
"""CPU that a request burns in its root span and in a step within it. Where a span begins or ends between two
samples, up to 10 ms go to its neighbour; 80 ms where a loaded machine makes samples so dear that every eighth
alone is taken."""


def work_of_request(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def work_of_step(end_s: float) -> None:
    while time.thread_time() < end_s:
        sum(range(300))


def current_id() -> str:
    return trace.format_span_id(trace.get_current_span().get_span_context().span_id)


def handle() -> dict[str, object]:
    """Burn in the current span and in a child of it; tells the ids, and the CPU seconds of each."""
    root, began_s = current_id(), time.thread_time()
    work_of_request(began_s + REQUEST_S)
    between_s = time.thread_time()
    with trace.get_tracer("service").start_as_current_span("step"):
        step = current_id()
        work_of_step(between_s + STEP_S)
    return {
        "pid": os.getpid(),
        "root": root,
        "step": step,
        "request_s": between_s - began_s,
        "step_s": time.thread_time() - between_s,
    }
