"""`POST /api/v1/import`: a file of any format with profiles; the query says whose they are and of when."""

from __future__ import annotations

from functools import partial

from flamewire_server._native import decode_ingest, decode_otlp, decode_push
from flamewire_server.errors import RequestError
from flamewire_server.ingest.format import Decode, Decoding, Format, Head
from flamewire_server.ingest.pyroscope import parse_name, read_sample_rate_hz, read_time_ns

__all__ = ["IMPORT"]

# Formats whose files name their service and their time themselves.
_WHOLE: dict[str, Decode] = {
    "push": decode_push,
    "otlp": partial(decode_otlp, is_json=False),
    "otlp-json": partial(decode_otlp, is_json=True),
}
_NAMED = ("pprof", "groups", "lines", "tree", "trie", "speedscope")
_MAX_ID_CHARACTERS = 200


def _begin(head: Head) -> Decoding:
    query = head.query
    wanted = query.get("format", "")
    if wanted in _WHOLE:
        unused = sorted({"name", "from", "id", "spyName", "sampleRate"} & set(query))
        if unused:
            raise _refuse(f"{unused[0]} is of no use with format={wanted}: the file says it; leave it out")
        return Decoding(_WHOLE[wanted], lambda: b"{}")
    if wanted not in _NAMED:
        raise _refuse(f"format={wanted[:40]!r} is not known; send one of {', '.join((*_NAMED, *_WHOLE))}")
    if len(query.get("id", "")) > _MAX_ID_CHARACTERS:
        raise _refuse(f"id has more than {_MAX_ID_CHARACTERS} characters; send a UUID or a name")
    app, labels = parse_name(query.get("name", ""))
    decode = partial(
        decode_ingest,
        format=wanted,
        content_type="",
        app=app,
        labels=labels,
        from_ns=read_time_ns(head, "from"),
        spy_name=query.get("spyName") or "import",
        sample_rate_hz=read_sample_rate_hz(query.get("sampleRate", "")),
        id=query.get("id", ""),
        is_time_given="from" in query,
    )
    return Decoding(decode, lambda: b"{}")


def _refuse(message: str) -> RequestError:
    return RequestError("invalid_argument", message, reason="bad_query")


IMPORT = Format(
    name="import", path="/api/v1/import", content_type=None, begin=_begin, reply_type="application/json"
)
