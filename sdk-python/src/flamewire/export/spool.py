"""Uploads that wait on disk: bounded, shared by the processes of a host, there again after a restart."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flamewire.export.queue import MemoryQueue
from flamewire.export.upload import Entry, Upload, born_unix_s_of
from flamewire.log import warn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["SpoolError", "SpoolQueue", "open_spool"]

_SUFFIX: Final = ".push"
_UNFINISHED: Final = ".part"
_UNFINISHED_IS_DEAD_AFTER_S: Final = 600.0
_MAGIC: Final = b"FWSPOOL1"
_HEADER: Final = struct.Struct(">8sII")
_READ_MAX: Final = 64 * 1024 * 1024


class SpoolError(Exception):
    """The folder cannot be used; the words say why."""


def open_spool(options: Options, path: str) -> SpoolQueue | None:
    """Return the spool that the options ask for, None where they ask for none.

    Uploads to another server, path or tenant are kept apart, in a folder for each.

    Raises:
        SpoolError: it cannot be used here.
    """
    if options.spool_dir is None:
        return None
    destination = "\0".join((options.server_url, path, options.tenant_id or ""))
    name = hashlib.sha256(destination.encode()).hexdigest()[:16]
    return SpoolQueue(
        os.path.join(options.spool_dir, name), options.spool_max_bytes, MemoryQueue(options.max_queued_bytes)
    )


class SpoolQueue:
    """A folder with one file for each upload.

    A file is written under another name and renamed, so that a kill leaves no half one under the right name.
    Who sends a file holds a lock on it (flock), which the kernel takes back from a process that dies: what
    the dead have left is anybody's. Names begin with the time of birth: their order is that of the windows.
    Nothing is synced: a crash of the machine may lose what a crash of the process does not.

    What the disk refuses waits in memory.

    Args:
        folder: made where it is not there, for this user alone.
        max_bytes: room for all files of the folder.
        memory: takes what cannot be written.

    Raises:
        SpoolError: it cannot be used here.
    """

    shared = True

    def __init__(
        self,
        folder: str,
        max_bytes: int,
        memory: MemoryQueue,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._memory = memory
        self._wall = wall
        self._held: dict[str, int] = {}
        self._own: set[str] = set()
        self.dropped: Counter[str] = memory.dropped
        if fcntl is None:
            raise SpoolError("this platform has no file locks that end with their process")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            found = os.stat(folder)
            os.close(_create(os.path.join(folder, f".{os.getpid()}-try{_UNFINISHED}")))
            os.unlink(os.path.join(folder, f".{os.getpid()}-try{_UNFINISHED}"))
        except OSError as error:
            raise SpoolError(f"{folder}: {error.strerror}") from error
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise SpoolError(f"{folder}: others may write there; give a folder of this user's own")
        self._sweep()

    def put(self, upload: Upload) -> None:
        """Write an upload down; where there is no room, the oldest go first."""
        path = self._path(upload.key)
        unfinished = os.path.join(self._folder, f".{os.getpid()}-{upload.key}{_UNFINISHED}")
        try:
            descriptor = _create(unfinished)
            with open(descriptor, "wb") as file:
                file.write(_HEADER.pack(_MAGIC, zlib.crc32(upload.body), len(upload.body)) + upload.body)
            os.rename(unfinished, path)
        except OSError as error:
            warn("spool", "the spool %s does not take a profile, it waits in memory: %s", self._folder, error)
            _unlink(unfinished)
            self._memory.put(upload)
            return
        self._own.add(upload.key)
        self._make_room()

    def entries(self, *, own: bool = False) -> list[Entry]:
        """Return what nobody in this process has claimed; others' claims show only when one tries."""
        found = self._files()
        self._own &= found.keys()
        wanted = self._own if own else found.keys()
        waiting = [Entry(key, found[key]) for key in wanted - self._held.keys()]
        return sorted(waiting + self._memory.entries(), key=lambda entry: entry.key)

    def claim(self, key: str) -> Upload | None:
        """Lock and read a file; one that is damaged is removed and counted."""
        from_memory = self._memory.claim(key)
        if from_memory is not None:
            return from_memory
        if not self._lock(key):
            return None
        body = _read(self._held[key])
        if body is None:
            warn("spool file", "a file of the spool %s is damaged and was removed", self._folder)
            self.discard(key)
            self.dropped["corrupt"] += 1
            return None
        return Upload(key, body)

    def release(self, key: str) -> None:
        """Unlock the file."""
        self._memory.release(key)
        descriptor = self._held.pop(key, None)
        if descriptor is not None:
            # Closing alone would not do: a fork child may hold the same open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def discard(self, key: str) -> None:
        """Remove the file, and then its lock."""
        self._memory.discard(key)
        if key in self._held or self._lock(key):
            _unlink(self._path(key))
            self._own.discard(key)
            self.release(key)

    def forget(self) -> None:
        """Close the parent's files without unlocking them."""
        for descriptor in list(self._held.values()):
            os.close(descriptor)
        self._held.clear()

    def is_perishable(self, key: str) -> bool:
        """Tell whether an upload is lost with the process: what the disk has refused is."""
        return self._memory.is_perishable(key)

    def _lock(self, key: str) -> bool:
        if key in self._held:
            return False
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = os.fstat(descriptor).st_nlink == 0
        except OSError:
            gone = True
        if gone:
            os.close(descriptor)
            return False
        self._held[key] = descriptor
        return True

    def _make_room(self) -> None:
        files = self._files()
        total_bytes = sum(files.values())
        for key in sorted(files):
            if total_bytes <= self._max_bytes or len(files) == 1:
                return
            if self._lock(key):
                self.discard(key)
                self.dropped["spool_full"] += 1
                total_bytes -= files[key]

    def _files(self) -> dict[str, int]:
        """Return key -> size of each upload's file; a foreign name with our ending is removed and counted."""
        found: dict[str, int] = {}
        try:
            with os.scandir(self._folder) as listed:
                for file in listed:
                    key = file.name.removesuffix(_SUFFIX)
                    if key == file.name:
                        continue
                    try:
                        born_unix_s_of(key)
                        found[key] = max(0, file.stat(follow_symlinks=False).st_size - _HEADER.size)
                    except ValueError:
                        _unlink(file.path)
                        self.dropped["corrupt"] += 1
                    except OSError:
                        continue
        except OSError as error:
            warn("spool folder", "the spool %s cannot be read: %s", self._folder, error)
        return found

    def _sweep(self) -> None:
        """Remove what a killed process has left half written."""
        with os.scandir(self._folder) as listed:
            for file in listed:
                if file.name.endswith(_UNFINISHED):
                    try:
                        age_s = self._wall() - file.stat(follow_symlinks=False).st_mtime
                    except OSError:
                        continue
                    if age_s > _UNFINISHED_IS_DEAD_AFTER_S:
                        _unlink(file.path)

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key + _SUFFIX)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _read(descriptor: int) -> bytes | None:
    """Return the body of a file, None where it is not what was written."""
    try:
        with open(os.dup(descriptor), "rb") as file:
            content = file.read(_READ_MAX)
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, check_sum, length = _HEADER.unpack_from(content)
    body = content[_HEADER.size :]
    if magic != _MAGIC or len(body) != length or zlib.crc32(body) != check_sum:
        return None
    return body
