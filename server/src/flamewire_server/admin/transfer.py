"""The verbs `export` and `import`: blocks as they are, each with a page that says what it holds.

`<folder>/<tenant>/<day>/<id>.block.json` is written behind the block's files: what has it is whole. A
block keeps its name, so that an import that is repeated, or was cut off, takes each block once.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

from flamewire_server.admin.progress import with_progress
from flamewire_server.errors import StorageError
from flamewire_server.model.tenant import parse_tenant
from flamewire_server.storage.catalog import Catalog, NewSeries
from flamewire_server.storage.checks import file_faults
from flamewire_server.storage.compaction_queue import BlockFile, CompactionQueue, Swap
from flamewire_server.storage.local_store import LocalStore

__all__ = ["export_blocks", "import_blocks"]

_SUFFIX = ".block.json"
_PARQUET = ".parquet"


def export_blocks(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Copy the blocks of some tenants and days."""
    queue = CompactionQueue(catalog.database)
    blocks = [
        (tenant, day, block)
        for tenant, day in queue.days()
        if options.tenant in (None, tenant)
        and (options.first_day or "") <= day <= (options.last_day or "9999")
        for block in queue.blocks(tenant, day)
    ]
    if options.dry_run:
        size_bytes = sum(block.bytes_of() for _, _, block in blocks)
        print(f"{len(blocks)} blocks of {size_bytes:,} bytes would be copied")
        return 0
    damaged = 0
    for tenant, day, block in with_progress(blocks, "copied"):
        faults = list(file_faults(store, block))
        if faults:
            damaged += 1
            print("; ".join(map(str, faults)) + "; not copied")
            continue
        for file in block.files:
            target = options.folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(store.path_of(file.name)).read_bytes())
        page = {
            "tenant": tenant,
            "day": day,
            "level": block.level,
            "row_count": block.row_count,
            "time_min_ns": block.time_min_ns,
            "time_max_ns": block.time_max_ns,
            "created_at_s": block.created_at_s,
            "files": [[file.kind, file.name, file.size_bytes, file.crc] for file in block.files],
            "series": [
                [one.fingerprint, one.service, one.profile_type, one.labels, one.time_min_ns, one.time_max_ns]
                for one in catalog.series_of(block.block_id)
            ],
        }
        identity = block.samples_name.removesuffix(f".samples{_PARQUET}")
        (options.folder / (identity + _SUFFIX)).write_text(json.dumps(page), encoding="utf-8")
    print(f"{len(blocks) - damaged} blocks copied to {options.folder}")
    return 1 if damaged else 0


def import_blocks(store: LocalStore, catalog: Catalog, options: argparse.Namespace) -> int:
    """Take blocks that are not there yet, each whole or not at all."""
    pages = sorted(options.folder.glob(f"*/*/*{_SUFFIX}"))
    known = catalog.file_names()
    taken = refused = 0
    for path in with_progress(pages, "taken"):
        try:
            swap, series, created_at_s = _read_page(path)
        except (ValueError, KeyError, TypeError) as error:
            refused += 1
            print(f"{path}: is no page of a block ({error}); not taken")
            continue
        if swap.files[0].name in known:
            continue
        try:
            contents = [_read_file(options.folder, file) for file in swap.files]
        except (StorageError, OSError) as error:
            refused += 1
            print(f"{error}; the block is not taken")
            continue
        taken += 1
        if options.dry_run:
            continue
        for file, content in zip(swap.files, contents, strict=True):
            name = Path(file.name).name.removesuffix(_PARQUET)
            store.write(swap.tenant, swap.day, name, content)
        store.sync_folders([file.name for file in swap.files])
        catalog.adopt(swap, series, created_at_s=created_at_s)
    words = "would be taken" if options.dry_run else "taken"
    print(f"{taken} of {len(pages)} blocks {words}, {len(pages) - taken - refused} were there already")
    return 1 if refused else 0


def _read_page(path: Path) -> tuple[Swap, list[NewSeries], int]:
    page: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    tenant = parse_tenant(page["tenant"], multitenancy=True)
    folder = f"{tenant}/{page['day']}"
    files = [BlockFile(*file) for file in page["files"]]
    for file in files:
        # A page from elsewhere must not make us write elsewhere.
        if file.name != f"{folder}/{Path(file.name).name}" or not file.name.endswith(
            f".{file.kind}{_PARQUET}"
        ):
            raise ValueError(f"the file {file.name!r} does not belong to {folder}")
    if f"{path.parent.parent.name}/{path.parent.name}" != folder:
        raise ValueError(f"it says that it belongs to {folder}")
    if not files or files[0].kind != "samples":
        raise ValueError("it names no samples")
    series = [
        NewSeries(fingerprint, service, kind, [(name, value) for name, value in labels], first, last)
        for fingerprint, service, kind, labels, first, last in page["series"]
    ]
    swap = Swap(
        tenant=tenant,
        day=page["day"],
        level=int(page["level"]),
        merged=(),
        files=files,
        row_count=int(page["row_count"]),
        series=[(one.fingerprint, one.time_min_ns, one.time_max_ns) for one in series],
        times_ns=(int(page["time_min_ns"]), int(page["time_max_ns"])),
    )
    return swap, series, int(page["created_at_s"])


def _read_file(folder: Path, file: BlockFile) -> bytes:
    content = (folder / file.name).read_bytes()
    if len(content) != file.size_bytes or (file.crc is not None and zlib.crc32(content) != file.crc):
        raise StorageError(f"{folder / file.name} is not what was exported")
    return content
