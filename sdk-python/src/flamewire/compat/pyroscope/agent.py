"""``configure`` and ``shutdown``: the default session, by the names and habits of pyroscope-io."""

from __future__ import annotations

import enum
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Final

from flamewire.default import running_session, start_with
from flamewire.errors import AlreadyStartedError
from flamewire.log import LOGGER, warn

__all__ = [
    "LOGGER",
    "LineNo",
    "ProfilerImplementation",
    "configure",
    "configure_experimental_stack_profiler",
    "runtime_name",
    "runtime_version",
    "shutdown",
]


class LineNo(enum.Enum):
    """Which line of a frame to report; here it is always the one that runs."""

    LastInstruction = 0
    First = 1
    NoLine = 2


class ProfilerImplementation(enum.Enum):
    """Which sampler to use; here the best engine is chosen, and carries labels whichever it is."""

    PySpy = 0
    Stack = 1


_DEFAULT_ADDRESS: Final = "http://localhost:4040"
_DEFAULT_RATE_HZ: Final = 100
_DEFAULT_INTERVAL_S: Final = 10


def configure(
    app_name: str | None = None,
    application_name: str | None = None,
    server_address: str | None = _DEFAULT_ADDRESS,
    basic_auth_username: str | None = "",
    basic_auth_password: str | None = "",
    enable_logging: bool = False,
    sample_rate: int = _DEFAULT_RATE_HZ,
    oncpu: bool = True,
    native: bool | None = None,
    gil_only: bool = True,
    report_pid: bool = False,
    report_thread_id: bool = False,
    report_thread_name: bool = False,
    tags: Mapping[str, object] | None = None,
    tenant_id: str | None = "",
    http_headers: Mapping[str, str] | None = None,
    line_no: LineNo = LineNo.LastInstruction,
    upload_interval: float = _DEFAULT_INTERVAL_S,
    mem_enabled: bool = False,
    mem_max_nframe: int = 128,
    mem_heap_sample_size: int = 512 * 1024,
    mem_enable_mem_domain: bool = True,
    cpu_enabled: bool = True,
    cpu_implementation: ProfilerImplementation = ProfilerImplementation.PySpy,
) -> bool:
    """Start profiling; returns False where a session with other options runs, or nothing is to be profiled.

    What is left at its default comes from the environment, as in ``flamewire.start()``. In a fork child,
    which is profiled already, other options than the parent's take the place of those.

    Args:
        app_name: deprecated, ``application_name``.
        application_name: the service's name.
        server_address: the server's base address.
        basic_auth_username: counts with a password only.
        basic_auth_password: counts with a user name only.
        enable_logging: print the SDK's log to stderr where the program has not configured logging.
        sample_rate: samples per second of CPU time of each thread.
        oncpu: False also gives wall-clock profiles, as a profile type of their own (``wall``), where the
            engine has them; pyroscope-io passes them off as CPU time.
        native: deprecated, without effect.
        gil_only: without effect; CPU is measured whoever holds the interpreter lock.
        report_pid: without effect but a logged line.
        report_thread_id: without effect but a logged line.
        report_thread_name: without effect but a logged line.
        tags: labels of every profile.
        tenant_id: sent as X-Scope-OrgID.
        http_headers: further headers of each push.
        line_no: without effect.
        upload_interval: seconds of a window.
        mem_enabled: without effect but a logged line: there are no memory profiles yet.
        mem_max_nframe: without effect.
        mem_heap_sample_size: without effect.
        mem_enable_mem_domain: without effect.
        cpu_enabled: False leaves nothing to profile.
        cpu_implementation: without effect.

    Raises:
        ConfigurationError: an argument cannot be used; pyroscope-io would log that at best.
        EngineError: no engine runs here.
    """
    if app_name is not None:
        warnings.warn("app_name is deprecated, use application_name", DeprecationWarning, stacklevel=2)
        application_name = app_name
    if native is not None:
        warnings.warn("native is deprecated and not supported", DeprecationWarning, stacklevel=2)
    if enable_logging:
        _print_log()
    _say_what_is_missing(
        {
            "report_pid": report_pid,
            "report_thread_id": report_thread_id,
            "report_thread_name": report_thread_name,
            "mem_enabled": mem_enabled,
        }
    )
    if not cpu_enabled:
        warn("compat cpu", "cpu_enabled=False leaves nothing to profile, so nothing is started")
        return False
    both = bool(basic_auth_username and basic_auth_password)
    options = {
        "service_name": application_name,
        "server_url": _unless(server_address, _DEFAULT_ADDRESS),
        "basic_auth_user": basic_auth_username if both else None,
        "basic_auth_password": basic_auth_password if both else None,
        "sample_rate_hz": _unless(sample_rate, _DEFAULT_RATE_HZ),
        "upload_interval_s": _unless(upload_interval, _DEFAULT_INTERVAL_S),
        "tags": tags or None,
        "tenant_id": tenant_id or None,
        "http_headers": http_headers or None,
        "profile_types": None if oncpu else ("cpu", "wall"),
    }
    return _start(options)


def _start(options: Mapping[str, object]) -> bool:
    try:
        return start_with(options, os.environ).running
    except AlreadyStartedError as error:
        session = running_session()
        if session is None or not session.inherited:
            warn("compat configure", "configure() has no effect: %s", error)
            return False
    session.stop()
    return start_with(options, os.environ).running


def shutdown() -> bool:
    """Stop profiling and push what is left; returns False where nothing ran."""
    session = running_session()
    if session is None:
        return False
    session.stop()
    return True


def configure_experimental_stack_profiler(
    max_nframe: int = 128,
    max_threads: int = 25,
    adaptive_sampling: bool = True,
    adaptive_target_overhead: float = 0.01,
    adaptive_max_interval_us: int = 100_000,
    adaptive_baseline: float = 0.0,
    adaptive_p_stable_window_s: int = 600,
    adaptive_p_stable_percentile: float = 95.0,
    cpu_timer_enabled: bool = True,
    cpu_timer_interval_ms: int = 10,
) -> bool:
    """Return True and change nothing: it tunes a sampler that is not there."""
    return True


def runtime_name() -> str:
    """Return the name of the Python implementation, such as "cpython"."""
    return sys.implementation.name


def runtime_version() -> str:
    """Return the version of the Python implementation, such as "3.13.0"."""
    version = sys.implementation.version
    released = version.releaselevel == "final" and not version.serial
    return ".".join(map(str, version[:3] if released else version))


def _unless(value: object, default: object) -> object:
    """Return the value, None where it is the default: then the environment may have a say."""
    return None if value is None or value == default else value


def _say_what_is_missing(asked: Mapping[str, bool]) -> None:
    for argument, is_asked in asked.items():
        if is_asked:
            warn(f"compat {argument}", "%s has no effect here yet", argument)


def _print_log() -> None:
    has_handler = any(not isinstance(handler, logging.NullHandler) for handler in LOGGER.handlers)
    if has_handler or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
