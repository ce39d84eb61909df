"""What an OpenTelemetry resource says about the service (SDK-007)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

from flamewire.config.checks import without_surrogates
from flamewire.config.readers import read_list

__all__ = ["RESOURCE_TAGS", "RESOURCE_VARIABLE", "take_from_resource"]

RESOURCE_VARIABLE: Final = "OTEL_RESOURCE_ATTRIBUTES"
RESOURCE_TAGS: Final = {
    "service.namespace": "service_namespace",
    "service.version": "service_version",
    "deployment.environment": "deployment_environment",
    "deployment.environment.name": "deployment_environment",
}
"""The attributes of an OpenTelemetry resource that become tags: those that a process shares with its like."""


def take_from_resource(values: dict[str, Any], sources: dict[str, str], text: str) -> None:
    """Let an OpenTelemetry resource, as its variable has it, say what nobody else has said (SDK-007)."""
    attributes: dict[str, str] = {}
    for part in read_list(text):
        name, sign, value = part.partition("=")
        value = unquote(value.strip()).strip()
        if sign and value and not any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
            attributes[name.strip()] = without_surrogates(value)
    service_name = attributes.get("service.name", "")
    if "service_name" not in values and service_name:
        values["service_name"] = service_name
        sources["service_name"] = RESOURCE_VARIABLE
    found = {tag: attributes[name] for name, tag in RESOURCE_TAGS.items() if name in attributes}
    if found:
        if "tags" not in values:
            sources["tags"] = RESOURCE_VARIABLE
        values["tags"] = MappingProxyType({**found, **values.get("tags", {})})
