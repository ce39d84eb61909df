"""`/ingest`, the endpoint of Pyroscope's older SDKs: the body is a profile, the query says whose it is.

The bodies are decoded by the native core; here stands what the query says.
"""

from __future__ import annotations

from functools import partial

from flamewire_server._native import decode_ingest
from flamewire_server.errors import RequestError
from flamewire_server.ingest.attime import parse_attime_ns
from flamewire_server.ingest.format import Decoding, Format, Head

__all__ = ["INGEST", "PYROSCOPE_INGEST", "parse_name", "read_sample_rate_hz", "read_time_ns"]

_DEFAULT_SAMPLE_RATE_HZ = 100
_MAX_SAMPLE_RATE_HZ = 10**9
_INT64_MAX = 2**63 - 1


def parse_name(name: str) -> tuple[str, list[tuple[str, str]]]:
    """Split `app{key=value,other=value}` into the application's name and its labels.

    Values are not quoted; of a key that is there twice the last value counts.

    Raises:
        RequestError: it has no name, or a label without a name or value sign.
    """
    app, brace, rest = name.partition("{")
    app = app.strip()
    if not app:
        raise _refuse(
            "name", name, "app or app{key=value,other=value}; the name of the application comes first"
        )
    labels: dict[str, str] = {}
    for pair in rest.partition("}")[0].split(",") if brace else ():
        key, equals, value = pair.partition("=")
        if not pair.strip():
            continue
        if not equals or not key.strip():
            raise _refuse("name", name, "app{key=value,other=value}")
        labels[key.strip()] = value.strip()
    return app, list(labels.items())


def _begin(head: Head) -> Decoding:
    query = head.query
    app, labels = parse_name(query.get("name", ""))
    decode = partial(
        decode_ingest,
        format=query.get("format", ""),
        content_type=head.content_type,
        app=app,
        labels=labels,
        from_ns=read_time_ns(head, "from"),
        spy_name=query.get("spyName") or "unknown",
        sample_rate_hz=read_sample_rate_hz(query.get("sampleRate", "")),
    )
    read_time_ns(head, "until")  # the end is not stored, but a sender should hear that it is wrong
    return Decoding(decode, lambda: b"")


def read_time_ns(head: Head, field: str) -> int:
    """Read a time of the query; now where it is absent. RequestError: it is none."""
    text = head.query.get(field, "")
    if not text:
        return head.now_ns
    try:
        time_ns = parse_attime_ns(text, now_ns=head.now_ns)
    except ValueError as error:
        raise _refuse(field, text, str(error)) from error
    if abs(time_ns) > _INT64_MAX:
        raise _refuse(field, text, "a time before the year 2262")
    return time_ns


def read_sample_rate_hz(text: str) -> int:
    """Read a rate; 100 where it is no number."""
    # As in Pyroscope, what is no number is taken as the default.
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        return _DEFAULT_SAMPLE_RATE_HZ
    return min(int(text), _MAX_SAMPLE_RATE_HZ)


def _refuse(field: str, value: str, wanted: str) -> RequestError:
    message = f"{field}={value[:200]!r} of the query cannot be used; send {wanted}"
    return RequestError("invalid_argument", message, reason="bad_query")


def _make(path: str) -> Format:
    return Format(name=path, path=path, content_type=None, begin=_begin, reply_type=None, refused_status=422)


INGEST = _make("/ingest")
PYROSCOPE_INGEST = _make("/pyroscope/ingest")
