"""The golden vectors: made by the generators, sound, and read by the independent decoder as they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import pytest

from flamewire_conformance.errors import WireError
from flamewire_conformance.golden.files import drift, vectors, write
from flamewire_conformance.golden.vector import SERVICE, TIME_NS
from flamewire_conformance.wire import Request, read_uploads

VECTORS = vectors()
DECODED = (
    "push/plain",
    "push/gzip-body",
    "push/gzip-profile",
    "push/several",
    "push/two-types",
    "ingest/pprof",
    "ingest/form",
)


def test_files_are_what_the_generators_make(root: Path) -> None:
    assert drift(root.parent / "protocol" / "golden") == []


def test_drift_names_what_was_changed_and_what_is_too_much(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "push" / "plain.bin").write_bytes(b"changed")
    (tmp_path / "push" / "odd.bin").write_bytes(b"")
    (tmp_path / "ingest" / "lines.json").unlink()
    assert drift(tmp_path) == ["ingest/lines.json", "push/odd.bin", "push/plain.bin"]


@pytest.mark.parametrize("name", DECODED)
def test_independent_decoder_reads_the_meaning(name: str) -> None:
    vector = VECTORS[name]
    headers = {key.lower(): value for key, value in vector.headers.items()}
    target = f"{vector.path}?{urlencode(vector.query)}"
    request = Request("POST", target, headers, vector.body, 0, 200, stored=True)
    found: Counter[tuple[str, str]] = Counter()
    for upload in read_uploads(request):
        assert upload.profile.faults == ()
        assert upload.label("service_name") == SERVICE
        for sample in upload.profile.samples:
            stack = ";".join(frame.function for frame in reversed(sample.stack))
            for (kind, unit), value in zip(upload.profile.sample_types, sample.values, strict=True):
                found[f"{kind}:{unit}", stack] += value
    meant: Counter[tuple[str, str]] = Counter()
    for meaning in vector.meaning:
        kind = ":".join(meaning.profile_type.split(":")[1:3])
        meant.update({(kind, stack): value for stack, value in meaning.stacks.items()})
    assert found == meant


@pytest.mark.parametrize("name", ["push/cut-off", "push/no-message", "push/no-profile", "push/bad-gzip"])
def test_independent_decoder_refuses_what_is_no_message(name: str) -> None:
    vector = VECTORS[name]
    headers = {key.lower(): value for key, value in vector.headers.items()}
    with pytest.raises(WireError):
        read_uploads(Request("POST", vector.path, headers, vector.body, 0, 200, stored=True))


@pytest.mark.parametrize(
    "name", ["push/string-index", "push/value-count", "push/no-such-location", "push/first-string"]
)
def test_independent_decoder_tells_what_is_wrong_within_a_message(name: str) -> None:
    vector = VECTORS[name]
    request = Request("POST", vector.path, {}, vector.body, 0, 200, stored=True)
    assert [upload.profile.faults for upload in read_uploads(request)] != [()]


def test_another_service_and_time_keep_the_length() -> None:
    for vector in VECTORS.values():
        body = vector.body_for("another-service-", TIME_NS + 10**17)
        if "Content-Encoding" not in vector.headers:
            assert len(body) == len(vector.body)
        assert SERVICE.encode() not in body
