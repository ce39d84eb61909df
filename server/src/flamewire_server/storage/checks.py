"""Comparing block files with what the catalog says of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from flamewire_server.storage.compaction_queue import StoredBlock
from flamewire_server.storage.local_store import LocalStore

__all__ = ["file_faults"]


def file_faults(store: LocalStore, block: StoredBlock) -> Iterator[str]:
    """Say which files of a block are not what was written, and why: missing, another size or checksum.

    Reads every file: about 1 ms a megabyte.
    """
    for name, size, crc in block.files:
        try:
            content = Path(store.path_of(name)).read_bytes()
        except OSError as error:
            yield f"{name}: {error.strerror}"
            continue
        if len(content) != size:
            yield f"{name}: has {len(content)} bytes, the catalog says {size}"
        elif crc is not None and zlib.crc32(content) != crc:
            yield f"{name}: its checksum is not the catalog's"
