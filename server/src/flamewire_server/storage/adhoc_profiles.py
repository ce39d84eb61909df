"""Single profiles that somebody uploaded to look at. They are no part of any query."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server.storage.database import Database, storage_errors

__all__ = ["AdHocProfile", "AdHocProfileTable"]

# Of each tenant: the oldest goes where one more comes.
MAX_PROFILES = 100


@dataclass(frozen=True, slots=True)
class AdHocProfile:
    """An uploaded file."""

    id: str
    name: str
    uploaded_at_ms: int
    body: bytes


class AdHocProfileTable:
    """The uploads of all tenants. Methods raise StorageError where the disk refuses; any thread may call
    them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, tenant: str, profile: AdHocProfile) -> None:
        """Store an upload, durable on return; beyond MAX_PROFILES the oldest go."""
        with self._database.transaction("store an upload") as connection:
            connection.execute(
                "INSERT INTO adhoc_profiles (tenant, id, name, uploaded_at_ms, body) VALUES (?, ?, ?, ?, ?)",
                (tenant, profile.id, profile.name, profile.uploaded_at_ms, profile.body),
            )
            connection.execute(
                "DELETE FROM adhoc_profiles WHERE tenant = ? AND id NOT IN (SELECT id FROM adhoc_profiles"
                " WHERE tenant = ? ORDER BY uploaded_at_ms DESC, id DESC LIMIT ?)",
                (tenant, tenant, MAX_PROFILES),
            )

    def get(self, tenant: str, identity: str) -> AdHocProfile | None:
        """Give an upload, None where the tenant has none of this id."""
        with storage_errors("read an upload"):
            row = (
                self._database.connection()
                .execute(
                    "SELECT id, name, uploaded_at_ms, body FROM adhoc_profiles WHERE tenant = ? AND id = ?",
                    (tenant, identity),
                )
                .fetchone()
            )
        return None if row is None else AdHocProfile(*row)

    def all(self, tenant: str) -> list[tuple[str, str, int]]:
        """List (id, name, uploaded at in ms) of the tenant's uploads, newest first."""
        with storage_errors("list uploads"):
            rows = self._database.connection().execute(
                "SELECT id, name, uploaded_at_ms FROM adhoc_profiles WHERE tenant = ?"
                " ORDER BY uploaded_at_ms DESC, id DESC",
                (tenant,),
            )
            return [(identity, name, at_ms) for identity, name, at_ms in rows]
