"""The options: one frozen dataclass, checked once in ``start()``.

Each option is one field of ``Options`` and one row of ``SETTINGS`` (environment names, how to read and check
it). A value comes from the argument, else from the environment, else from the default. A bad argument raises;
a bad environment value never stops the host: it is reported (``Resolved.problems``) and the next source
counts.
"""

from __future__ import annotations

import json
import math
import os.path
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from flamewire.errors import ConfigurationError

__all__ = [
    "PROFILE_TYPES",
    "RESOURCE_TAGS",
    "RESOURCE_VARIABLE",
    "SETTINGS",
    "Options",
    "Resolved",
    "Setting",
    "resolve",
]

PROFILE_TYPES: Final = ("cpu",)
ENGINES: Final = ("auto", "native", "python")

RESOURCE_VARIABLE: Final = "OTEL_RESOURCE_ATTRIBUTES"
RESOURCE_TAGS: Final = {
    "service.namespace": "service_namespace",
    "service.version": "service_version",
    "deployment.environment": "deployment_environment",
    "deployment.environment.name": "deployment_environment",
}
"""The attributes of an OpenTelemetry resource that become tags: those that a process shares with its like."""

EngineChoice = Literal["auto", "native", "python"]


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
    tenant_id: str | None = None
    auth_token: str | None = field(default=None, repr=False)
    basic_auth_user: str | None = None
    basic_auth_password: str | None = field(default=None, repr=False)
    http_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    timeout_s: float = 10.0
    shutdown_timeout_s: float = 2.0
    max_stack_depth: int = 128
    max_queued_bytes: int = 8 * 1024 * 1024
    executor_tags: bool = True
    fleet_ratio: float = 1.0
    enabled: bool = True

    @property
    def period_ns(self) -> int:
        """CPU time between two samples of a thread, nanoseconds."""
        return 1_000_000_000 // self.sample_rate_hz


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


@dataclass(frozen=True, slots=True)
class Resolved:
    """The options in force and how they came about.

    Attributes:
        options: the options.
        sources: option name -> "argument", "default" or the environment variable's name.
        problems: one sentence for each environment value that was not used.
        service_name_missing: nobody named the service, so the name was made up.
    """

    options: Options
    sources: Mapping[str, str]
    problems: tuple[str, ...]
    service_name_missing: bool


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is a {type(value).__name__}; give a string")
    if not value or value.isspace():
        raise ValueError("is empty; leave it out or give a value")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise ValueError("has a control character in it; remove that")
    return _without_surrogates(value)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _header_text(value: Any) -> str:
    text = _text(value)
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("cannot be sent in an HTTP header; use Latin-1 characters only") from None
    return text


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"is not a whole number; give one between {low} and {high}")
        if not low <= value <= high:
            raise ValueError(f"is out of range; give a whole number between {low} and {high}")
        return value

    return check


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"is not a number of seconds; give one between {low:g} and {high:g}")
        if not low <= value <= high:
            raise ValueError(f"is out of range; give seconds between {low:g} and {high:g}")
        return float(value)

    return check


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError("is not a share; give a number between 0 and 1, such as 0.1 for a tenth")
    return float(value)


def _url(value: Any) -> str:
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid or " " in text:
        raise ValueError("is not a server address; write it like http://localhost:4040 or https://host/path")
    if parts.username is not None:
        raise ValueError("has credentials in it; use basic_auth_user and basic_auth_password")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment; give scheme, host, port and path only")
    return text


def _choice(known: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"is not known; give one of {', '.join(known)}")
        return str(value)

    return check


def _profile_types(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError('is not a sequence of names; write ("cpu",)')
    names = tuple(dict.fromkeys(value))
    if not names:
        raise ValueError("is empty; name a profile type, or give enabled=False to switch profiling off")
    unknown = [name for name in names if name not in PROFILE_TYPES]
    if unknown:
        raise ValueError(f"has {unknown[0]!r}, which is not known; known are: {', '.join(PROFILE_TYPES)}")
    return names


def _tags(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError('is not a mapping; write {"region": "eu"}')
    checked: dict[str, str] = {}
    for name, tag in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"has the name {name!r}; a tag's name is a string that is not empty")
        if name.startswith("__") or name == "service_name":
            raise ValueError(f"has the name {name!r}, which is reserved; choose another name")
        checked[_without_surrogates(name)] = _without_surrogates(str(tag))
    return MappingProxyType(checked)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _headers(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError('is not a mapping; write {"X-Team": "shop"}')
    checked: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"has the name {name!r}, which is no HTTP header name")
        try:
            checked[name] = _header_text(text)
        except ValueError as error:
            raise ValueError(f"has a value for {name} that {error}") from None
    return MappingProxyType(checked)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither True nor False")
    return value


def _read_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def _read_ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("is not a number; write a share between 0 and 1, such as 0.1") from None


_DURATION = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h)?")
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def _read_seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a duration; write seconds, for example 10 or 10s")
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


def _read_flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("is neither true nor false")


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_pairs(text: str) -> Mapping[str, str]:
    """Read ``k=v,k=v`` or a JSON object of strings."""
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text)
        except ValueError:
            raise ValueError("looks like JSON and is not; write k=v,k=v") from None
        return {str(name): str(value) for name, value in pairs.items()}
    found: dict[str, str] = {}
    for part in _read_list(text):
        name, sign, value = part.partition("=")
        if not sign:
            raise ValueError(f"has {part!r} in it; write k=v,k=v")
        found[name.strip()] = value.strip()
    return found


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("service_name", _text, str, ("PYROSCOPE_APPLICATION_NAME", "OTEL_SERVICE_NAME")),
    Setting("server_url", _url, str, ("PYROSCOPE_SERVER_ADDRESS",)),
    Setting("sample_rate_hz", _integer(1, 1000), _read_integer),
    Setting("upload_interval_s", _seconds(0.1, 3600), _read_seconds, ("PYROSCOPE_UPLOAD_INTERVAL",)),
    Setting("tags", _tags, _read_pairs, ("PYROSCOPE_LABELS",)),
    Setting("profile_types", _profile_types, _read_list),
    Setting("engine", _choice(ENGINES), str),
    Setting("tenant_id", _header_text, str, ("PYROSCOPE_TENANT_ID",)),
    Setting("auth_token", _header_text, str, ("PYROSCOPE_AUTH_TOKEN",)),
    Setting("basic_auth_user", _text, str, ("PYROSCOPE_BASIC_AUTH_USER",)),
    Setting("basic_auth_password", _text, str, ("PYROSCOPE_BASIC_AUTH_PASSWORD",)),
    Setting("http_headers", _headers, _read_pairs, ("PYROSCOPE_HTTP_HEADERS",)),
    Setting("timeout_s", _seconds(0.1, 300), _read_seconds, ("PYROSCOPE_PROFILE_EXPORT_TIMEOUT",)),
    Setting("shutdown_timeout_s", _seconds(0, 60), _read_seconds),
    Setting("max_stack_depth", _integer(1, 512), _read_integer),
    Setting("max_queued_bytes", _integer(65_536, 1 << 30), _read_integer),
    Setting("executor_tags", _flag, _read_flag),
    Setting("fleet_ratio", _ratio, _read_ratio),
    Setting("enabled", _flag, _read_flag, ("PYROSCOPE_AGENT_ENABLED", "PYROSCOPE_PROFILING_ENABLED")),
)

_CREDENTIALS: Final = ("auth_token", "basic_auth_user", "basic_auth_password")
_SECRETS: Final = frozenset({"auth_token", "basic_auth_password", "http_headers"})


def resolve(arguments: Mapping[str, object], environment: Mapping[str, str], argv0: str) -> Resolved:
    """Return the options in force.

    Args:
        arguments: what ``start()`` was given; None stands for "not given".
        environment: usually ``os.environ``.
        argv0: usually ``sys.argv[0]``; names the service where nobody else does.

    Raises:
        ConfigurationError: an argument cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    # Credentials belong together: where the program gives some, those of the environment do not mix in.
    credentials_given = any(arguments.get(name) is not None for name in _CREDENTIALS)
    for setting in SETTINGS:
        given = arguments.get(setting.name)
        if given is not None:
            values[setting.name] = _checked(setting, given)
            sources[setting.name] = "argument"
            continue
        sources[setting.name] = "default"
        if credentials_given and setting.name in _CREDENTIALS:
            continue
        for name in (setting.environment_name, *setting.aliases):
            text = environment.get(name)
            if not text:
                continue
            try:
                values[setting.name] = setting.check(setting.read(text))
            except ValueError as error:
                problems.append(f"{name}={_shown(setting.name, text)} {error}; it is not used")
                continue
            sources[setting.name] = name
            break
    _settle_credentials(values, sources, problems)
    _take_from_resource(values, sources, environment.get(RESOURCE_VARIABLE, ""))
    service_name_missing = "service_name" not in values
    if service_name_missing:
        values["service_name"] = f"unknown_service:{_program_name(argv0)}"
    return Resolved(Options(**values), sources, tuple(problems), service_name_missing)


def _checked(setting: Setting, value: object) -> Any:
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{setting.name}={_shown(setting.name, value)} {error}") from None


def _shown(name: str, value: object) -> str:
    return "(secret)" if name in _SECRETS else repr(value)


def _settle_credentials(values: dict[str, Any], sources: dict[str, str], problems: list[str]) -> None:
    """Leave either a token, or a user with a password, or nothing."""
    token, user, password = (name in values for name in _CREDENTIALS)
    if user == password and not (token and user):
        return
    complaint = (
        "auth_token and basic_auth_user are both set; give one of them"
        if token
        else "basic_auth_user and basic_auth_password work only together; give both"
    )
    present = [name for name in _CREDENTIALS if name in values]
    if sources[present[0]] == "argument":
        raise ConfigurationError(complaint)
    problems.append(f"{complaint} (set by {', '.join(sources[name] for name in present)})")
    for name in present:
        if name != "auth_token":
            del values[name]
            sources[name] = "default"


def _take_from_resource(values: dict[str, Any], sources: dict[str, str], text: str) -> None:
    """Let an OpenTelemetry resource, as its variable has it, say what nobody else has said (SDK-007)."""
    attributes: dict[str, str] = {}
    for part in _read_list(text):
        name, sign, value = part.partition("=")
        value = unquote(value.strip()).strip()
        if sign and value and not any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
            attributes[name.strip()] = _without_surrogates(value)
    service_name = attributes.get("service.name", "")
    if "service_name" not in values and service_name:
        values["service_name"] = service_name
        sources["service_name"] = RESOURCE_VARIABLE
    found = {tag: attributes[name] for name, tag in RESOURCE_TAGS.items() if name in attributes}
    if found:
        if "tags" not in values:
            sources["tags"] = RESOURCE_VARIABLE
        values["tags"] = MappingProxyType({**found, **values.get("tags", {})})


def _program_name(argv0: str) -> str:
    name = os.path.basename(argv0)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(argv0))
    return _without_surrogates(name) if name and not name.startswith("-") else "python"
