"""What is set for single tenants: a file that is read again whenever it changes.

The file has the shape of Pyroscope's runtime configuration: `overrides:`, tenants, keys of `limits`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from flamewire_server._native import Limits
from flamewire_server.config import Config, load_overrides
from flamewire_server.errors import ConfigError
from flamewire_server.log import EventLog

__all__ = ["TenantConfigs", "native_limits"]

_NS_PER_S = 10**9
_log = EventLog(__name__)


class TenantConfigs:
    """The configuration of each tenant: the server's, with what the overrides file says in place of it.

    Any thread may ask; reload() belongs to one.

    Raises:
        ConfigError: the file cannot be read, or a key or value of it cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._path = config.overrides_file
        self._stamp: tuple[int, int, int] | None = None
        self._is_current = True
        self._tenants: dict[str, Config] = {}
        if self._path is not None:
            self._stamp = _stamp_of(self._path)
            self._tenants = self._read(self._path)

    def of(self, tenant: str) -> Config:
        """Give what counts for a tenant."""
        return self._tenants.get(tenant, self._config)

    def limits(self, tenant: str) -> Limits:
        """Give what a push of a tenant may hold."""
        return native_limits(self.of(tenant))

    def reload(self) -> bool:
        """Read the file again if it is another than last time.

        Returns:
            Whether what counts is what the file says: False while the file cannot be used; then what it said
            before counts on.
        """
        if self._path is None:
            return True
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return self._is_current
        self._stamp = stamp
        try:
            self._tenants = self._read(self._path)
        except ConfigError as error:
            self._is_current = False
            _log.error("overrides_refused", reason=str(error))
        else:
            self._is_current = True
            _log.info("overrides_read", tenants=len(self._tenants))
        return self._is_current

    def _read(self, path: Path) -> dict[str, Config]:
        return {tenant: replace(self._config, **values) for tenant, values in load_overrides(path).items()}


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache(maxsize=1024)
def native_limits(config: Config) -> Limits:
    """Give what a push may hold, as the native core takes it."""
    return Limits(
        max_request_bytes=config.max_request_bytes,
        max_profile_bytes=config.max_profile_bytes,
        max_samples=config.max_samples,
        max_sample_labels=config.max_sample_labels,
        max_label_names=config.max_label_names,
        max_label_name_bytes=config.max_label_name_bytes,
        max_label_value_bytes=config.max_label_value_bytes,
        max_stack_depth=config.max_stack_depth,
        max_string_bytes=config.max_string_bytes,
        reject_older_than_ns=int(config.reject_older_than_s * _NS_PER_S),
        reject_newer_than_ns=int(config.reject_newer_than_s * _NS_PER_S),
    )
