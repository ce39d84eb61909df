"""Blocks as files in a folder: `<data>/blocks/<tenant>/<day>/<uuid7>.{samples,symbols}.parquet`.

A file is visible under its name only when its bytes are on the disk: write to *.tmp, fsync, rename, then
fsync of the folder. `write` does the first three, `sync_folders` the last, once for all files of a commit.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from flamewire_server.errors import StorageError

__all__ = ["LocalStore", "new_block_name"]

_SUFFIX = ".parquet"


def new_block_name() -> str:
    """Draw a UUIDv7 (RFC 9562): unique without coordination, and sorted by the time of creation."""
    stamp_ms = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = (
        (stamp_ms << 80) | (0x7 << 76) | ((random >> 62) << 64) | (0b10 << 62) | (random & ((1 << 62) - 1))
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class LocalStore:
    """A folder of immutable files, owned by one process.

    Args:
        data_dir: made where it is missing. An exclusive lock on it is held until close().

    Raises:
        StorageError: the folder cannot be made, or another process holds it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir.resolve() / "blocks"
        self._known_folders: set[Path] = set()
        try:
            self._make_folder(self._root)
            self._lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {data_dir} as the data folder: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StorageError(
                f"another flamewire-server uses the data folder {data_dir}; stop it, or give this one"
                " another --data"
            ) from error

    def close(self) -> None:
        """Release the folder."""
        os.close(self._lock)

    def path_of(self, name: str) -> str:
        """Give the absolute path of a file by its name in the catalog."""
        return f"{self._root}/{name}"

    def write(self, tenant: str, day: str, file_name: str, content: bytes) -> str:
        """Write a file and fsync it; durable after the next sync_folders() of its folder.

        Returns:
            The file's name for the catalog: its path below the store.

        Raises:
            StorageError: the disk refused; nothing is visible under the name.
        """
        folder = self._root / tenant / day
        final = folder / (file_name + _SUFFIX)
        temporary = folder / (file_name + ".tmp")
        try:
            self._make_folder(folder)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, final)
        except OSError as error:
            # What remains of it is left to the sweep where it cannot be removed either.
            with suppress(OSError):
                temporary.unlink()
            raise StorageError(f"cannot write {final}: {error.strerror}") from error
        return f"{tenant}/{day}/{file_name}{_SUFFIX}"

    def sync_folders(self, names: Collection[str]) -> None:
        """Make the names of files durable.

        Raises:
            StorageError: the disk refused.
        """
        for folder in sorted({os.path.dirname(self.path_of(name)) for name in names}):
            try:
                _sync_folder(folder)
            except OSError as error:
                raise StorageError(f"cannot fsync {folder}: {error.strerror}") from error

    def remove(self, names: Collection[str]) -> None:
        """Remove files; one that is gone already, or cannot be removed, is passed over and left to the
        sweep."""
        for name in names:
            try:
                os.unlink(self.path_of(name))
            except OSError:
                continue
            folder = Path(self.path_of(name)).parent
            self._remove_empty(folder)

    def sweep(self, known: Collection[str]) -> int:
        """Remove every file that is not known: what a kill left between writing and committing.

        Only at start, before the first write. Returns how many files were removed.
        """
        unknown = self.unknown(known)
        self.remove(unknown)
        return len(unknown)

    def unknown(self, known: Collection[str]) -> list[str]:
        """List the files that are not among the known ones."""
        return sorted(name for name in self._names() if name not in known)

    def _names(self) -> Iterator[str]:
        for folder, _, files in os.walk(self._root):
            prefix = os.path.relpath(folder, self._root)
            for file in files:
                yield f"{prefix}/{file}"

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and every parent that is missing, durably: a new name counts once its parent is
        fsynced."""
        if folder in self._known_folders:
            return
        missing = [folder, *folder.parents]
        missing = missing[: next(index for index, path in enumerate(missing) if path.is_dir())]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(str(path.parent))
        self._known_folders.add(folder)

    def _remove_empty(self, folder: Path) -> None:
        if not os.listdir(folder):
            # Forgotten first: a write in another thread then makes it again.
            self._known_folders.discard(folder)
            try:
                folder.rmdir()
            except OSError:
                return


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
