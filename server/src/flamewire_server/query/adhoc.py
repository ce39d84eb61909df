"""Reads one file as a profile: the way of a push through the core, but into a folder that goes at once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flamewire_server._native import DecodeError, Encoder, Limits, Reader, Selection, Tree, decode_ingest
from flamewire_server.errors import RequestError
from flamewire_server.model.labels import PROFILE_TYPE

__all__ = ["OpenProfile", "open_profile", "upload_limits"]

_TENANT = "upload"
_AGES_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class OpenProfile:
    """A file that was read: its profile types, and its trees."""

    samples: list[str]
    symbols: list[str]
    # Profile type -> fingerprints.
    series: dict[str, list[int]]

    @property
    def types(self) -> list[str]:
        """The profile types, sorted."""
        return sorted(self.series)

    def tree(self, profile_type: str) -> Tree:
        """Add up the samples of one type."""
        rows = Selection(series=self.series[profile_type], start_ns=-(1 << 62), end_ns=1 << 62)
        return Reader(max_cached_bytes=0).tree(_TENANT, self.samples, self.symbols, rows)


@contextmanager
def open_profile(body: bytes, limits: Limits) -> Iterator[OpenProfile]:
    """Read a file: pprof, gzipped or not, speedscope, or folded stacks, which is told from its content.

    Raises:
        RequestError: it is none of these, exceeds a limit, or has no samples.
    """
    try:
        batch = decode_ingest(
            body,
            encoding="identity",
            format=_format_of(body),
            content_type="",
            app="upload",
            labels=[],
            from_ns=time.time_ns(),
            spy_name="unknown",
            sample_rate_hz=100,
            now_ns=time.time_ns(),
            limits=limits,
        )
    except DecodeError as error:
        raise RequestError(
            "invalid_argument", f"the file cannot be read as a profile: {error.message}", reason="bad_upload"
        ) from error
    series: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="flamewire-upload-") as name:
        samples, symbols = [], []
        blocks = Encoder().encode(_TENANT, [(batch, range(batch.profile_count))])
        for number, block in enumerate(blocks):
            samples.append(_write(Path(name), f"{number}.samples", block.samples))
            if block.symbols is not None:
                symbols.append(_write(Path(name), f"{number}.symbols", block.symbols))
            for one in block.series:
                series.setdefault(dict(one.labels)[PROFILE_TYPE], []).append(one.fingerprint)
        if not series:
            raise RequestError("invalid_argument", "the file has no samples", reason="bad_upload")
        yield OpenProfile(samples, symbols, series)


def upload_limits(limits: Limits) -> Limits:
    """Give the limits of pushes, but for the age: a file may be of any time."""
    return Limits(
        max_request_bytes=limits.max_request_bytes,
        max_profile_bytes=limits.max_profile_bytes,
        max_samples=limits.max_samples,
        max_sample_labels=limits.max_sample_labels,
        max_label_names=limits.max_label_names,
        max_label_name_bytes=limits.max_label_name_bytes,
        max_label_value_bytes=limits.max_label_value_bytes,
        max_stack_depth=limits.max_stack_depth,
        max_string_bytes=limits.max_string_bytes,
        reject_older_than_ns=_AGES_NS,
        reject_newer_than_ns=_AGES_NS,
    )


def _format_of(body: bytes) -> str:
    if body[:2] == b"\x1f\x8b":
        return "pprof"
    start = body[:64].lstrip()
    if start.startswith(b"{"):
        return "speedscope"
    # The first field of a pprof is its sample type, a message with the tag 0x0a; no text begins with that.
    if body[:1] == b"\x0a" and b"\n" not in body[1:2]:
        return "pprof"
    return "groups"


def _write(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)
