"""push.v1.PushRequest, written by hand: two nested length-delimited fields."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from flamewire._version import __version__
from flamewire.protowire import delimited

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["push_request", "series_labels"]

_SERIES_NAMES: Final = {"cpu": "process_cpu", "wall": "wall"}


def series_labels(options: Options, profile_type: str) -> dict[str, str]:
    """Return the labels of the series that a profile type of this session belongs to.

    The names of SDK and runtime are those that the official SDKs send; a user's tag of the same name wins.
    """
    return {
        "otel.scope.name": "flamewire/python",
        "otel.scope.version": __version__,
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        **options.tags,
        "service_name": options.service_name,
        "__name__": _SERIES_NAMES[profile_type],
    }


def push_request(labels: Mapping[str, str], pprof: bytes, profile_id: str) -> bytes:
    """Return a PushRequest with one series that holds one profile.

    Args:
        labels: the series' labels, ``__name__`` and ``service_name`` among them.
        pprof: a google.v1.Profile.
        profile_id: UUID by which the server recognises a profile that it was sent twice.
    """
    pairs = b"".join(
        delimited(1, delimited(1, _utf8(name)) + delimited(2, _utf8(value)))
        for name, value in sorted(labels.items())
    )
    sample = delimited(1, pprof) + delimited(2, _utf8(profile_id))
    return delimited(1, pairs + delimited(2, sample))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
