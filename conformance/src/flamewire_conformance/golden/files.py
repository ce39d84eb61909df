"""The vectors as files: `protocol/golden/<format>/<name>.bin` is a body, `.json` says what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.golden.ingest import ingest_vectors
from flamewire_conformance.golden.push import push_vectors
from flamewire_conformance.golden.vector import Vector

__all__ = ["drift", "vectors", "write"]

# A new format is one module and one line here.
_FORMATS: Final = (push_vectors, ingest_vectors)
_GZIP: Final = b"\x1f\x8b\x08"


@cache
def vectors() -> Mapping[str, Vector]:
    """Return all vectors by name.

    Raises:
        SuiteError: two have one name.
    """
    found: dict[str, Vector] = {}
    for make in _FORMATS:
        for vector in make():
            if vector.name in found:
                raise SuiteError(f"two golden vectors are called {vector.name}")
            found[vector.name] = vector
    return found


def _contents() -> Iterator[tuple[str, bytes]]:
    for vector in vectors().values():
        yield f"{vector.name}.bin", vector.body
        yield f"{vector.name}.json", vector.description().encode()


def write(folder: Path) -> int:
    """Write all files and remove others of their kinds; returns how many there are."""
    wanted = dict(_contents())
    for path in [*folder.glob("*/*.bin"), *folder.glob("*/*.json")]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return len(wanted)


def drift(folder: Path) -> list[str]:
    """Return the files that are not what the generators make.

    Of bodies with gzip in them only the description counts: versions of zlib compress differently.
    """
    wanted = dict(_contents())
    there = {
        path.relative_to(folder).as_posix(): path
        for path in folder.glob("*/*")
        if path.suffix in (".bin", ".json")
    }
    changed = [
        name
        for name, content in wanted.items()
        if name not in there or (_GZIP not in content and there[name].read_bytes() != content)
    ]
    return sorted([*changed, *(there.keys() - wanted.keys())])
