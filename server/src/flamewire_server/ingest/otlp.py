"""OTLP profiles: `POST /v1development/profiles`, and the service's method, which gRPC calls too."""

from __future__ import annotations

import json

from flamewire_server._native import Limits, ProfileBatch, decode_otlp
from flamewire_server.ingest.encoding import Encoding
from flamewire_server.ingest.format import Decoding, Format, Head

__all__ = ["FORMATS", "METHOD"]

METHOD = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
_PATH = "/v1development/profiles"
_JSON = "application/json"
_MAX_MESSAGE_BYTES = 1000


class _Export:
    """One request: its decoding, and what its answer has to tell of it."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._rejected = 0
        self._reason = ""

    def decode(self, body: bytes, *, encoding: Encoding, now_ns: int, limits: Limits) -> ProfileBatch:
        batch = decode_otlp(body, encoding=encoding, is_json=self._is_json, now_ns=now_ns, limits=limits)
        self._rejected, self._reason = batch.rejected, batch.rejection or ""
        return batch

    def left_out(self) -> int:
        return self._rejected

    def reply(self) -> bytes:
        """Encode an ExportProfilesServiceResponse; without a partial success it is empty."""
        if self._is_json:
            partial = {"rejectedProfiles": str(self._rejected), "errorMessage": self._reason}
            return json.dumps({"partialSuccess": partial} if self._rejected else {}).encode()
        if not self._rejected:
            return b""
        reason = self._reason.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore").encode()
        partial_success = b"\x08" + _varint(self._rejected) + b"\x12" + _varint(len(reason)) + reason
        return b"\x0a" + _varint(len(partial_success)) + partial_success


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _make(path: str, content_type: str) -> Format:
    def begin(head: Head) -> Decoding:
        export = _Export(is_json=content_type == _JSON)
        return Decoding(export.decode, export.reply, export.left_out)

    name = f"otlp {content_type}"
    return Format(name=name, path=path, content_type=content_type, begin=begin, reply_type=content_type)


FORMATS = (
    _make(_PATH, "application/x-protobuf"),
    _make(_PATH, "application/protobuf"),
    _make(_PATH, _JSON),
    _make(METHOD, "application/proto"),
    _make(METHOD, "application/x-protobuf"),
    _make(METHOD, "application/protobuf"),
    _make(METHOD, _JSON),
)
