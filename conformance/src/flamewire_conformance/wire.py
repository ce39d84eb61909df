"""Turns recorded requests into uploads: push.v1, and the multipart or raw bodies of /ingest."""

from __future__ import annotations

import email.parser
import email.policy
import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from flamewire_conformance.errors import WireError
from flamewire_conformance.pprof import Profile, read_profile
from flamewire_conformance.protowire import Message

__all__ = ["PUSH_PATH", "Request", "Upload", "read_uploads"]

PUSH_PATH = "/push.v1.PusherService/Push"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived.

    Attributes:
        headers: names in lower case.
        received_unix_ns: when its body was complete, calendar clock.
        status: what it was answered, None where the connection was cut or left hanging.
        stored: whether a server would have kept it, even where the answer did not get through.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_unix_ns: int
    status: int | None
    stored: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """One profile within a request.

    Attributes:
        labels: those of its series, in order, repeated names kept.
        profile_id: empty where the format has none.
    """

    request: Request
    labels: tuple[tuple[str, str], ...]
    profile_id: str
    profile: Profile

    def label(self, name: str) -> str:
        """Return a label of the series, empty where it is absent."""
        return next((value for key, value in self.labels if key == name), "")


def read_uploads(request: Request) -> list[Upload]:
    """Return the profiles of a request; none for paths that carry none.

    Raises:
        WireError: the body is not what its path and headers say.
    """
    path = urlsplit(request.path).path
    if path.endswith(PUSH_PATH):
        return _read_push(request)
    return _read_ingest(request) if path.endswith("/ingest") else []


def _body(request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "gzip":
        try:
            return gzip.decompress(request.body)
        except (OSError, EOFError, zlib.error) as error:
            raise WireError(f"the body's gzip is broken: {error}") from error
    if encoding != "identity":
        raise WireError(f"the body has the encoding {encoding}")
    return request.body


def _read_push(request: Request) -> list[Upload]:
    uploads = []
    for series in Message(_body(request)).messages(1):
        labels = tuple((pair.text(1), pair.text(2)) for pair in series.messages(1))
        for sample in series.messages(2):
            profile = read_profile((sample.chunks(1) or [b""])[-1])
            uploads.append(Upload(request, labels, sample.text(2), profile))
    return uploads


def _read_ingest(request: Request) -> list[Upload]:
    query = parse_qs(urlsplit(request.path).query)
    name, labels = _series_name(query.get("name", [""])[0])
    content_type = request.headers.get("content-type", "")
    data = _body(request)
    if content_type.startswith("multipart/"):
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + data)
        found = [
            part for part in parts.walk() if part.get_param("name", header="content-disposition") == "profile"
        ]
        if not found:
            raise WireError("the multipart body has no part named profile")
        payload = found[0].get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
    return [Upload(request, (*labels, ("service_name", name)), "", read_profile(data))]


def _series_name(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    match = re.fullmatch(r"(?P<name>[^{]*)(?:\{(?P<labels>.*)\})?", text, re.DOTALL)
    if match is None:
        raise WireError(f"the query's name {text!r} is not name{{label=value,...}}")
    pairs = [pair.partition("=") for pair in (match["labels"] or "").split(",") if pair]
    return match["name"], tuple((key.strip(), value.strip('"')) for key, _, value in pairs)
