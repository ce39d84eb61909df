"""What a session can be told: one frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["ENGINES", "PROFILE_TYPES", "PROTOCOLS", "Options"]

PROFILE_TYPES: Final = ("cpu", "wall")
ENGINES: Final = ("auto", "native", "python")
PROTOCOLS: Final = ("push", "otlp", "none")

EngineChoice = Literal["auto", "native", "python"]
ProtocolChoice = Literal["push", "otlp", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a session can be told. Durations are seconds; a secret does not stand in the repr."""

    service_name: str
    server_url: str = "http://localhost:4040"
    sample_rate_hz: int = 100
    upload_interval_s: float = 10.0
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    profile_types: tuple[str, ...] = ("cpu",)
    engine: EngineChoice = "auto"
    export_protocol: ProtocolChoice = "push"
    tenant_id: str | None = None
    auth_token: str | None = field(default=None, repr=False)
    basic_auth_user: str | None = None
    basic_auth_password: str | None = field(default=None, repr=False)
    http_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    proxy_url: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    timeout_s: float = 10.0
    shutdown_timeout_s: float = 2.0
    max_stack_depth: int = 128
    max_queued_bytes: int = 8 * 1024 * 1024
    max_queued_age_s: float = 3600.0
    spool_dir: str | None = None
    spool_max_bytes: int = 64 * 1024 * 1024
    executor_tags: bool = True
    fleet_ratio: float = 1.0
    enabled: bool = True

    @property
    def period_ns(self) -> int:
        """CPU time between two samples of a thread, nanoseconds."""
        return 1_000_000_000 // self.sample_rate_hz
