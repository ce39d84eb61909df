"""A real tracer provider with our processor, and what samples are labelled with at a point of the program."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer


def _is_there(*names: str) -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


if not _is_there("opentelemetry.sdk", "flamewire._native"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    from opentelemetry.sdk.trace import TracerProvider

    from flamewire.otel import FlamewireSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(FlamewireSpanProcessor())
    yield provider
    provider.shutdown()


@pytest.fixture
def tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("test")


@pytest.fixture
def labels() -> Iterator[Callable[[], dict[str, str]]]:
    """Takes a sample of the calling thread, as the signal handler does, and returns its labels."""
    from flamewire import _native as native

    native.start(5_000_000, 128)
    yield lambda: native.capture()[0][1]
    native.stop()
    scope = native.scope_variable.get(None)
    assert scope is None or (scope.labels, scope.span) == ({}, {}), "a test left its scope behind"


@pytest.fixture
def id_of() -> Callable[[Span], str]:
    from opentelemetry.trace import format_span_id

    return lambda span: format_span_id(span.get_span_context().span_id)
