"""The default session of the process: what ``flamewire.start()`` and its companions work on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from flamewire.errors import AlreadyStartedError

if TYPE_CHECKING:
    from flamewire.lifecycle import ProcessHooks
    from flamewire.session import Session
    from flamewire.snapshot import Status

__all__ = [
    "flush",
    "pause",
    "resume",
    "running_session",
    "start",
    "start_with",
    "status",
    "stop",
    "update",
]


class _Default:
    """The one piece of module-level state of this package; a fork waits for start() and gets a fresh lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._waited_in: set[int] = set()
        self.session: Session | None = None
        self.hooks: ProcessHooks | None = None

    def stop(self) -> bool:
        session = self.session
        return session.stop() if session is not None else True

    def flush_before_end(self) -> bool:
        session = self.session
        return session.flush(session.options.shutdown_timeout_s) if session is not None else True

    def before_fork(self) -> None:
        """Let a start() on another thread come to its end, so that the child finds a whole session or none.

        The wait is bounded: that start() might itself wait for something that the forking thread holds.
        Modules that start() is the first to import, and that look after forks themselves (logging,
        concurrent.futures), see the end of this fork without its beginning then, which Python reports as an
        exception that it ignores.
        """
        if self.lock.acquire(timeout=_START_MAX_S):
            self._waited_in.add(threading.get_ident())

    def after_fork_in_parent(self) -> None:
        if threading.get_ident() in self._waited_in:
            self._waited_in.discard(threading.get_ident())
            self.lock.release()

    def after_fork_in_child(self) -> None:
        self.lock = threading.RLock()
        self._waited_in = set()

    def after_fork(self) -> None:
        if self.session is not None:
            self.session.after_fork_in_child()

    def become(self, role: str) -> None:
        if self.session is not None:
            self.session.become(role)


_START_MAX_S: Final = 5.0

_default = _Default()
if hasattr(os, "register_at_fork"):
    # At import and not at start(): the first start() may be under way on another thread.
    os.register_at_fork(
        before=_default.before_fork,
        after_in_parent=_default.after_fork_in_parent,
        after_in_child=_default.after_fork_in_child,
    )


def start(
    *,
    service_name: str | None = None,
    server_url: str | None = None,
    sample_rate_hz: int | None = None,
    upload_interval_s: float | None = None,
    tags: Mapping[str, object] | None = None,
    profile_types: Iterable[str] | None = None,
    engine: str | None = None,
    export_protocol: str | None = None,
    tenant_id: str | None = None,
    auth_token: str | None = None,
    basic_auth_user: str | None = None,
    basic_auth_password: str | None = None,
    http_headers: Mapping[str, str] | None = None,
    proxy_url: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    client_cert_file: str | os.PathLike[str] | None = None,
    client_key_file: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    shutdown_timeout_s: float | None = None,
    max_stack_depth: int | None = None,
    max_queued_bytes: int | None = None,
    max_queued_age_s: float | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    spool_max_bytes: int | None = None,
    executor_tags: bool | None = None,
    fleet_ratio: float | None = None,
    enabled: bool | None = None,
) -> Session:
    """Start profiling this process and return the session.

    An option that is None comes from the environment (``FLAMEWIRE_<OPTION>``), else from its default. Called
    again with the same options it returns the running session. The process's exit, SIGTERM (a handler that
    the program has set before is called after the push) and fork are looked after.

    Args:
        service_name: what the profiles are filed under; default ``unknown_service:<program>`` and a warning.
        server_url: base address of the server; default http://localhost:4040.
        sample_rate_hz: samples per second of CPU time of each thread, 1 to 1000; default 100.
        upload_interval_s: length of a window, 0.1 to 3600; default 10.
        tags: labels of every profile, name -> value; values are turned into strings.
        profile_types: what to profile, "cpu", "wall" or both; default ("cpu",).
        engine: "native", "python", or "auto" (default), which takes the first that runs here.
        export_protocol: "push" (default), "otlp" (OpenTelemetry's profiles), or "none": for pulls only.
        tenant_id: sent as X-Scope-OrgID.
        auth_token: sent as bearer token.
        basic_auth_user: user name, together with a password.
        basic_auth_password: password, together with a user name.
        http_headers: further headers of each push.
        proxy_url: proxy of each push; default what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
        ca_file: certificates (PEM) that the server's is judged by; default REQUESTS_CA_BUNDLE or certifi's.
        client_cert_file: certificate (PEM) that the SDK shows to the server.
        client_key_file: its key, without a passphrase; default in the certificate's file.
        timeout_s: longest wait for an answer to a push, 0.1 to 300; default 10.
        shutdown_timeout_s: longest delay of the process's exit, 0 to 60; default 2.
        max_stack_depth: frames kept of a stack, from the leaf, 1 to 512; default 128.
        max_queued_bytes: memory for profiles that wait for the server; default 8 MiB, the oldest go first.
        max_queued_age_s: how long they wait at most; default 3600.
        spool_dir: folder in which they wait instead, and outlast the process; default none.
        spool_max_bytes: room in that folder for all processes; default 64 MiB, the oldest go first.
        executor_tags: a ThreadPoolExecutor's tasks carry tags and span of their submitter, threads those of
            their starter; default True.
        fleet_ratio: share of hosts that profile this service, 0 to 1; default 1.
        enabled: False makes everything a no-op; default True.

    Raises:
        ConfigurationError: an option cannot be used; the message says what to write.
        AlreadyStartedError: a session with other options runs; stop it first.
        EngineError: no engine runs here.
    """
    return start_with(dict(locals()), os.environ)


def start_with(given: Mapping[str, object], environment: Mapping[str, str]) -> Session:
    """Do what ``start`` does, with the options in a mapping and another environment than the process's."""
    # Under the lock even the imports, since a fork waits for it: a child whose parent was importing on
    # another thread would wait for that thread for ever.
    with _default.lock:
        from flamewire.config import resolve
        from flamewire.lifecycle import ProcessHooks
        from flamewire.session import Session

        resolved = resolve(given, environment, sys.argv[0] if sys.argv else "")
        running = _default.session
        if running is not None and running.running:
            if running.is_started_with(resolved.options):
                return running
            raise AlreadyStartedError(
                f"a session of {running.options.service_name!r} runs with other options;"
                " call flamewire.stop() before starting with new ones"
            )
        session = Session(resolved).start()
        _default.session = session
        if _default.hooks is None:
            _default.hooks = ProcessHooks(
                stop=_default.stop,
                flush=_default.flush_before_end,
                after_fork=_default.after_fork,
                become=_default.become,
            )
        _default.hooks.install()
        session.coverage = _default.hooks.coverage
        return session


def running_session() -> Session | None:
    """Return the default session while it runs."""
    session = _default.session
    return session if session is not None and session.running else None


def stop() -> bool:
    """Stop profiling and push what is left within ``shutdown_timeout_s``; returns whether all arrived."""
    return _default.stop()


def pause() -> bool:
    """Take no more samples until ``resume``; returns whether samples have been taken."""
    session = _default.session
    return session.pause() if session is not None else False


def resume() -> None:
    """Take samples again after ``pause``.

    Raises:
        EngineError: no engine runs here any more.
    """
    session = _default.session
    if session is not None:
        session.resume()


def update(
    *,
    sample_rate_hz: int | None = None,
    profile_types: Iterable[str] | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Change options of the running session from now on; None leaves one as it is.

    Does nothing where no session runs.

    Raises:
        ConfigurationError: a value cannot be used; the message says what to write.
        EngineError: the engine does not start again with them; the session is paused.
    """
    session = running_session()
    if session is not None:
        session.update(sample_rate_hz=sample_rate_hz, profile_types=profile_types, tags=tags)


def flush(timeout_s: float | None = None) -> bool:
    """Push what was gathered so far and wait ``timeout_s`` at most; returns whether all was settled."""
    session = _default.session
    return session.flush(timeout_s) if session is not None else True


def status() -> Status:
    """Return what the default session says about itself."""
    from flamewire.snapshot import Status

    session = _default.session
    return session.status() if session is not None else Status()
