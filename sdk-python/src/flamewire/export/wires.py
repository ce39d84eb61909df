"""The forms in which a window travels: one class for each, in one registry."""

from __future__ import annotations

import uuid
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


_PUSH: Final = PushWire()


def wire_of(options: Options) -> Wire:
    """Return the wire that the options ask for."""
    return _PUSH
