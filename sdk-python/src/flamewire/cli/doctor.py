"""``flamewire doctor``: does profiling work here? One line for each check, with what to mend."""

from __future__ import annotations

import email.utils
import json
import os
import platform
import re
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TextIO

from flamewire.engines.registry import start_engine
from flamewire.errors import EngineError
from flamewire.export.transport import RequestsTransport, TransportError, open_session
from flamewire.export.wires import wire_of
from flamewire.fleet import is_chosen
from flamewire.scope import tags

if TYPE_CHECKING:
    from flamewire.config import Options, Resolved
    from flamewire.engines.base import Window

__all__ = ["examine"]

SERVICE_NAME: Final = "flamewire-doctor"
_PROFILE_TYPE_ID: Final = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
_BURN_S: Final = 0.3
_READ_BACK_S: Final = 10.0
_MOST_SKEW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        verdict: "ok", "note" (works, but read this) or "FAIL".
        subject: what was looked at.
        words: what was found, and what to do.
    """

    verdict: str
    subject: str
    words: str


def examine(resolved: Resolved, out: TextIO) -> int:
    """Print the report as it comes; returns 1 where something failed, else 0."""
    options = resolved.options
    failed = 0

    def report(finding: Finding) -> bool:
        nonlocal failed
        failed += finding.verdict == "FAIL"
        print(f"{finding.verdict:4}  {finding.subject:11} {finding.words}", file=out, flush=True)
        return finding.verdict != "FAIL"

    version = f"{platform.python_implementation()} {platform.python_version()}"
    report(Finding("ok", "interpreter", f"{version} on {sys.platform} {platform.machine()}"))
    for problem in resolved.problems:
        report(Finding("FAIL", "options", problem))
    if not options.enabled:
        why = resolved.sources.get("enabled", "")
        report(Finding("note", "options", f"profiling is switched off by {why}; start() does nothing"))
    if resolved.service_name_missing:
        report(
            Finding("note", "options", "no service name; set FLAMEWIRE_SERVICE_NAME, or give one in start()")
        )
    if not is_chosen(options.fleet_ratio, options.service_name):
        words = f"fleet_ratio={options.fleet_ratio:g} leaves this host out; start() does nothing here"
        report(Finding("note", "options", words))
    report(_timers())
    if options.spool_dir is not None:
        report(_spool(options.spool_dir))
    finding, window = _engine(options)
    report(finding)
    report(_spans())
    reached = True
    for finding in _reach(options):
        reached = report(finding) and reached
    if options.export_protocol == "none":
        report(Finding("note", "push", "export_protocol=none: nothing is pushed, profiles are pulled"))
    elif reached and window is not None:
        run_id = uuid.uuid4().hex
        if report(_push(options, window, run_id)):
            report(_read_back(options, run_id))
    return 1 if failed else 0


def _timers() -> Finding:
    """Each sampled thread needs a timer, and each timer one queued signal of the user's limit."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    except (ImportError, AttributeError, OSError):
        return Finding("note", "limits", "this platform does not tell how many timers a process may have")
    if soft != resource.RLIM_INFINITY and soft < 256:
        return Finding(
            "note", "limits", f"{soft} timers for all of the user's threads; raise it with ulimit -i 4096"
        )
    return Finding("ok", "limits", "timers for every thread")


def _spool(folder: str) -> Finding:
    """Profiles that wait go there when the process ends, so a file must fit in."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"profile")
    except OSError as error:
        words = (
            f"{folder} cannot be written ({error.strerror}); give it to this user, or set another spool_dir"
        )
        return Finding("FAIL", "spool", words)
    return Finding("ok", "spool", f"{folder} can be written")


def _spans() -> Finding:
    """Spans are followed through what OpenTelemetry keeps to itself, so its version matters."""
    try:
        version = metadata.version("opentelemetry-sdk")
    except metadata.PackageNotFoundError:
        return Finding(
            "ok", "spans", "OpenTelemetry's SDK is not installed: samples carry tags, and no spans"
        )
    try:
        import_module("flamewire.otel.following")
    except ImportError as error:
        words = f"those of opentelemetry-sdk {version} cannot be followed here ({error}): samples carry none"
        return Finding("note", "spans", words)
    return Finding("ok", "spans", f"opentelemetry-sdk {version} can be followed; see flamewire.otel.start()")


def doctor_burns_cpu(cpu_s: float) -> None:
    """Burn CPU under a name that the profile must show."""
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        sum(range(1000))


def _engine(options: Options) -> tuple[Finding, Window | None]:
    """Start the engine (which tests itself), burn a known amount, and see whether the profile says so."""
    try:
        engine, why = start_engine(options)
    except EngineError as error:
        return Finding("FAIL", "engine", f"{error}; FLAMEWIRE_ENGINE=auto takes what runs here"), None
    try:
        with tags(doctor="tagged"):
            doctor_burns_cpu(_BURN_S)
    finally:
        windows = engine.stop()
    window = next((each for each in windows if each.profile_type == "cpu"), None)
    if window is None or b"doctor_burns_cpu" not in window.pprof:
        return Finding("FAIL", "engine", f"{engine.name} took no sample of {_BURN_S} s of work ({why})"), None
    if engine.name == "native" and b"tagged" not in window.pprof:
        return Finding("FAIL", "engine", "its samples lack the tag that was in force; please report it"), None
    lacks = "".join(f"; without {cell}" for cell in engine.missing)
    verdict = "ok" if engine.name == "native" else "note"
    taken = f"{window.sample_count} samples of {_BURN_S} s of work"
    return Finding(verdict, "engine", f"{engine.name} ({why}): {taken}{lacks}"), window


def _reach(options: Options) -> Iterator[Finding]:
    import requests

    url = options.server_url + "/ready"
    proxy = _proxy(options)
    if proxy is not None:
        yield Finding("ok", "proxy", f"{proxy}; NO_PROXY, or proxy_url, says otherwise")
    try:
        with open_session(options) as session:
            response = session.get(url, timeout=options.timeout_s, allow_redirects=False)
    except requests.exceptions.SSLError as error:
        words = (
            f"{options.server_url}: {_plain(error)}; set ca_file to the certificates that signed the server's"
        )
        yield Finding("FAIL", "server", words)
        return
    except requests.exceptions.RequestException as error:
        words = f"{options.server_url} cannot be reached ({_plain(error)}); start it, or set server_url"
        yield Finding("FAIL", "server", words)
        return
    if response.is_redirect:
        target = response.headers.get("Location")
        words = f"{url} redirects to {target}; set server_url to where it really is"
        yield Finding("FAIL", "server", words)
        return
    if response.status_code == 200:
        yield Finding("ok", "server", f"{options.server_url} is ready")
    else:
        # Alloy and gateways need not have the path; the push will tell.
        yield Finding("note", "server", f"{url} answers {response.status_code}")
    skew_s = _skew_s(response.headers.get("Date", ""), time.time())
    if skew_s is not None and abs(skew_s) > _MOST_SKEW_S:
        words = f"this machine's is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the server's"
        yield Finding("note", "clock", f"{words}; servers refuse profiles of the future, so set it by NTP")


def _proxy(options: Options) -> str | None:
    """Return the proxy that pushes go through, without its credentials."""
    from requests.utils import get_environ_proxies, select_proxy

    if options.proxy_url is not None:
        return _plain(options.proxy_url)
    found = select_proxy(options.server_url, get_environ_proxies(options.server_url, no_proxy=None))
    return _plain(found) if found else None


def _plain(words: object) -> str:
    """Blot out the credentials of an address."""
    return re.sub(r"//[^/@\s]*@", "//(secret)@", str(words))


def _skew_s(date: str, now_unix_s: float) -> float | None:
    """Return how far this machine's clock is ahead of the server's; None where that does not say."""
    try:
        return now_unix_s - email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _push(options: Options, window: Window, run_id: str) -> Finding:
    """Push what the engine gathered, under a service name of the doctor's own."""
    own = replace(options, service_name=SERVICE_NAME, tags=MappingProxyType({"doctor_run": run_id}))
    body = zlib.compress(wire_of(options).encode(own, window, uuid.uuid4()), 6, wbits=31)
    try:
        answer = RequestsTransport(options).send(body, options.timeout_s)
    except TransportError as error:
        return Finding("FAIL", "push", f"{error}; is a proxy between here and the server?")
    if answer.refusal:
        return Finding("FAIL", "push", f"not taken: {answer.refusal}")
    if 200 <= answer.status < 300:
        return Finding("ok", "push", f"{len(body)} bytes, acknowledged with {answer.status}")
    advice = {
        401: "set auth_token, or basic_auth_user and basic_auth_password",
        403: "set a token that may push, and the tenant_id that belongs to it",
        404: "server_url is not the address of a profile server",
        413: "a proxy allows only small requests; raise its limit",
    }
    hint = advice.get(answer.status, "the server's log says more")
    return Finding("FAIL", "push", f"refused with {answer.status} {answer.words}; {hint}")


def _read_back(options: Options, run_id: str) -> Finding:
    """Ask the server for the profile; servers that only take profiles do not fail the check."""
    import requests

    now_ms = time.time_ns() // 1_000_000
    question = {
        "profileTypeID": _PROFILE_TYPE_ID,
        "labelSelector": f'{{service_name="{SERVICE_NAME}",doctor_run="{run_id}"}}',
        "start": now_ms - 3_600_000,
        "end": now_ms + 3_600_000,
    }
    url = f"{options.server_url}/querier.v1.QuerierService/SelectMergeStacktraces"
    deadline_s = time.monotonic() + _READ_BACK_S
    with open_session(options) as session:
        session.headers.pop("Content-Encoding", None)
        while True:
            try:
                headers = {"Content-Type": "application/json"}
                response = session.post(
                    url,
                    data=json.dumps(question),
                    headers=headers,
                    timeout=options.timeout_s,
                    allow_redirects=False,
                )
            except requests.exceptions.RequestException as error:
                return Finding("FAIL", "read back", f"no answer ({error})")
            if response.status_code != 200:
                words = f"the server takes profiles, but answers queries with {response.status_code}"
                return Finding(
                    "note", "read back", f"{words}; look for the service {SERVICE_NAME} in its page"
                )
            if b"doctor_burns_cpu" in response.content:
                return Finding("ok", "read back", f"the profile is there, as service {SERVICE_NAME}")
            if time.monotonic() > deadline_s:
                return Finding(
                    "FAIL", "read back", f"acknowledged, but not to be found for {_READ_BACK_S:g} s"
                )
            time.sleep(0.2)
