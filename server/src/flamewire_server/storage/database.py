"""Connections to the catalog's database, one for each thread, and transactions on them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flamewire_server.errors import StorageError
from flamewire_server.storage.schema import migrate

__all__ = ["Database", "marks", "storage_errors"]


class Database:
    """The SQLite database of one data folder, in WAL mode and with full synchronisation.

    Args:
        path: the file; made and migrated where needed.

    Raises:
        StorageError: it cannot be opened, or a newer version has written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._all_lock = threading.Lock()
        try:
            with storage_errors("open"):
                migrate(self.connection())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections of all threads; none may be in a call."""
        with self._all_lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def connection(self) -> sqlite3.Connection:
        """Give this thread's connection, for a statement that reads."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Closed by the thread that calls close(), hence check_same_thread=False; used by its own thread
            # only.
            connection = sqlite3.connect(
                self._path, timeout=10, isolation_level=None, check_same_thread=False
            )
            with self._all_lock:
                self._all.append(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self, purpose: str) -> Iterator[sqlite3.Connection]:
        """Run the statements of the block all or not at all; durable after it.

        Args:
            purpose: what a StorageError says that the catalog failed to do.
        """
        connection = self.connection()
        with storage_errors(purpose):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


@contextmanager
def storage_errors(purpose: str) -> Iterator[None]:
    """Turn the database's errors into StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        # A WAL whose fsync failed may hold the commit all the same: recovery after a restart would then find
        # it.
        uncertain = (
            error.sqlite_errorname.startswith("SQLITE_IOERR") if hasattr(error, "sqlite_errorname") else False
        )
        raise StorageError(f"the catalog failed to {purpose}: {error}", uncertain=uncertain) from error


def marks(count: int) -> str:
    """Give that many question marks, for IN (...)."""
    return ", ".join("?" * count)
