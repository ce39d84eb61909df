"""push.v1.PusherService/Push, in protobuf and in JSON. The JSON is turned into protobuf; one decoder reads
both."""

from __future__ import annotations

from flamewire_server._native import Limits, ProfileBatch, decode_push
from flamewire_server.errors import RequestError
from flamewire_server.ingest.encoding import Encoding, unpack
from flamewire_server.ingest.format import Decode, Decoding, Format, Head

__all__ = ["JSON", "PROTO"]

_PATH = "/push.v1.PusherService/Push"


def _decode_json(body: bytes, *, encoding: Encoding, now_ns: int, limits: Limits) -> ProfileBatch:
    # Imported here: senders of JSON are few, and the import costs 40 ms of the start.
    from google.protobuf import json_format

    from flamewire_server._proto.push.v1 import push_pb2

    text = unpack(body, encoding, limit_bytes=limits.max_request_bytes)
    message = push_pb2.PushRequest()
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise RequestError(
            "invalid_argument",
            f"the body is no push.v1.PushRequest in JSON: {str(error)[:200]}. Send"
            ' {"series":[{"labels":[{"name":..,"value":..}],'
            '"samples":[{"rawProfile":"<base64>","ID":"<uuid>"}]}]}',
            reason="bad_json",
        ) from error
    return decode_push(message.SerializeToString(), encoding="identity", now_ns=now_ns, limits=limits)


def _make(name: str, content_type: str, decode: Decode, reply: bytes) -> Format:
    def begin(head: Head) -> Decoding:
        return Decoding(decode, lambda: reply)

    return Format(name=name, path=_PATH, content_type=content_type, begin=begin, reply_type=content_type)


PROTO = _make("push.v1+proto", "application/proto", decode_push, b"")
JSON = _make("push.v1+json", "application/json", _decode_json, b"{}")
