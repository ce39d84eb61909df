"""Starts the default session with what OpenTelemetry knows of the service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from opentelemetry import trace

from flamewire.config import RESOURCE_TAGS, RESOURCE_VARIABLE, SETTINGS
from flamewire.default import start_with
from flamewire.errors import ConfigurationError
from flamewire.otel.metrics import publish_metrics
from flamewire.otel.processor import FlamewireSpanProcessor

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from flamewire.session import Session

__all__ = ["follow_provider", "resource_environment", "start"]

_SERVICE_NAME: Final = "service.name"
_SERVICE_VARIABLE: Final = "OTEL_SERVICE_NAME"


def start(
    provider: trace.TracerProvider | None = None, *, trace_id: bool = False, **options: object
) -> Session:
    """Start profiling, label samples with spans, and offer what is counted to the global meter provider.

    The service's name, version and environment come from the provider's resource where neither an option nor
    a ``FLAMEWIRE_*`` or ``PYROSCOPE_*`` variable says otherwise.

    Args:
        provider: the tracer provider; default the global one, which has to be set before.
        trace_id: let samples carry the id of the trace too; for a flamewire server.
        options: those of ``flamewire.start()``.

    Raises:
        ConfigurationError: an option is not known or cannot be used, or the provider is not the SDK's.
        AlreadyStartedError: a session with other options runs.
        EngineError: no engine runs here.
    """
    unknown = sorted(options.keys() - {setting.name for setting in SETTINGS})
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is not an option; those of flamewire.start() are")
    chosen = provider if provider is not None else trace.get_tracer_provider()
    if not hasattr(chosen, "add_span_processor"):
        raise ConfigurationError(
            f"{type(chosen).__name__} takes no span processors; set a TracerProvider of opentelemetry.sdk"
            " first, or hand one over"
        )
    session = start_with(options, resource_environment(getattr(chosen, "resource", None), os.environ))
    if session.running:
        follow_provider(chosen, trace_id=trace_id)
        publish_metrics()
    return session


def follow_provider(provider: trace.TracerProvider, *, trace_id: bool) -> None:
    """Add a span processor to the provider, unless it has one of ours."""
    active = getattr(provider, "_active_span_processor", None)
    present = getattr(active, "_span_processors", ())
    if not any(isinstance(processor, FlamewireSpanProcessor) for processor in present):
        provider.add_span_processor(FlamewireSpanProcessor(trace_id=trace_id))  # type: ignore[attr-defined]


def resource_environment(resource: Resource | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as if it had set the resource, which outweighs its own OTEL_* variables."""
    seen = dict(environment)
    if resource is None:
        return seen
    known = {
        name: str(resource.attributes[name])
        for name in (_SERVICE_NAME, *RESOURCE_TAGS)
        if resource.attributes.get(name)
    }
    if known.get(_SERVICE_NAME, "").startswith("unknown_service"):
        del known[_SERVICE_NAME]
    if _SERVICE_NAME in known:
        seen.pop(_SERVICE_VARIABLE, None)
    seen[RESOURCE_VARIABLE] = ",".join(f"{name}={quote(value, safe='')}" for name, value in known.items())
    return seen
