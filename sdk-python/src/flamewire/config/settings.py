"""The table of options: each field of ``Options`` with its environment names, its reader and its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flamewire.config import checks
from flamewire.config.options import ENGINES, PROTOCOLS
from flamewire.config.readers import (
    read_flag,
    read_integer,
    read_list,
    read_number,
    read_pairs,
    read_seconds,
)

__all__ = ["CHANGEABLE", "CREDENTIALS", "SECRETS", "SETTINGS", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the option table.

    Attributes:
        name: the field of ``Options``, also the keyword of ``start()``.
        check: turns a given value into the field's type; raises ValueError with words that say what to write.
        read: turns the text of an environment variable into what ``check`` takes; raises ValueError.
        aliases: other environment names that count where ``FLAMEWIRE_<NAME>`` is not set, in this order.
    """

    name: str
    check: Callable[[Any], Any]
    read: Callable[[str], Any]
    aliases: tuple[str, ...] = ()

    @property
    def environment_name(self) -> str:
        """The variable of this option."""
        return f"FLAMEWIRE_{self.name.upper()}"


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("service_name", checks.text, str, ("PYROSCOPE_APPLICATION_NAME", "OTEL_SERVICE_NAME")),
    Setting("server_url", checks.url, str, ("PYROSCOPE_SERVER_ADDRESS",)),
    Setting("sample_rate_hz", checks.integer(1, 1000), read_integer),
    Setting("upload_interval_s", checks.seconds(0.1, 3600), read_seconds, ("PYROSCOPE_UPLOAD_INTERVAL",)),
    Setting("tags", checks.tags, read_pairs, ("PYROSCOPE_LABELS",)),
    Setting("profile_types", checks.profile_types, read_list),
    Setting("engine", checks.choice(ENGINES), str),
    Setting("export_protocol", checks.choice(PROTOCOLS), str),
    Setting("tenant_id", checks.header_text, str, ("PYROSCOPE_TENANT_ID",)),
    Setting("auth_token", checks.header_text, str, ("PYROSCOPE_AUTH_TOKEN",)),
    Setting("basic_auth_user", checks.text, str, ("PYROSCOPE_BASIC_AUTH_USER",)),
    Setting("basic_auth_password", checks.text, str, ("PYROSCOPE_BASIC_AUTH_PASSWORD",)),
    Setting("http_headers", checks.headers, read_pairs, ("PYROSCOPE_HTTP_HEADERS",)),
    Setting("proxy_url", checks.proxy_url, str),
    Setting("ca_file", checks.pem_file, str),
    Setting("client_cert_file", checks.pem_file, str),
    Setting("client_key_file", checks.key_file, str),
    Setting("timeout_s", checks.seconds(0.1, 300), read_seconds, ("PYROSCOPE_PROFILE_EXPORT_TIMEOUT",)),
    Setting("shutdown_timeout_s", checks.seconds(0, 60), read_seconds),
    Setting("max_stack_depth", checks.integer(1, 512), read_integer),
    Setting("max_queued_bytes", checks.integer(65_536, 1 << 30), read_integer),
    Setting("max_queued_age_s", checks.seconds(1, 604_800), read_seconds),
    Setting("spool_dir", checks.folder, str),
    Setting("spool_max_bytes", checks.integer(65_536, 1 << 40), read_integer),
    Setting("executor_tags", checks.flag, read_flag),
    Setting("fleet_ratio", checks.ratio, read_number),
    Setting("enabled", checks.flag, read_flag, ("PYROSCOPE_AGENT_ENABLED", "PYROSCOPE_PROFILING_ENABLED")),
)

CREDENTIALS: Final = ("auth_token", "basic_auth_user", "basic_auth_password")
CHANGEABLE: Final = ("sample_rate_hz", "profile_types", "tags")
"""What ``update()`` can change while a session runs."""
SECRETS: Final = frozenset({"auth_token", "basic_auth_password", "http_headers", "proxy_url"})
