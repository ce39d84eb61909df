"""The main job, end to end: server, a web shop with the SDK in it, load, and the flame graph that comes of
it.

    python demo.py [--once] [--seconds 20] [--port 4040] [--data FOLDER]

Stays up until Ctrl-C on a terminal; ends by itself with --once, with CI set, or where nobody watches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from flamewire.view.terminal import Painter
from flamewire.view.tree import frame_tree, top_functions

HERE = Path(__file__).parent
PROFILE_TYPE = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
SELECTOR = '{service_name="shop"}'
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0


class DemoError(Exception):
    """Something did not come up; the message holds what it said last."""


class Child:
    """A process of the demo: its output is read all the time, its end has a deadline."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        # In a session of its own, so that Ctrl-C reaches only the demo, which ends its children in order.
        self._process = subprocess.Popen(
            command,
            cwd=HERE,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._last_lines: deque[str] = deque(maxlen=30)
        self._url: str | None = None
        self._changed = threading.Condition()
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def wait_for_url(self) -> str:
        """Return the address that the child says it listens on."""
        end_s = time.monotonic() + START_DEADLINE_S
        with self._changed:
            while self._url is None:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or not self._reader.is_alive():
                    self._fail("did not come up")
                self._changed.wait(min(left_s, 0.2))
            return self._url

    def wait(self, deadline_s: float) -> None:
        """Wait for the child's own end, which has to be a good one."""
        try:
            code = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._fail(f"did not end within {deadline_s:.0f} s")
        self._reader.join(STOP_DEADLINE_S)
        if code != 0:
            self._fail(f"ended with code {code}")

    @property
    def last_line(self) -> str:
        """What it said last."""
        return self._last_lines[-1].strip() if self._last_lines else ""

    def stop(self) -> None:
        """Ask the child to end; kill it where it does not within the deadline."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_DEADLINE_S)

    def _fail(self, what: str) -> NoReturn:
        said = "".join(self._last_lines) or "(nothing)\n"
        raise DemoError(f"{self.name} {what}; the last it said:\n{said}")

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self._last_lines.append(line)
                if self._url is None:
                    self._url = _listening_url(line)
                self._changed.notify_all()


def _listening_url(line: str) -> str | None:
    try:
        event = json.loads(line)
        return str(event["url"]) if event["event"] == "listening" else None
    except (ValueError, TypeError, KeyError):
        return None


class Demo:
    """Runs the parts and asks the server what they cost."""

    def __init__(self, options: argparse.Namespace, children: contextlib.ExitStack) -> None:
        self._options = options
        self._children = children
        self._painter = Painter(sys.stdout, shutil.get_terminal_size((110, 40)).columns)
        self._server_url = ""

    def run(self) -> None:
        """Show one bounded load from start to flame graph."""
        data = self._options.data or self._children.enter_context(_temporary_folder())
        listen = f"127.0.0.1:{_free_or_any(self._options.port)}"
        self._say(f"starting flamewire-server on {listen}, data in {data}")
        self._server_url = self._start(
            "flamewire-server",
            ["-m", "flamewire_server", "--listen", listen, "--data", str(data), "--log-format", "json"],
        ).wait_for_url()
        begun_ms = int(time.time() * 1000)
        self._say(f"starting the shop, sampled at 100 Hz, and a load of {self._options.seconds:g} s on it")
        shop = self._start("the shop", ["-m", "shop", "--port", "0"])
        load = self._start_load(shop.wait_for_url(), self._options.seconds, concurrency=6)
        load.wait(self._options.seconds + START_DEADLINE_S)
        self._say(f"load: {load.last_line}")
        # The SDK pushes its last window when the process ends, so now everything has arrived.
        shop.stop()
        self._show(begun_ms, int(time.time() * 1000))

    def stay(self) -> None:
        """Keep the shop busy until Ctrl-C, so that the page has something new to show."""
        shop = self._start("the shop", ["-m", "shop", "--port", "0"])
        self._start_load(shop.wait_for_url(), 7 * 24 * 3600, concurrency=1)
        self._say("the shop runs on under a light load; Ctrl-C ends everything")
        while True:
            signal.pause()

    def _start(self, name: str, arguments: Sequence[str]) -> Child:
        environment = {"PYTHONUNBUFFERED": "1"}
        if self._server_url:
            environment |= {"FLAMEWIRE_SERVER_URL": self._server_url, "FLAMEWIRE_UPLOAD_INTERVAL_S": "5"}
        with _undisturbed():
            child = Child(name, [sys.executable, *arguments], environment)
            self._children.callback(child.stop)
        return child

    def _start_load(self, url: str, seconds: float, concurrency: int) -> Child:
        arguments = ["load.py", "--url", url, "--seconds", str(seconds), "--concurrency", str(concurrency)]
        return self._start("the load", arguments)

    def _show(self, start_ms: int, end_ms: int) -> None:
        question = {
            "profileTypeID": PROFILE_TYPE,
            "labelSelector": SELECTOR,
            "start": str(start_ms),
            "end": str(end_ms),
        }
        answer = self._ask("SelectMergeStacktraces", question | {"maxNodes": "16384"})
        root = frame_tree(answer.get("flamegraph", {"names": [], "levels": []}))
        if not root.total:
            raise DemoError("the server has no samples of the shop")
        painter = self._painter
        painter.heading(f"CPU of the shop: {root.total / 1e9:.1f} s, frames with at least 2 % of it")
        painter.tree(root, least_share=0.02)
        painter.heading("Functions by their own CPU")
        painter.table(top_functions(root)[:12], root.total)
        routes = self._routes(question, start_ms, end_ms)
        if routes:
            painter.heading("Routes (the tag that a middleware sets)")
            painter.table(routes, root.total)
        painter.heading("The same in the browser")
        page = urllib.parse.urlencode({"query": PROFILE_TYPE + SELECTOR, "from": start_ms, "until": end_ms})
        self._say(f"{self._server_url}/?{page}")

    def _routes(self, question: Mapping[str, str], start_ms: int, end_ms: int) -> list[tuple[str, int]]:
        """Return (route, CPU); empty where the engine in use carries no tags."""
        # One step that holds the whole range: a point stands for the time up to it.
        step_s = (end_ms - start_ms) / 1000
        ask = {**question, "start": str(end_ms), "end": str(end_ms), "groupBy": ["route"], "step": step_s}
        rows = []
        for series in self._ask("SelectSeries", ask).get("series", []):
            route = next((pair["value"] for pair in series.get("labels", []) if pair["name"] == "route"), "")
            value = sum(int(point.get("value", 0)) for point in series.get("points", []))
            rows.append((route or "(none)", value))
        rows.sort(key=lambda row: -row[1])
        return rows if any(route != "(none)" for route, _ in rows) else []

    def _ask(self, method: str, question: Mapping[str, object]) -> Any:
        request = urllib.request.Request(
            f"{self._server_url}/querier.v1.QuerierService/{method}",
            data=json.dumps(question).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            words = error.read().decode("utf-8", "replace")
            raise DemoError(f"{method} was answered with {error.code}: {words}") from error

    def _say(self, text: str) -> None:
        print(text, flush=True)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="flamewire-demo-", ignore_cleanup_errors=True) as folder:
        yield folder


def _free_or_any(port: int) -> int:
    """Return the port where it is free, else 0, which lets the server choose."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _end(*_: object) -> NoReturn:
    sys.exit(143)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put SIGINT and SIGTERM off: between its start and its registration a child would be left behind."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


def main() -> int:
    """Run the demo; every child is ended on every way out."""
    parser = argparse.ArgumentParser(description="Server, shop, load and flame graph in one go.")
    parser.add_argument("--once", action="store_true", help="end after the flame graph")
    parser.add_argument("--seconds", type=float, default=20, help="how long the load runs, default 20")
    parser.add_argument("--port", type=int, default=4040, help="the server's port where it is free")
    parser.add_argument("--data", help="where profiles are kept; default: a folder that goes with the demo")
    options = parser.parse_args()
    stays = sys.stdout.isatty() and not options.once and os.environ.get("CI", "").lower() not in ("1", "true")
    signal.signal(signal.SIGTERM, _end)
    try:
        with contextlib.ExitStack() as children:
            demo = Demo(options, children)
            demo.run()
            if stays:
                demo.stay()
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
