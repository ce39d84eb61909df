"""What the users of a tenant have set in their pages: names and values that mean nothing to the server."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server.errors import RequestError
from flamewire_server.storage.database import Database, storage_errors

__all__ = ["Setting", "SettingsTable"]

_MAX_SETTINGS = 1000
_MAX_NAME_CHARS = 200
_MAX_VALUE_CHARS = 64 << 10


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; modified_at_ms is what its writer says."""

    name: str
    value: str
    modified_at_ms: int


class SettingsTable:
    """The settings of all tenants. Methods raise StorageError where the disk refuses; any thread may call
    them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, tenant: str) -> list[Setting]:
        """List the tenant's settings, sorted by name."""
        with storage_errors("list settings"):
            rows = self._database.connection().execute(
                "SELECT name, value, modified_at_ms FROM settings WHERE tenant = ? ORDER BY name", (tenant,)
            )
            return [Setting(*row) for row in rows]

    def put(self, tenant: str, setting: Setting) -> None:
        """Store a setting in the place of the one of its name, durable on return.

        Raises:
            RequestError: it is older than the stored one, too large, or one too many.
        """
        if not 0 < len(setting.name) <= _MAX_NAME_CHARS or len(setting.value) > _MAX_VALUE_CHARS:
            raise RequestError(
                "invalid_argument",
                f"a setting has a name of 1 to {_MAX_NAME_CHARS} characters and a value of at most"
                f" {_MAX_VALUE_CHARS}",
                reason="bad_setting",
            )
        with self._database.transaction("store a setting") as connection:
            known = connection.execute(
                "SELECT modified_at_ms FROM settings WHERE tenant = ? AND name = ?", (tenant, setting.name)
            ).fetchone()
            if known is not None and known[0] > setting.modified_at_ms:
                raise RequestError(
                    "invalid_argument",
                    f"the setting {setting.name!r} was changed meanwhile; read it again",
                    reason="old_setting",
                )
            (count,) = connection.execute(
                "SELECT COUNT(*) FROM settings WHERE tenant = ?", (tenant,)
            ).fetchone()
            if known is None and count >= _MAX_SETTINGS:
                raise RequestError(
                    "resource_exhausted",
                    f"there are {count} settings, and a tenant has at most {_MAX_SETTINGS}; delete some",
                    reason="too_many_settings",
                )
            connection.execute(
                "INSERT INTO settings (tenant, name, value, modified_at_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value,"
                " modified_at_ms = excluded.modified_at_ms",
                (tenant, setting.name, setting.value, setting.modified_at_ms),
            )

    def remove(self, tenant: str, name: str) -> bool:
        """Remove a setting; says whether it was there."""
        with self._database.transaction("remove a setting") as connection:
            removed = connection.execute(
                "DELETE FROM settings WHERE tenant = ? AND name = ?", (tenant, name)
            ).rowcount
        return removed > 0
