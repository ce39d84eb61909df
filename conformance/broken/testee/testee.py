"""A testee without a profiler: it knows its work, and sends what a right profiler would have found.

CPU time is not burnt but computed, so that nothing here depends on the machine. ``BROKEN`` in the
environment names one fault of ``../testee.yaml`` that it then has.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from flamewire_conformance.protowrite import PprofSample, PprofWriter, bytes_field

BROKEN = os.environ.get("BROKEN", "")
EXIT_DEADLINE_S = 2.0
SPAN_KEYS = ("span_id", "child_span_id", "span_name")


def say(event: str, **fields: Any) -> None:
    os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


class RaisedError(Exception):
    """What an SDK raises into its host."""


class Session:
    """What a session has gathered, and how it sends it."""

    def __init__(self, config: dict[str, Any], now_ns: Callable[[], int]) -> None:
        self.config = config
        self.now_ns = now_ns
        self.period_ns = 1_000_000_000 // config.get("sample_rate_hz", 100)
        self.interval_ns = round(config.get("upload_interval_s", 10) * 1e9)
        if BROKEN == "skips-every-other-window":
            self.interval_ns *= 2
        self.begin_ns = now_ns()
        self.samples: list[tuple[tuple[str, ...], int, tuple[tuple[str, str], ...]]] = []
        self.id = str(uuid.uuid4())
        self.exit_code = 0

    def took(self, stack: tuple[str, ...], labels: tuple[tuple[str, str], ...], cpu_ns: int) -> None:
        """Add samples for CPU time, one a period and one for the rest."""
        if BROKEN == "double-count":
            cpu_ns *= 2
        if BROKEN == "half-of-b" and "work_b" in stack:
            cpu_ns //= 2
        if BROKEN == "folds-recursion":
            stack = tuple(name for at, name in enumerate(stack) if not at or name != stack[at - 1])
        for start in range(0, cpu_ns, self.period_ns):
            self.samples.append((stack, min(self.period_ns, cpu_ns - start), labels))

    def end_window(self) -> None:
        """Send what the window holds."""
        samples, begin_ns, end_ns = self.samples, self.begin_ns, self.now_ns()
        self.samples, self.begin_ns = [], end_ns
        if not samples and BROKEN != "sends-empty-windows":
            return
        if BROKEN == "overlapping-windows":
            begin_ns -= 300_000_000
        if BROKEN == "window-in-future":
            begin_ns += 7_200_000_000_000
        profile = self._profile(samples, begin_ns, max(1, end_ns - begin_ns))
        if self.config.get("transport") == "ingest":
            self._send(profile, self._ingest_target(begin_ns, end_ns))
        else:
            self._send(self._push(profile), "/push.v1.PusherService/Push")

    def _ingest_target(self, begin_ns: int, end_ns: int) -> str:
        tags = "".join(f"{key}={text}," for key, text in self.config.get("tags", {}).items())
        name = f"{self.config['service_name']}{{{tags}}}" if tags else self.config["service_name"]
        query = {"name": name, "from": begin_ns, "until": end_ns, "spyName": "none", "sampleRate": 100}
        changed = {
            "ingest-without-tags": {"name": self.config["service_name"]},
            "ingest-times-in-uptime": {"from": 17, "until": 19},
            "ingest-rate-of-windows": {"sampleRate": 17},
        }
        query |= changed.get(BROKEN, {})
        return f"/ingest?{urlencode(query)}&format=pprof"

    def _profile(self, samples: list[Any], begin_ns: int, duration_ns: int) -> bytes:
        unit, kind = "nanoseconds", "cpu"
        if BROKEN == "counts-instead-of-time":
            kind, unit = "samples", "count"
        period = {"period-in-ms": self.period_ns // 1_000_000, "period-ignores-rate": 10_000_000}.get(
            BROKEN, self.period_ns
        )
        if BROKEN == "no-duration":
            duration_ns = 0
        writer = PprofWriter([(kind, unit)], time_ns=begin_ns, duration_ns=duration_ns, period=period)
        merged: dict[tuple[tuple[str, ...], Any], int] = {}
        for stack, value, labels in samples:
            if BROKEN == "ms-as-ns":
                value //= 1_000_000
            if BROKEN in ("not-aggregated", "locations-twice"):
                writer.add(PprofSample(stack, [value], labels), again=BROKEN == "locations-twice")
            else:
                merged[stack, labels] = merged.get((stack, labels), 0) + value
        for (stack, labels), value in merged.items():
            if BROKEN == "reversed-stacks":
                stack = stack[::-1]
            if BROKEN == "values-negative":
                value = -value
            values = [value, value] if BROKEN == "two-values-for-one-type" else [value]
            writer.add(PprofSample(stack, values, labels))
        if BROKEN == "index-out-of-range":
            writer.extend(bytes_field(5, b"\x08\x63\x10\xe7\x07"))
        if BROKEN == "line-without-function":
            writer.extend(bytes_field(4, b"\x08\x63\x22\x02\x08\x62"))
        return writer.done()

    def _push(self, profile: bytes) -> bytes:
        labels = {
            "__name__": "process_cpu",
            "service_name": self.config["service_name"],
            "otel.scope.name": "simulated/python",
            "otel.scope.version": "1",
            "process.runtime.name": "none",
            "process.runtime.version": "0",
            **({} if BROKEN == "drops-session-tags" else self.config.get("tags", {})),
        }
        if BROKEN == "unnamed-series":
            del labels["__name__"]
        pairs = list(labels.items()) + ([("service_name", "other")] if BROKEN == "series-label-twice" else [])
        series = b"".join(bytes_field(1, bytes_field(1, name) + bytes_field(2, text)) for name, text in pairs)
        profile_id = self.id if BROKEN == "one-id-for-all" else str(uuid.uuid4())
        if BROKEN == "no-id":
            profile_id = ""
        self._raw = bytes_field(1, profile)
        self._series = series
        return self._body(profile_id)

    def _body(self, profile_id: str) -> bytes:
        sample = self._raw + (bytes_field(2, profile_id) if profile_id else b"")
        return bytes_field(1, self._series + bytes_field(2, sample))

    def _headers(self) -> dict[str, str]:
        config = self.config
        headers = {
            "Content-Type": "application/proto",
            "Content-Encoding": "gzip",
            "User-Agent": "simulated/1",
        }
        if "tenant_id" in config:
            headers["X-Scope-OrgID"] = config["tenant_id"]
        if "auth_token" in config:
            headers["Authorization"] = f"Bearer {config['auth_token']}"
        if "basic_auth_user" in config:
            headers["Authorization"] = "Basic YWRhOmxvdmVsYWNl"
        headers |= config.get("http_headers", {})
        lost = {
            "no-tenant": "X-Scope-OrgID", "no-credentials": "Authorization", "no-user-headers": "X-Team",
            "no-gzip": "Content-Encoding",
        }  # fmt: skip
        headers.pop(lost.get(BROKEN, ""), None)
        if BROKEN == "text-content-type":
            headers["Content-Type"] = "text/plain"
        if BROKEN == "anonymous":
            headers["User-Agent"] = "anonymous"
        return headers

    def _send(self, body: bytes, target: str) -> None:
        url = urlsplit(self.config["server_url"])
        host, base = url.netloc, "" if BROKEN == "ignores-base-path" else url.path
        path = base + ("/v1/profiles" if BROKEN == "wrong-path" else target)
        give_up_s = time.monotonic() + (16 if BROKEN == "waits-for-the-server" else EXIT_DEADLINE_S)
        for attempt in range(4 if BROKEN == "sends-every-profile-twice" else 6):
            status, answer = self._once(host, path, body)
            if status == 307 and BROKEN == "credentials-follow-redirects":
                target = urlsplit(answer["location"])
                host, path = target.netloc, target.path
                continue
            again = status in (0, 408, 425, 429) or (status >= 500 and status not in (501, 505))
            if BROKEN == "gives-up-at-once" or (BROKEN == "gives-up-on-429" and status == 429):
                return
            if BROKEN == "retries-refusals" and status == 400 and attempt < 2:
                again = True
            if BROKEN == "sends-every-profile-twice" and attempt < 1:
                again = True
            if status == 0 and BROKEN == "raises-without-server":
                self.exit_code = 3
                return
            if not again or (status == 0 and time.monotonic() > give_up_s):
                return
            wait_s = float(answer.get("retry-after", 0.05))
            if BROKEN == "ignores-retry-after":
                wait_s = 0.01
            if status == 0 and host.endswith(":1") and attempt >= 1 and BROKEN != "waits-for-the-server":
                return
            time.sleep(16 if BROKEN == "waits-for-the-server" and attempt else wait_s)
            if BROKEN == "new-id-on-retry":
                body = self._body(str(uuid.uuid4()))
            if BROKEN == "other-profile-on-retry":
                self._raw = bytes_field(1, self._profile([(("work_a",), 1, ())], self.begin_ns, 1))
                body = bytes_field(1, self._series + bytes_field(2, self._raw + bytes_field(2, self.id)))

    def _once(self, host: str, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection(host, timeout=1.0)
        headers = self._headers()
        try:
            sent = gzip.compress(body, 1) if "Content-Encoding" in headers else body
            method = "PUT" if BROKEN == "puts" else "POST"
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            response.read()
            return response.status, {name.lower(): value for name, value in response.getheaders()}
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()


class Testee:
    """Does a request's steps in computed time."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.config = request["config"]
        self.begin_ns = time.time_ns() - 3_600_000_000_000
        self.clock_ns = self.begin_ns
        self.session: Session | None = None
        self.stopped = False
        self.cpu_ns = 0
        self.truth: dict[tuple[str, str, str], int] = {}
        self.thread = "MainThread"
        self.leaked: dict[str, str] = {}
        self.spans: list[str] = []
        self._together: dict[str, str] = {}
        self.exit_code = 0

    def start(self) -> None:
        config = self.config
        if not config.get("enabled", True) and BROKEN != "ignores-enabled":
            return
        if BROKEN != "accepts-every-option":
            if "://" not in config["server_url"]:
                raise RaisedError(f"server_url: {config['server_url']!r} is not an address")
            if config.get("sample_rate_hz", 100) < 1:
                raise RaisedError("sample_rate_hz: 0 is below 1")
        elif "://" not in config["server_url"] or not config.get("sample_rate_hz", 100):
            config = {**config, "server_url": "http://127.0.0.1:1", "sample_rate_hz": 100}
        if self.stopped and BROKEN == "cannot-restart":
            return
        if self.session is None or BROKEN == "loses-at-second-start":
            self.session = Session(config, lambda: self.clock_ns)
        elif BROKEN == "raises-at-second-start":
            raise RaisedError("already started")

    def stop(self) -> None:
        if self.stopped and BROKEN == "raises-at-second-stop":
            raise RaisedError("is not running")
        if self.session is not None:
            if BROKEN != "loses-last-window":
                self.session.end_window()
            self.exit_code = self.session.exit_code
            if BROKEN != "profiles-after-stop":
                self.session = None
        self.stopped = True

    def advance(self, ns: int, used: Callable[[int], None] = lambda _: None) -> None:
        """Let time pass, and end the windows that it fills."""
        while ns > 0:
            session = self.session
            left_ns = (
                ns if session is None else max(1, session.begin_ns + session.interval_ns - self.clock_ns)
            )
            step_ns = min(ns, left_ns)
            self.clock_ns += step_ns
            used(step_ns)
            ns -= step_ns
            if session is not None and step_ns == left_ns:
                session.end_window()

    def tell(self) -> None:
        steps = [
            {"function": function, "thread": thread, "cpu_ns": cpu_ns, "tags": json.loads(tags)}
            for (function, thread, tags), cpu_ns in self.truth.items()
        ]
        ended_unix_ns = self.clock_ns
        say(
            "truth", pid=os.getpid(), steps=steps, process_cpu_ns=self.cpu_ns, started_unix_ns=self.begin_ns,
            ended_unix_ns=ended_unix_ns,
        )  # fmt: skip

    def perform(self, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]) -> Iterator[None]:
        for step in steps:
            ((verb, arguments),) = step.items()
            yield from getattr(self, f"do_{verb}")(stack=stack, tags=tags, **arguments)

    def run(self, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]) -> None:
        for _ in self.perform(steps, stack, tags):
            pass

    def do_busy(
        self, function: str, cpu_ms: int, stack: tuple[str, ...], tags: dict[str, str], native: bool = False
    ) -> Iterator[None]:
        cpu_ns, labels = cpu_ms * 1_000_000, self._labels(tags)
        key = (function, self.thread, json.dumps({name: text for name, text in tags.items() if text}))
        self.truth[key] = self.truth.get(key, 0) + cpu_ns
        self.cpu_ns += cpu_ns

        def used(ns: int) -> None:
            if self.session is not None and not (native and BROKEN == "misses-native-code"):
                if BROKEN == "loses-short-tags" and tags and cpu_ns < 10_000_000:
                    return
                self.session.took((*stack, function), labels, ns)

        self.advance(cpu_ns, used)
        yield

    def _labels(self, tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
        pairs = {**tags, **self.leaked}
        self.leaked = dict(pairs) if BROKEN == "tags-outlive-their-scope" else {}
        if BROKEN == "drops-sample-labels":
            return ()
        if BROKEN in ("mixes-tasks", "mixes-threads") and self._together:
            pairs |= self._together
        if BROKEN == "labels-unsampled-spans" and "unsampled" in tags:
            pairs["span_id"] = "00000000000000aa"
        if BROKEN == "spans-outlive-their-end" and self.spans and "span_id" not in pairs:
            pairs["span_id"] = self.spans[-1]
        dropped = {"no-child-span": "child_span_id", "no-span-name": "span_name", "no-span-id": "span_id"}
        pairs = {k: v for k, v in pairs.items() if k not in ("unsampled", dropped.get(BROKEN))}
        if BROKEN == "span-id-in-decimal" and "span_id" in pairs:
            pairs["span_id"] = str(int(pairs["span_id"], 16))
        labels = tuple((k, v.encode("utf-8", "replace").decode()) for k, v in pairs.items())
        if BROKEN == "tag-twice" and labels:
            labels = (*labels, labels[0])
        return labels

    def do_sleep(self, ms: int, stack: tuple[str, ...], tags: dict[str, str]) -> Iterator[None]:
        def used(ns: int) -> None:
            if BROKEN == "counts-sleep-as-cpu" and self.session is not None:
                self.session.took(("sleep",), (), ns)

        self.advance(ms * 1_000_000, used)
        yield

    def do_recurse(
        self, depth: int, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]
    ) -> Iterator[None]:
        before_ns = self.cpu_ns
        self.run(steps, (*stack, *["work_deep"] * (depth + 1)), tags)
        self.truth["work_deep", self.thread, json.dumps(tags)] = self.cpu_ns - before_ns
        yield

    def do_tag(
        self, key: str, value: Any, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]
    ) -> Iterator[None]:
        if BROKEN == "raises-on-numbers" and not isinstance(value, str):
            raise RaisedError("a tag is a string")
        text = str(value)
        if BROKEN == "raises-on-surrogates":
            text.encode()
        inner = {key: text, **tags} if BROKEN == "outer-tag-wins" else {**tags, key: text}
        if BROKEN == "outer-tag-wins":
            yield from self._told_otherwise(steps, stack, inner, {**tags, key: text})
        elif BROKEN == "inner-exit-ends-outer" and key in tags:
            yield from self.perform(steps, stack, inner)
            self.leaked = {key: ""}
        else:
            yield from self.perform(steps, stack, inner)

    def _told_otherwise(
        self, steps: list[Any], stack: tuple[str, ...], labelled: dict[str, str], true: dict[str, str]
    ) -> Iterator[None]:
        """Do steps whose samples carry other tags than the truth names."""
        before = dict(self.truth)
        yield from self.perform(steps, stack, labelled)
        for key, cpu_ns in list(self.truth.items()):
            if (spent := cpu_ns - before.get(key, 0)) > 0 and json.loads(key[2]) == labelled:
                self.truth[key] -= spent
                told = (key[0], key[1], json.dumps(true))
                self.truth[told] = self.truth.get(told, 0) + spent

    def do_tasks(
        self, lists: list[list[Any]], stack: tuple[str, ...], tags: dict[str, str]
    ) -> Iterator[None]:
        if BROKEN == "mixes-tasks":
            self._together = {"route": "/left", "span_id": "00000000000000bb"}
        for steps in lists:
            self.run(steps, stack, tags)
        self._together = {}
        yield

    def do_thread(
        self, name: str, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]
    ) -> Iterator[None]:
        outer, self.thread = self.thread, name
        if BROKEN == "mixes-threads":
            self._together = {"route": "/left"}
        self.run(steps, (), {})
        self.thread, self._together = outer, {}
        yield

    def do_repeat(
        self, times: int, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]
    ) -> Iterator[None]:
        for _ in range(times):
            yield from self.perform(steps, stack, tags)

    def do_session(self, action: str, stack: tuple[str, ...], tags: dict[str, str]) -> Iterator[None]:
        if action == "start":
            self.start()
        elif action == "stop":
            self.stop()
        elif self.session is not None and BROKEN != "flush-does-nothing":
            self.session.end_window()
        yield

    def do_span(
        self,
        name: str,
        steps: list[Any],
        stack: tuple[str, ...],
        tags: dict[str, str],
        unsampled: bool = False,
    ) -> Iterator[None]:
        own = f"{len(self.spans) + 1:016x}"
        self.spans.append(own)
        if unsampled:
            yield from self.perform(steps, stack, {**tags, "unsampled": ""})
            return
        if "span_id" in tags:
            inner = {**tags, "child_span_id": own}
        else:
            inner = {**tags, "span_id": own, "span_name": name}
        yield from self.perform(steps, stack, inner)

    def do_fork(self, steps: list[Any], stack: tuple[str, ...], tags: dict[str, str]) -> Iterator[None]:
        child = os.fork()
        if child == 0:
            self.cpu_ns, self.truth = 0, {}
            if BROKEN == "fork-ends-profiling":
                self.session = None
            elif self.session is not None and BROKEN != "fork-sends-parents-samples":
                self.session = Session(self.config, lambda: self.clock_ns)
            self.run(steps, (), {})
            self.tell()
            if self.session is not None:
                self.session.end_window()
            os._exit(0)
        os.waitpid(child, 0)
        yield


def main() -> None:
    """Keep the contract."""
    request = json.loads(sys.stdin.readline())
    testee = Testee(request)
    say(
        "ready", sdk="simulated", sdk_version="1", runtime="none", pid=os.getpid(),
        started_unix_ns=testee.begin_ns,
    )  # fmt: skip
    stage = "start"
    try:
        testee.start()
        stage = "workload"
        if request["finish"] == "sigterm":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        testee.run(request["workload"], (), {})
        testee.tell()
        if request["finish"] == "sigterm":
            signal.sigwait([signal.SIGTERM])
        stage = "flush"
        testee.stop()
        if request["finish"] == "stop":
            say("flushed")
        if testee.exit_code:
            sys.exit(testee.exit_code)
        if request["finish"] == "sigterm" and BROKEN != "swallows-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    except (RaisedError, UnicodeError) as error:
        say("error", stage=stage, message=str(error).encode("ascii", "replace").decode())


if __name__ == "__main__":
    main()
