"""The configuration: defaults < file < environment < flags.

The file is YAML in Pyroscope's shape. `SETTINGS` is the one table of what can be set: field, key in the file,
variable.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from flamewire_server.auth import KEYS_FILE
from flamewire_server.config_keys import MEANINGLESS, UNSUPPORTED
from flamewire_server.errors import ConfigError

__all__ = [
    "ENV_PREFIX",
    "SETTINGS",
    "Config",
    "Setting",
    "is_loopback",
    "load_config",
    "load_overrides",
    "parse_duration_s",
    "split_listen",
]

ENV_PREFIX = "FLAMEWIRE_SERVER_"
# The SDK's option server_url is FLAMEWIRE_SERVER_URL: ours by prefix only. CONFIG is read with the flags.
_FOREIGN_ENV = frozenset({"FLAMEWIRE_SERVER_URL", "FLAMEWIRE_SERVER_CONFIG"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w|y)")
_DURATION_UNIT_S = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0,
    "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set, validated. Sizes are bytes, durations seconds;
    docs/reference/configuration.md."""

    listen_address: str = "127.0.0.1"
    listen_port: int = 4040
    otlp_listen: tuple[str, int] | None = None
    allowed_hosts: tuple[str, ...] = ()
    insecure: bool = False
    log_level: str = "info"
    log_format: str = "text"
    graceful_shutdown_timeout_s: float = 30.0
    storage_backend: str = "filesystem"
    data_dir: Path = Path("flamewire-data")
    multitenancy_enabled: bool = False
    max_request_bytes: int = 64 << 20
    max_profile_bytes: int = 4 << 20
    max_samples: int = 16000
    max_sample_labels: int = 100
    max_label_names: int = 30
    max_label_name_bytes: int = 1024
    max_label_value_bytes: int = 2048
    max_stack_depth: int = 1000
    max_string_bytes: int = 65535
    reject_older_than_s: float = 24 * 3600.0
    reject_newer_than_s: float = 600.0
    retention_s: float = 14 * 86400.0
    ingestion_rate_bytes: int = 0
    ingestion_burst_bytes: int = 0
    max_series: int = 0
    overrides_file: Path | None = None
    max_flamegraph_nodes_default: int = 8192
    max_flamegraph_nodes: int = 1048576
    max_query_length_s: float = 0.0
    query_timeout_s: float = 60.0
    max_concurrent_queries: int = 100
    max_query_bytes: int = 0
    query_cache_bytes: int = 128 << 20
    tenant_federation_enabled: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None


def parse_duration_s(text: object) -> float:
    """Read a duration as Prometheus and Go write it: `1h30m`, `14d`, `500ms`; `0` needs no unit.

    Raises:
        ValueError: the text is no such duration.
    """
    words = str(text).strip()
    if words == "0":
        return 0.0
    parts = _DURATION.findall(words)
    if not parts or "".join(number + unit for number, unit in parts) != words:
        raise ValueError("a duration such as 90s, 1h30m or 14d")
    return sum(float(number) * _DURATION_UNIT_S[unit] for number, unit in parts)


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = str(value).strip().lower()
    if words in ("true", "1", "yes", "on"):
        return True
    if words in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false")


def _parse_count(lowest: int, highest: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        wanted = f"a whole number from {lowest} to {highest}"
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value).strip()):
            raise ValueError(wanted)
        number = int(str(value))
        if not lowest <= number <= highest:
            raise ValueError(wanted)
        return number

    return parse


def _parse_megabytes(value: object) -> int:
    return _parse_count(1, 4096)(value) << 20


def _parse_fractional_megabytes(value: object) -> int:
    wanted = "a number of megabytes from 0 to 4096, 0 for any"
    try:
        megabytes = float(str(value))
    except ValueError:
        raise ValueError(wanted) from None
    if not 0 <= megabytes <= 4096:
        raise ValueError(wanted)
    return int(megabytes * (1 << 20))


def _parse_choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        word = str(value).strip().lower()
        if word not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return word

    return parse


def _parse_log_format(value: object) -> str:
    # Pyroscope's word for the same thing.
    return "text" if str(value).strip().lower() == "logfmt" else _parse_choice("text", "json")(value)


def _parse_backend(value: object) -> str:
    if str(value).strip() not in ("", "filesystem"):
        raise ValueError("filesystem, the only backend of this version")
    return "filesystem"


def _parse_address(value: object) -> str:
    address = str(value).strip().strip("[]")
    # Pyroscope reads the empty address as "every address".
    return address or "0.0.0.0"  # noqa: S104 - refused without --insecure, see _validate


def _parse_listen(value: object) -> tuple[str, int] | None:
    address, colon, port = str(value).strip().rpartition(":")
    if not str(value).strip():
        return None
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("ADDRESS:PORT, as in 127.0.0.1:4317, or nothing")
    return _parse_address(address), int(port)


def _parse_hosts(value: object) -> tuple[str, ...]:
    hosts = value if isinstance(value, list) else str(value).split(",")
    return tuple(str(host).strip().lower() for host in hosts if str(host).strip())


def _parse_path(value: object) -> Path:
    if not str(value).strip():
        raise ValueError("the path of a folder")
    return Path(str(value)).expanduser()


def _parse_optional_path(value: object) -> Path | None:
    return Path(str(value)).expanduser() if str(value).strip() else None


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: the Config field, its key in the file, its variable (without the prefix)."""

    field: str
    key: str
    env: str
    parse: Callable[[object], object]


_LARGE = 1 << 40
SETTINGS: tuple[Setting, ...] = (
    Setting("listen_address", "server.http_listen_address", "LISTEN_ADDRESS", _parse_address),
    Setting("listen_port", "server.http_listen_port", "LISTEN_PORT", _parse_count(0, 65535)),
    Setting("otlp_listen", "server.otlp_grpc_listen", "OTLP_GRPC_LISTEN", _parse_listen),
    Setting("allowed_hosts", "server.allowed_hosts", "ALLOWED_HOSTS", _parse_hosts),
    Setting("insecure", "server.insecure", "INSECURE", _parse_bool),
    Setting("log_level", "server.log_level", "LOG_LEVEL", _parse_choice("debug", "info", "warn", "error")),
    Setting("log_format", "server.log_format", "LOG_FORMAT", _parse_log_format),
    Setting(
        "graceful_shutdown_timeout_s",
        "server.graceful_shutdown_timeout",
        "GRACEFUL_SHUTDOWN_TIMEOUT",
        parse_duration_s,
    ),
    Setting("storage_backend", "storage.backend", "STORAGE_BACKEND", _parse_backend),
    Setting("data_dir", "storage.filesystem.dir", "DATA", _parse_path),
    Setting("multitenancy_enabled", "multitenancy_enabled", "MULTITENANCY_ENABLED", _parse_bool),
    Setting(
        "max_request_bytes", "limits.ingestion_body_limit_mb", "INGESTION_BODY_LIMIT_MB", _parse_megabytes
    ),
    Setting(
        "max_profile_bytes",
        "limits.max_profile_size_bytes",
        "MAX_PROFILE_SIZE_BYTES",
        _parse_count(1, 1 << 30),
    ),
    Setting(
        "max_samples",
        "limits.max_profile_stacktrace_samples",
        "MAX_PROFILE_STACKTRACE_SAMPLES",
        _parse_count(1, 10**7),
    ),
    Setting(
        "max_sample_labels",
        "limits.max_profile_stacktrace_sample_labels",
        "MAX_PROFILE_STACKTRACE_SAMPLE_LABELS",
        _parse_count(1, 10**6),
    ),
    Setting(
        "max_stack_depth",
        "limits.max_profile_stacktrace_depth",
        "MAX_PROFILE_STACKTRACE_DEPTH",
        _parse_count(1, 10**5),
    ),
    Setting(
        "max_string_bytes",
        "limits.max_profile_symbol_value_length",
        "MAX_PROFILE_SYMBOL_VALUE_LENGTH",
        _parse_count(1, 1 << 20),
    ),
    Setting(
        "max_label_names",
        "limits.max_label_names_per_series",
        "MAX_LABEL_NAMES_PER_SERIES",
        _parse_count(2, 1000),
    ),
    Setting(
        "max_label_name_bytes",
        "limits.max_label_name_length",
        "MAX_LABEL_NAME_LENGTH",
        _parse_count(1, 65535),
    ),
    Setting(
        "max_label_value_bytes",
        "limits.max_label_value_length",
        "MAX_LABEL_VALUE_LENGTH",
        _parse_count(1, 65535),
    ),
    Setting("reject_older_than_s", "limits.reject_older_than", "REJECT_OLDER_THAN", parse_duration_s),
    Setting("reject_newer_than_s", "limits.reject_newer_than", "REJECT_NEWER_THAN", parse_duration_s),
    Setting("retention_s", "limits.retention_period", "RETENTION_PERIOD", parse_duration_s),
    Setting(
        "ingestion_rate_bytes", "limits.ingestion_rate_mb", "INGESTION_RATE_MB", _parse_fractional_megabytes
    ),
    Setting(
        "ingestion_burst_bytes",
        "limits.ingestion_burst_size_mb",
        "INGESTION_BURST_SIZE_MB",
        _parse_fractional_megabytes,
    ),
    Setting(
        "max_series",
        "limits.max_global_series_per_tenant",
        "MAX_GLOBAL_SERIES_PER_TENANT",
        _parse_count(0, 1 << 30),
    ),
    Setting("overrides_file", "runtime_config.file", "RUNTIME_CONFIG_FILE", _parse_optional_path),
    Setting(
        "max_flamegraph_nodes_default",
        "limits.max_flamegraph_nodes_default",
        "MAX_FLAMEGRAPH_NODES_DEFAULT",
        _parse_count(1, 1 << 24),
    ),
    Setting(
        "max_flamegraph_nodes",
        "limits.max_flamegraph_nodes_max",
        "MAX_FLAMEGRAPH_NODES_MAX",
        _parse_count(1, 1 << 24),
    ),
    Setting("max_query_length_s", "limits.max_query_length", "MAX_QUERY_LENGTH", parse_duration_s),
    Setting("query_timeout_s", "limits.query_timeout", "QUERY_TIMEOUT", parse_duration_s),
    Setting(
        "max_concurrent_queries",
        "limits.max_concurrent_queries",
        "MAX_CONCURRENT_QUERIES",
        _parse_count(0, 10**6),
    ),
    Setting("max_query_bytes", "limits.max_query_bytes", "MAX_QUERY_BYTES", _parse_count(0, 1 << 50)),
    Setting("query_cache_bytes", "limits.query_cache_bytes", "QUERY_CACHE_BYTES", _parse_count(0, 1 << 40)),
    Setting(
        "tenant_federation_enabled", "tenant_federation.enabled", "TENANT_FEDERATION_ENABLED", _parse_bool
    ),
    Setting("tls_cert_file", "server.http_tls_config.cert_file", "TLS_CERT_FILE", _parse_path),
    Setting("tls_key_file", "server.http_tls_config.key_file", "TLS_KEY_FILE", _parse_path),
    Setting("tls_client_ca_file", "server.http_tls_config.client_ca_file", "TLS_CLIENT_CA_FILE", _parse_path),
)
# A second name of a key, kept because files in the field use it.
_ALIASES = {"limits.compactor_blocks_retention_period": "limits.retention_period"}
_BY_KEY = {setting.key: setting for setting in SETTINGS}
_BY_ENV = {ENV_PREFIX + setting.env: setting for setting in SETTINGS}
_BY_FIELD = {setting.field: setting for setting in SETTINGS}
_BLOCKS = {key[: match.start()] for key in _BY_KEY for match in re.finditer(r"\.", key)}


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches a server that listens on the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def load_config(
    *, path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Config, list[str]]:
    """Put the configuration together.

    Args:
        path: the YAML file, None without one.
        environ: the process environment.
        flags: Config field -> value as the user wrote it; only what the user gave.

    Returns:
        The configuration, and the warnings to log.

    Raises:
        ConfigError: a source cannot be read, a key is unknown, or a value is not usable.
    """
    values: dict[str, object] = {}
    warnings: list[str] = []
    if path is not None:
        _read_tree(_load_yaml(path), str(path), values, warnings)
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in _FOREIGN_ENV:
            continue
        if name == ENV_PREFIX + "LISTEN":
            values.update(split_listen(text, name))
        elif name in _BY_ENV:
            values[_BY_ENV[name].field] = _parse(_BY_ENV[name], text, name)
        else:
            warnings.append(f"environment variable {name} is not known; see docs/reference/configuration.md")
    for field, value in flags.items():
        values[field] = _parse(_BY_FIELD[field], value, "the command line")
    config = replace(Config(), **values)  # type: ignore[arg-type]  # parse() of each setting gives its field's type
    _validate(config)
    return config, warnings


def split_listen(text: str, source: str) -> dict[str, object]:
    """Read `ADDRESS:PORT`, `[V6]:PORT` or `:PORT` into the fields listen_address and listen_port.

    Raises:
        ConfigError: it is none of these.
    """
    address, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(
            f"{source}: {text!r} is no address to listen on; write ADDRESS:PORT, as in 127.0.0.1:4040"
        )
    return {"listen_address": _parse_address(address), "listen_port": int(port)}


# What may differ between tenants.
_OF_TENANTS = frozenset(
    {
        "max_request_bytes", "max_profile_bytes", "max_samples", "max_sample_labels", "max_stack_depth",
        "max_string_bytes", "max_label_names", "max_label_name_bytes", "max_label_value_bytes",
        "reject_older_than_s", "reject_newer_than_s", "retention_s", "ingestion_rate_bytes",
        "ingestion_burst_bytes", "max_series",
    }
)  # fmt: skip


def load_overrides(path: Path) -> dict[str, dict[str, Any]]:
    """Read the overrides file: for each tenant, Config field -> value.

    Raises:
        ConfigError: it cannot be read, or a key or value of it cannot be used.
    """
    tree = _load_yaml(path) or {}
    tenants = tree.get("overrides") or {} if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or set(tree) - {"overrides"} or not isinstance(tenants, dict):
        raise ConfigError(f"{path}: the file must be `overrides:`, then tenants, then keys of limits")
    found: dict[str, dict[str, Any]] = {}
    for tenant, keys in tenants.items():
        if not isinstance(keys, dict):
            raise ConfigError(f"{path}: overrides.{tenant} must be a block of `key: value` lines")
        values = found[str(tenant)] = {}
        for name, value in keys.items():
            key = f"limits.{name}"
            setting = _BY_KEY.get(_ALIASES.get(key, key))
            source = f"{path}: overrides.{tenant}.{name}"
            if key in MEANINGLESS:
                continue
            if setting is None or setting.field not in _OF_TENANTS:
                raise ConfigError(f"{source}: this cannot be set for one tenant{_nearest(key)}")
            values[setting.field] = _parse(setting, value, source)
    return found


def _load_yaml(path: Path) -> object:
    # Imported here: most servers run without a file, and the import costs 25 ms of the start.
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not YAML: {error}") from error


def _read_tree(
    tree: object, source: str, values: dict[str, object], warnings: list[str], prefix: str = ""
) -> None:
    if tree is None:
        return
    if not isinstance(tree, dict):
        where = prefix.rstrip(".") or "the top"
        raise ConfigError(f"{source}: {where} must be a block of `key: value` lines")
    for name, value in tree.items():
        key = f"{prefix}{name}"
        key = _ALIASES.get(key, key)
        if key in _BLOCKS:
            _read_tree(value, source, values, warnings, key + ".")
        elif key in _BY_KEY:
            values[_BY_KEY[key].field] = _parse(_BY_KEY[key], value, f"{source}: {key}")
        elif key in UNSUPPORTED:
            raise ConfigError(f"{source}: {key}: {UNSUPPORTED[key]}")
        elif key in MEANINGLESS:
            warnings.append(f"{source}: {key} has no meaning in this server and is ignored")
        else:
            raise ConfigError(
                f"{source}: unknown key {key}{_nearest(key)}; see docs/reference/configuration.md"
            )


def _nearest(key: str) -> str:
    # Imported here: only a server that refuses to start needs it.
    import difflib

    close = difflib.get_close_matches(key, _BY_KEY, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _parse(setting: Setting, value: object, source: str) -> object:
    try:
        return setting.parse("" if value is None else value)
    except ValueError as error:
        raise ConfigError(f"{source}: {value!r} does not fit {setting.key}: it must be {error}") from error


def _validate(config: Config) -> None:
    assert {setting.field for setting in SETTINGS} == {field.name for field in fields(Config)}
    has_keys = (config.data_dir / KEYS_FILE).exists()
    addresses = [config.listen_address, *([config.otlp_listen[0]] if config.otlp_listen else [])]
    public = next((address for address in addresses if not is_loopback(address)), None)
    if public is not None and not has_keys and not config.insecure:
        raise ConfigError(
            f"refusing to listen on {public}: everybody who reaches this address could"
            " read and write"
            f" profiles, for {config.data_dir} has no keys. Make one with `flamewire-server keys add`, listen"
            " on 127.0.0.1 behind a proxy that authenticates, or accept the risk with --insecure"
        )
    if (config.tls_cert_file is None) != (config.tls_key_file is None):
        raise ConfigError(
            "server.http_tls_config needs both cert_file and key_file: a certificate and its private key"
        )
    if config.tls_client_ca_file is not None and config.tls_cert_file is None:
        raise ConfigError(
            "server.http_tls_config.client_ca_file asks for client certificates, which needs TLS: give"
            " cert_file and key_file too"
        )
    if config.tenant_federation_enabled and not config.multitenancy_enabled:
        raise ConfigError("tenant_federation.enabled needs multitenancy_enabled: there is only one tenant")
    if config.max_flamegraph_nodes_default > config.max_flamegraph_nodes:
        raise ConfigError(
            "limits.max_flamegraph_nodes_default is larger than limits.max_flamegraph_nodes_max"
        )
