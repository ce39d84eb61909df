"""Faults of a server that takes profiles: each is a function that is given an exchange before it is sent on.

A function's docstring is what is said of the fault; its name with `-` for `_` is its name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from itertools import count

from exchange import Exchange, edit, edit_profiles, edit_samples, edit_series, join, labels_of, parts, values

from flamewire_conformance.protowrite import bytes_field, integer_field, packed_field

Fault = Callable[[Exchange], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


def _takes(exchange: Exchange) -> bool:
    return exchange.is_push or exchange.is_ingest


def _new_ids(exchange: Exchange) -> None:
    def sample(one: bytes) -> bytes:
        return join([part for part in parts(one) if part[0] != 2]) + bytes_field(2, str(uuid.uuid4()))

    edit_series(exchange, lambda series: edit(series, 2, sample))
    if exchange.is_push and exchange.is_json:
        fields = exchange.asked()
        for series in fields.get("series", []):
            for one in series.get("samples", []):
                one["ID"] = str(uuid.uuid4())
        if fields:
            exchange.ask_instead(fields)


@fault
def stores_retries_twice(exchange: Exchange) -> None:
    """Does not look at ids."""
    _new_ids(exchange)


@fault
def counts_twice(exchange: Exchange) -> None:
    """Stores each profile twice."""
    if _takes(exchange):
        exchange.send()
        _new_ids(exchange)
        exchange.send()


@fault
def stores_nothing(exchange: Exchange) -> None:
    """Acknowledges and forgets."""
    if _takes(exchange):
        exchange.reply(200)


@fault
def stores_late(exchange: Exchange) -> None:
    """Acknowledges before it has stored: with the next request it does."""
    if _takes(exchange):
        exchange.memory["waiting"] = (exchange.target, exchange.body, exchange.headers)
        exchange.reply(200)


@fault
def answers_200_to_garbage(exchange: Exchange) -> None:
    """Acknowledges what it cannot read."""
    if _takes(exchange):
        exchange.send()
        if exchange.status >= 400:
            exchange.reply(200)


@fault
def answers_500_to_garbage(exchange: Exchange) -> None:
    """Calls a sender's mistakes its own."""
    if _takes(exchange):
        exchange.send()
        if exchange.status >= 400:
            exchange.reply(500, b'{"code":"internal","message":"an unexpected error has come to pass here"}')


@fault
def chokes_on_odd_requests(exchange: Exchange) -> None:
    """Fails itself over odd text, odd JSON and deep trees."""
    odd = (b"\\ud800", b"\xed\xa0\x80", b'"series": [], "series"', b"[[[[", b"\x01a\x00\x01" * 9)
    if _takes(exchange) and any(one in exchange.body for one in odd):
        exchange.reply(500)


@fault
def keeps_the_good_part(exchange: Exchange) -> None:
    """Of a request that it refuses it stores what it can."""
    if exchange.is_push and exchange.is_json:
        fields = exchange.asked()
        exchange.send()
        if exchange.status == 400 and fields.get("series"):
            status, headers, answer = exchange.status, exchange.answer_headers, exchange.answer
            for series in fields["series"]:
                series["samples"] = series.get("samples", [])[:1]
            exchange.ask_instead(fields)
            exchange.send()
            exchange.status, exchange.answer_headers, exchange.answer = status, headers, answer


@fault
def knows_ids_alone(exchange: Exchange) -> None:
    """Drops what comes under a known id, whatever it is."""
    if exchange.is_push:
        ids = set(re.findall(rb"[0-9a-f]{8}-[0-9a-f-]{27}", exchange.body))
        known = exchange.memory.setdefault("ids", set())
        if ids & known:
            exchange.reply(200, b"", "application/proto")
        known |= ids


@fault
def drops_repetitions(exchange: Exchange) -> None:
    """Drops a request that is the same as one before, with or without an id."""
    if _takes(exchange):
        key = (exchange.target, exchange.body)
        if key in exchange.memory.setdefault("bodies", set()):
            exchange.reply(200, b"", "application/proto")
        exchange.memory["bodies"].add(key)


@fault
def knows_uuids_alone(exchange: Exchange) -> None:
    """Takes an id that is no UUID for none."""

    def sample(one: bytes) -> bytes:
        return join([part for part in parts(one) if part[0] != 2 or len(part[2]) == 36])  # type: ignore[arg-type]

    edit_series(exchange, lambda series: edit(series, 2, sample))


@fault
def takes_no_json(exchange: Exchange) -> None:
    """Takes pushes in protobuf only."""
    if exchange.is_push and exchange.is_json:
        exchange.reply(415)


@fault
def takes_no_gzip(exchange: Exchange) -> None:
    """Takes no compressed body."""
    if _takes(exchange) and (
        exchange.headers.get("content-encoding") == "gzip" or b"\x1f\x8b" in exchange.body
    ):
        exchange.reply(501, b'{"code":"unimplemented"}')


@fault
def takes_any_encoding(exchange: Exchange) -> None:
    """Reads a body of any encoding as if it had none."""
    if exchange.headers.get("content-encoding") == "br":
        del exchange.headers["content-encoding"]


@fault
def demands_connect_header(exchange: Exchange) -> None:
    """Demands Connect-Protocol-Version."""
    if exchange.is_push and "connect-protocol-version" not in exchange.headers:
        exchange.reply(400)


@fault
def takes_any_content_type(exchange: Exchange) -> None:
    """Reads any Content-Type as protobuf."""
    if exchange.is_push and exchange.headers.get("content-type") == "text/plain":
        exchange.headers["content-type"] = "application/proto"


@fault
def refuses_nothing(exchange: Exchange) -> None:
    """Refuses requests and profiles that hold nothing."""
    if exchange.is_push and (not exchange.body or b"main" not in exchange.body):
        exchange.reply(400)


@fault
def first_series_only(exchange: Exchange) -> None:
    """Stores the first series of a request."""
    numbers = count()
    edit_series(exchange, lambda series: series if next(numbers) == 0 else None)


@fault
def first_type_only(exchange: Exchange) -> None:
    """Stores the first sample type of a profile."""

    def profile(data: bytes) -> bytes:
        numbers = count()
        data = edit(data, 1, lambda one: one if next(numbers) == 0 else None)
        return edit(
            data, 2, lambda sample: edit(sample, 2, lambda _: packed_field(2, values(sample, 2)[:1])[2:])
        )

    edit_profiles(exchange, profile)


@fault
def reversed_stacks(exchange: Exchange) -> None:
    """Takes stacks for root first."""

    def sample(_: list[bytes], one: bytes) -> bytes:
        ids = values(one, 1)[::-1]
        rest = join([part for part in parts(one) if part[0] != 1])
        return packed_field(1, ids) + rest

    edit_samples(exchange, sample)


@fault
def takes_ms_for_ns(exchange: Exchange) -> None:
    """Divides every value by a million."""

    def sample(_: list[bytes], one: bytes) -> bytes:
        rest = join([part for part in parts(one) if part[0] != 2])
        return rest + packed_field(2, [value // 1_000_000 for value in values(one, 2)])

    edit_samples(exchange, sample)


@fault
def counts_negative_values(exchange: Exchange) -> None:
    """Counts negative values as if they were none."""

    def sample(_: list[bytes], one: bytes) -> bytes:
        rest = join([part for part in parts(one) if part[0] != 2])
        return rest + packed_field(2, map(abs, values(one, 2)))

    edit_samples(exchange, sample)


@fault
def drops_empty_stacks(exchange: Exchange) -> None:
    """Drops samples without a location."""
    edit_samples(exchange, lambda _, one: one if values(one, 1) else None)


@fault
def drops_repeated_stacks(exchange: Exchange) -> None:
    """Keeps the first sample of each stack."""

    def profile(data: bytes) -> bytes:
        seen: set[tuple[int, ...]] = set()

        def sample(one: bytes) -> bytes | None:
            key = tuple(values(one, 1))
            known = key in seen
            seen.add(key)
            return None if known else one

        return edit(data, 2, sample)

    edit_profiles(exchange, profile)


@fault
def first_line_only(exchange: Exchange) -> None:
    """Leaves out the callers of inlined functions."""

    def location(one: bytes) -> bytes:
        numbers = count()
        return edit(one, 4, lambda line: line if next(numbers) == 0 else None)

    edit_profiles(exchange, lambda data: edit(data, 4, location))


@fault
def cuts_stacks_at_the_root(exchange: Exchange) -> None:
    """Keeps the leaf side of a deep stack."""

    def sample(_: list[bytes], one: bytes) -> bytes:
        rest = join([part for part in parts(one) if part[0] != 1])
        return packed_field(1, values(one, 1)[:1000]) + rest

    edit_samples(exchange, sample)


@fault
def cuts_strings_at_the_end(exchange: Exchange) -> None:
    """Keeps the beginning of a long string."""
    edit_profiles(exchange, lambda data: edit(data, 6, lambda text: text[:65_535]))


@fault
def moves_times(exchange: Exchange) -> None:
    """Takes a profile of any time for one of now."""

    def profile(data: bytes) -> bytes:
        return join([(9, 0, 0) if part[0] == 9 else part for part in parts(data)])

    edit_profiles(exchange, profile)


@fault
def mends_strings(exchange: Exchange) -> None:
    """Puts up with a string table that does not begin with the empty string."""

    def profile(data: bytes) -> bytes:
        return data[7:] if data.startswith(b"\x32\x05first") else data

    edit_profiles(exchange, profile)


@fault
def drops_sample_labels(exchange: Exchange) -> None:
    """Forgets the labels of samples."""
    edit_samples(exchange, lambda _, one: join([part for part in parts(one) if part[0] != 3]))


@fault
def last_sample_label_wins(exchange: Exchange) -> None:
    """Takes the last label of a key that stands twice on a sample."""

    def sample(strings: list[bytes], one: bytes) -> bytes:
        labels = [label for _, label in labels_of(strings, one)][::-1]
        return join([part for part in parts(one) if part[0] != 3]) + b"".join(
            bytes_field(3, x) for x in labels
        )

    edit_samples(exchange, sample)


@fault
def series_labels_win(exchange: Exchange) -> None:
    """Drops a sample's label whose name the series has."""

    def sample(strings: list[bytes], one: bytes) -> bytes:
        labels = [label for key, label in labels_of(strings, one) if key != "region"]
        return join([part for part in parts(one) if part[0] != 3]) + b"".join(
            bytes_field(3, x) for x in labels
        )

    edit_samples(exchange, sample)


@fault
def makes_text_of_numbers(exchange: Exchange) -> None:
    """Makes labels of numeric labels."""

    def sample(_: list[bytes], one: bytes) -> bytes:
        def label(data: bytes) -> bytes:
            return integer_field(1, {n: v for n, _, v in parts(data)}.get(1, 0)) + integer_field(2, 1)  # type: ignore[arg-type]

        return edit(one, 3, label)

    edit_samples(exchange, sample)


@fault
def loses_spans(exchange: Exchange) -> None:
    """Drops samples of spans."""
    names = {"span_id", "trace_id", "profile_id"}
    edit_samples(
        exchange, lambda strings, one: None if names & {k for k, _ in labels_of(strings, one)} else one
    )


@fault
def knows_no_old_span_label(exchange: Exchange) -> None:
    """Does not take profile_id for span_id."""

    def sample(strings: list[bytes], one: bytes) -> bytes:
        labels = [label for key, label in labels_of(strings, one) if key != "profile_id"]
        return join([part for part in parts(one) if part[0] != 3]) + b"".join(
            bytes_field(3, x) for x in labels
        )

    edit_samples(exchange, sample)


def _edit_labels(exchange: Exchange, change: Callable[[bytes, bytes], tuple[bytes, bytes] | None]) -> None:
    def pair(one: bytes) -> bytes | None:
        found = {number: value for number, _, value in parts(one)}
        changed = change(bytes(found.get(1, b"")), bytes(found.get(2, b"")))  # type: ignore[arg-type]
        return None if changed is None else bytes_field(1, changed[0]) + bytes_field(2, changed[1])

    edit_series(exchange, lambda series: edit(series, 1, pair))


@fault
def underscores_for_dots(exchange: Exchange) -> None:
    """Puts _ for dots in names of labels."""
    _edit_labels(exchange, lambda name, value: (name.replace(b".", b"_"), value))


@fault
def drops_series_without_service(exchange: Exchange) -> None:
    """Stores nothing of a series that names no service."""
    edit_series(exchange, lambda series: series if b"service_name" in series else None)


@fault
def keeps_empty_labels(exchange: Exchange) -> None:
    """Tells an empty label and an absent one apart."""
    _edit_labels(exchange, lambda name, value: (name, value or b"(empty)"))


@fault
def snake_case_unknown(exchange: Exchange) -> None:
    """Does not know raw_profile, nor any other name as protobuf writes it."""
    if b'"raw_profile"' in exchange.body or b'"label_selector"' in exchange.body:
        exchange.reply(400)


@fault
def camel_case_unknown(exchange: Exchange) -> None:
    """Does not know rawProfile."""
    if b'"rawProfile"' in exchange.body:
        exchange.reply(400)


@fault
def answers_pushes_in_json(exchange: Exchange) -> None:
    """Answers every push in JSON."""
    if exchange.is_push:
        exchange.send()
        if exchange.status == 200:
            exchange.reply(200)


@fault
def plain_errors(exchange: Exchange) -> None:
    """Answers errors in plain text."""
    exchange.send()
    if exchange.status >= 400:
        exchange.reply(exchange.status, b"error", "text/plain")


@fault
def terse_errors(exchange: Exchange) -> None:
    """Does not say what was wrong."""
    exchange.send()
    if exchange.status >= 400:
        exchange.answer_instead({**exchange.answered(), "message": "bad"})


# /ingest


@fault
def ignores_labels_of_the_name(exchange: Exchange) -> None:
    """Takes the application of the name, and no labels."""
    if exchange.is_ingest and exchange.query.get("name", "").count("{") == 1:
        exchange.query["name"] = exchange.query["name"].partition("{")[0] or exchange.query["name"]


@fault
def ignores_from(exchange: Exchange) -> None:
    """Takes every profile of /ingest for one of now."""
    if exchange.is_ingest and exchange.query.get("from", "").startswith(("now", "1")):
        exchange.query.pop("from")


@fault
def ignores_times(exchange: Exchange) -> None:
    """Takes any text for a time."""
    if exchange.is_ingest:
        exchange.query.pop("from", None)


@fault
def ignores_sample_rate(exchange: Exchange) -> None:
    """Takes every sample rate for 100."""
    if exchange.is_ingest:
        exchange.query.pop("sampleRate", None)


@fault
def other_defaults(exchange: Exchange) -> None:
    """Takes 50 and gospy where the query says nothing."""
    if exchange.is_ingest:
        if not exchange.query.get("sampleRate", "").isdigit():
            exchange.query["sampleRate"] = "50"
        exchange.query.setdefault("spyName", "gospy")


@fault
def ignores_format(exchange: Exchange) -> None:
    """Takes every body for collapsed stacks."""
    if exchange.is_ingest:
        exchange.query.pop("format", None)


@fault
def ignores_content_type(exchange: Exchange) -> None:
    """Does not look at the Content-Type of /ingest."""
    if exchange.is_ingest:
        exchange.headers["content-type"] = "application/octet-stream"


@fault
def ignores_suffixes(exchange: Exchange) -> None:
    """Takes the suffix of the application's name for a part of it."""
    if exchange.is_ingest:
        exchange.query["name"] = exchange.query.get("name", "").partition(".")[0]


@fault
def ignores_spy_name(exchange: Exchange) -> None:
    """Leaves the functions of Ruby as they are."""
    if exchange.is_ingest and exchange.query.get("spyName") == "rbspy":
        exchange.query["spyName"] = "gospy"


@fault
def ignores_display_names(exchange: Exchange) -> None:
    """Does not read sample_type_config."""
    if exchange.is_ingest:
        exchange.body = exchange.body.replace(b'"sample_type_config"', b'"sample_type_unknown"')


@fault
def ignores_previous_profiles(exchange: Exchange) -> None:
    """Takes a form with a prev_profile."""
    if exchange.is_ingest:
        exchange.body = exchange.body.replace(b'"prev_profile"', b'"something"')


@fault
def takes_wall_for_cpu(exchange: Exchange) -> None:
    """Knows CPU profiles only."""

    def profile(data: bytes) -> bytes:
        return edit(data, 6, lambda text: b"cpu" if text == b"wall" else text)

    if exchange.is_ingest:
        edit_profiles(exchange, profile)


@fault
def takes_other_units(exchange: Exchange) -> None:
    """Does not look at the unit of a speedscope file."""
    if exchange.is_ingest:
        exchange.body = exchange.body.replace(b'"unit": "nanoseconds"', b'"unit": "none"')


@fault
def answers_ingest_in_json(exchange: Exchange) -> None:
    """Answers /ingest with an object."""
    if exchange.is_ingest:
        exchange.send()
        if exchange.status == 200:
            exchange.reply(200)


@fault
def no_other_ingest_path(exchange: Exchange) -> None:
    """Has no /pyroscope/ingest."""
    if exchange.path == "/pyroscope/ingest":
        exchange.reply(404)


@fault
def takes_other_sites(exchange: Exchange) -> None:
    """Does not look at the Origin."""
    exchange.headers.pop("origin", None)
