"""The forms in which a window travels: one class for each, in one registry."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from flamewire.export.envelope import push_request, series_labels

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import Window

__all__ = ["PushWire", "Wire", "wire_of"]


class Wire(Protocol):
    """How a window becomes the body of a POST request."""

    path: ClassVar[str]
    """Where it is posted, below the server's address."""
    content_type: ClassVar[str]
    joinable: ClassVar[bool]
    """Whether bodies one after another are a body again."""

    def encode(self, options: Options, window: Window, profile_id: uuid.UUID) -> bytes:
        """Return the body, not compressed."""

    def refusal(self, answer: bytes) -> str:
        """Return why a server that answered with success has not taken all, "" where it has."""


class PushWire:
    """push.v1 over Connect (ING-001): what flamewire, Grafana Pyroscope and Alloy take.

    Its message is one repeated field, and messages that follow each other are merged by protobuf's rules.
    """

    path: ClassVar[str] = "/push.v1.PusherService/Push"
    content_type: ClassVar[str] = "application/proto"
    joinable: ClassVar[bool] = True

    def encode(self, options: Options, window: Window, profile_id: uuid.UUID) -> bytes:
        """Return a PushRequest with one series that holds one profile."""
        return push_request(series_labels(options, window.profile_type), window.pprof, str(profile_id))

    def refusal(self, answer: bytes) -> str:
        """Return "": this wire takes all or none (ING-011)."""
        return ""


_WIRES: Final = {"push": "flamewire.export.wires:PushWire", "otlp": "flamewire.export.otlp:OtlpWire"}


def wire_of(options: Options) -> Wire:
    """Return the wire that the options ask for; where nothing is exported, any will do."""
    module_name, _, class_name = _WIRES.get(options.export_protocol, _WIRES["push"]).partition(":")
    wire: Wire = getattr(import_module(module_name), class_name)()
    return wire
