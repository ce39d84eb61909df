"""A session: one start..stop of profiling this process."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final

from flamewire.config import changed
from flamewire.engines.base import Engine, EngineStats, Window
from flamewire.engines.registry import start_engine
from flamewire.errors import EngineError
from flamewire.executors import ExecutorHook
from flamewire.export.exporter import Exporter
from flamewire.export.outcomes import DropReason
from flamewire.export.queue import Queue
from flamewire.export.spool import SpoolError, open_spool
from flamewire.export.transport import RequestsTransport, Transport
from flamewire.export.wires import wire_of
from flamewire.fleet import is_chosen
from flamewire.log import LOGGER, info, warn
from flamewire.snapshot import Status
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from typing import Self

    from flamewire.config import Options, Resolved

__all__ = ["Session", "WindowSchedule"]

_LOOK_S: Final = 1.0
"""How often a pause looks whether the session's thread is still there."""


class WindowSchedule:
    """When windows end: first at a random point of the interval, then every interval.

    A fleet that is restarted together therefore does not push together.
    """

    def __init__(self, interval_s: float, now_s: float, uniform: Callable[[float, float], float]) -> None:
        self._interval_s = interval_s
        self.next_s = now_s + uniform(0.0, interval_s)

    def advance(self, now_s: float) -> None:
        """Set the next end; ends that were missed (a suspended process) are left out."""
        missed = int(max(0.0, now_s - self.next_s) // self._interval_s)
        self.next_s += self._interval_s * (missed + 1)


class Session:
    """Profiles this process from ``start`` to ``stop``; also a context manager.

    Thread-safe. Nothing but ``start`` raises. A fork child goes on by itself, with an empty queue. The lock
    is re-entrant, because the handler of SIGTERM may call ``stop`` on a thread that holds it.
    """

    def __init__(
        self,
        resolved: Resolved,
        *,
        transport_factory: Callable[[Options], Transport] = RequestsTransport,
        engine_factory: Callable[[Options], tuple[Engine, str]] = start_engine,
    ) -> None:
        self.options = resolved.options
        self._resolved = resolved
        self._transport_factory = transport_factory
        self._engine_factory = engine_factory
        self._problems = resolved.problems
        self.coverage = "stop() only"
        """Which ends of the process are looked after, in words for the status."""
        self._transport: Transport | None = None
        self._engine: Engine | None = None
        self._engine_reason = ""
        self._executors = ExecutorHook()
        self._role: str | None = None
        self._changed = threading.Condition()
        self._listeners: tuple[Callable[[Window], None], ...] = ()
        self._altering = threading.RLock()
        """Held by pause, resume and update, of which one at a time replaces the engine."""
        self._started_in = os.getpid()
        self._begin("not started")

    def _begin(self, state: str) -> None:
        """Set everything that belongs to one run of the threads."""
        self._state = state
        self._flushes_asked = 0
        self._flushes_done = 0
        self._stopping = False
        self._pausing = False
        """The session's thread is to stop the engine; ``paused`` says when it has."""
        self._windows = 0
        self._last_stats = EngineStats()
        self._exporter: Exporter | None = None
        self._thread: SdkThread | None = None

    @property
    def inherited(self) -> bool:
        """Whether it was started in a process that this one was forked from."""
        return self._started_in != os.getpid()

    def is_started_with(self, options: Options) -> bool:
        """Tell whether a start with these options asks for this session, whatever ``update`` has changed."""
        return options in (self._resolved.options, self.options)

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped; a session that is paused runs."""
        return self._state in ("running", "paused")

    def start(self) -> Self:
        """Begin sampling and pushing; does nothing while it runs. Imports ``requests`` on the calling thread.

        Raises:
            EngineError: no engine runs here.
        """
        with self._changed:
            if self.running:
                return self
            if not self.options.enabled:
                self._state = "disabled"
                return self
            if not is_chosen(self.options.fleet_ratio, self.options.service_name):
                self._state = "not chosen"
                info("fleet_ratio=%g leaves this host out", self.options.fleet_ratio)
                return self
            self._transport = self._transport_factory(self.options)
            self._engine, self._engine_reason = self._engine_factory(self.options)
            self._begin("running")
            self._started_in = os.getpid()
            try:
                self._start_threads(self._transport)
            except RuntimeError as error:
                self._engine.stop()
                self._begin("stopped")
                raise EngineError(f"the SDK's threads cannot be started: {error}") from error
            if self.options.executor_tags:
                self._executors.install()
        for problem in self._problems:
            LOGGER.warning("%s", problem)
        if self._resolved.service_name_missing:
            LOGGER.warning(
                "no service name was given, so this is %r; set service_name or FLAMEWIRE_SERVICE_NAME",
                self.options.service_name,
            )
        info("profiling %r to %s", self.options.service_name, self.options.server_url)
        return self

    def stop(self, timeout_s: float | None = None) -> bool:
        """Stop sampling and push what is left; returns whether all of it arrived.

        Blocks for at most ``timeout_s`` (default: the option ``shutdown_timeout_s``); what is left then is
        counted as dropped, or waits in the spool for the next session. Idempotent.
        """
        with self._changed:
            exporter, thread = self._exporter, self._thread
            if not self.running or exporter is None or thread is None:
                return True
            deadline_s = time.monotonic() + self._shutdown_s(timeout_s)
            self._stopping = True
            self._executors.remove()
            self._changed.notify_all()
            lost_before = exporter.delivery().lost
        thread.join(max(0.0, deadline_s - time.monotonic()))
        nothing_left = exporter.close(deadline_s)
        with self._changed:
            self._state = "stopped"
            self._changed.notify_all()
        return nothing_left and exporter.delivery().lost == lost_before and not thread.is_alive()

    def flush(self, timeout_s: float | None = None) -> bool:
        """End the window now and wait until each upload is delivered or refused; returns whether that was
        reached.

        Blocks for at most ``timeout_s`` (default: the option ``timeout_s``).
        """
        deadline_s = time.monotonic() + (self.options.timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            exporter = self._exporter
            if not self.running or exporter is None:
                return True
            if not self._cut(deadline_s):
                return False
        return exporter.flush(deadline_s)

    def cut(self, timeout_s: float | None = None) -> bool:
        """End the window now without waiting for its upload; returns whether it has ended within the time."""
        deadline_s = time.monotonic() + (self.options.timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            return self._cut(deadline_s)

    def listen(self, listener: Callable[[Window], None]) -> Callable[[], None]:
        """Hand each window to the listener too, on the session's thread; returns what ends that."""
        with self._changed:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._changed:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def pause(self) -> bool:
        """End the window, and take no more samples until ``resume``; what is queued is sent on.

        Nothing of the engine is left in the process meanwhile. Returns whether samples have been taken.
        """
        with self._altering, self._changed:
            if self._state != "running":
                return False
            self._pausing = True
            self._changed.notify_all()
            while self._state == "running" and self._pausing:
                self._changed.wait(_LOOK_S)
            return True

    def resume(self) -> None:
        """Take samples again after ``pause``; does nothing otherwise.

        Raises:
            EngineError: no engine runs here any more; the session stays paused.
        """
        with self._altering:
            with self._changed:
                if self._state != "paused":
                    return
            # Not with the lock held that the session's thread needs: an engine takes its time to start.
            engine, reason = self._engine_factory(self.options)
            with self._changed:
                if self._state != "paused":
                    engine.stop()
                    return
                self._engine, self._engine_reason = engine, reason
                self._state = "running"
                self._changed.notify_all()

    def update(self, **changes: object) -> None:
        """Change ``sample_rate_hz``, ``profile_types`` or ``tags`` (all of them) from now on.

        What was gathered before is sent as it was taken. Another rate and other types restart the engine,
        whose counters begin anew.

        Raises:
            ConfigurationError: a value cannot be used, or its option cannot change; nothing has.
            EngineError: the engine does not start again; the session is paused, with the options of before.
        """
        with self._altering:
            before = self.options
            options = changed(before, changes)
            if options == before:
                return
            only_tags = options == replace(before, tags=options.tags)
            if only_tags:
                self.cut()
            was_sampling = not only_tags and self.pause()
            self.options = options
            if self._exporter is not None:
                self._exporter.relabel(self._labelled())
            if was_sampling:
                try:
                    self.resume()
                except EngineError:
                    self.options = before
                    raise

    def _cut(self, deadline_s: float) -> bool:
        """Let the session's thread end the window. The lock is held."""
        self._flushes_asked += 1
        mine = self._flushes_asked
        self._changed.notify_all()
        while self._flushes_done < mine:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not self.running:
                return False
            self._changed.wait(left_s)
        return True

    def status(self) -> Status:
        """Return a snapshot of engine, options, counters and the last push."""
        with self._changed:
            exporter, engine = self._exporter, self._engine
            state, problems = self._state, self._problems
        stats = self._stats()
        delivery = exporter.delivery() if exporter is not None else None
        return Status(
            state=state,
            engine=engine.name if engine is not None else "",
            engine_reason=self._engine_reason,
            missing=dict(engine.missing) if engine is not None else {},
            options=self.options,
            option_sources=self._resolved.sources,
            problems=problems,
            coverage=self.coverage,
            windows=self._windows,
            pushed_profiles=delivery.pushed_profiles if delivery else 0,
            dropped_profiles=delivery.dropped_profiles if delivery else {},
            retries=delivery.retries if delivery else 0,
            queued_profiles=delivery.queued_profiles if delivery else 0,
            queued_bytes=delivery.queued_bytes if delivery else 0,
            server_is_dead=delivery.server_is_dead if delivery else False,
            last_push=delivery.last_push if delivery else None,
            samples_due=stats.samples_due,
            samples_gathered=stats.samples_gathered,
            dropped_samples=dict(stats.dropped),
            own_cpu_s=stats.own_cpu_ns / 1e9,
            threads=stats.threads,
            without_span=dict(stats.without_span),
            wall=stats.wall,
        )

    def after_fork_in_child(self) -> None:
        """Go on in a fork child: nothing of the parent's is sent, nothing of its locks is touched."""
        self._changed = threading.Condition()
        self._altering = threading.RLock()
        if not self.running or self._stopping or self._engine is None or self._transport is None:
            self._begin("stopped" if self.running else self._state)
            return
        is_paused = self._state == "paused"
        if self._exporter is not None:
            self._exporter.forget()
        self._listeners = ()
        self._begin("paused" if is_paused else "running")
        self._role = "fork"
        # The parent's transport is kept: closing it could meet a lock that one of the parent's threads held.
        self._inherited = self._transport
        try:
            self._transport = self._transport.fresh()
            if not is_paused:
                self._engine.after_fork_in_child()
            self._start_threads(self._transport)
        except Exception as error:  # noqa: BLE001 - callback root: Python would print it in the host's fork
            self._begin("stopped")
            self._problems = (*self._problems, f"this fork child is not profiled: {error}")

    def become(self, role: str) -> None:
        """Say what a fork child is to its parent: ``fork``, ``multiprocessing`` or ``pool``.

        Its series carry that as ``process_role`` (a tag of that name wins), so that master and workers can be
        told apart, and a child per request makes no series per request.
        """
        self._role = role
        if self._exporter is not None:
            self._exporter.relabel(self._labelled())

    def _labelled(self) -> Options:
        if self._role is None:
            return self.options
        return replace(self.options, tags={"process_role": self._role, **self.options.tags})

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_threads(self, transport: Transport) -> None:
        self._exporter = Exporter(self._labelled(), transport, queue=self._open_queue())
        self._exporter.start()
        self._thread = SdkThread("session", self._run)
        self._thread.start()

    def _open_queue(self) -> Queue | None:
        try:
            return open_spool(self.options, wire_of(self.options).path)
        except SpoolError as error:
            problem = f"spool_dir is not used, profiles wait in memory: {error}"
            if problem not in self._problems:
                self._problems = (*self._problems, problem)
            return None

    def _shutdown_s(self, timeout_s: float | None) -> float:
        return self.options.shutdown_timeout_s if timeout_s is None else timeout_s

    def _stats(self) -> EngineStats:
        if self._state == "running" and self._engine is not None:
            try:
                self._last_stats = self._engine.stats()
            except Exception as error:  # noqa: BLE001 - status() must not raise into the host
                warn("engine stats", "the engine's counters cannot be read: %r", error)
        return self._last_stats

    def _run(self) -> None:
        """Poll the engine and end its windows, until ``stop``."""
        uniform = random.Random().uniform  # noqa: S311 - no secret; own, since fork copies the shared one
        schedule = WindowSchedule(self.options.upload_interval_s, time.monotonic(), uniform)
        poll_in_s = 0.0
        while True:
            with self._changed:
                idle = not (self._stopping or self._pausing) and self._flushes_done == self._flushes_asked
                if idle:
                    until_s = min(poll_in_s, max(0.0, schedule.next_s - time.monotonic()))
                    self._changed.wait(None if self._state == "paused" else until_s)
                stopping, pausing, flushes = self._stopping, self._pausing, self._flushes_asked
                paused, engine = self._state == "paused", self._engine
            assert engine is not None
            if stopping or pausing:
                self._hand_over(engine.stop)
                self._stats()
                if stopping:
                    break
            if pausing or paused:
                poll_in_s = 0.0
                with self._changed:
                    self._pausing = False
                    if self._state == "running" and pausing:
                        self._state = "paused"
                    self._flushes_done = flushes
                    self._changed.notify_all()
                continue
            poll_in_s = self._poll(engine)
            if time.monotonic() >= schedule.next_s:
                self._hand_over(engine.take_windows)
                schedule.advance(time.monotonic())
            if flushes != self._flushes_done:
                self._hand_over(engine.take_windows)
            with self._changed:
                self._flushes_done = flushes
                self._changed.notify_all()

    def _hand_over(self, end_windows: Callable[[], list[Window]]) -> None:
        exporter = self._exporter
        assert exporter is not None
        try:
            for window in end_windows():
                self._windows += 1
                for listener in self._listeners:
                    listener(window)
                if self.options.export_protocol != "none":
                    exporter.submit(window)
        except Exception as error:  # noqa: BLE001 - thread root: a lost window must not end the session
            warn("window", "a window was lost: %r", error)
            exporter.lose(DropReason.FAILED)

    def _poll(self, engine: Engine) -> float:
        try:
            return engine.poll()
        except Exception as error:  # noqa: BLE001 - thread root: an engine's failure must not end the session
            warn("poll", "the engine failed: %r", error)
            return 1.0
