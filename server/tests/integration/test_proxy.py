"""The proxy of docs/guide/proxy.md, as it stands there, in front of a real server."""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import Certificate, client_context, make_ca, make_certificate
from server_process import CPU, DEADLINE_S, JSON, PROTO, PUSH, ServerProcess, make_profile, make_push
from test_keys import make_key

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "proxy.md"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    port: int
    context: ssl.SSLContext
    push_key: str
    server: ServerProcess

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=DEADLINE_S, context=self.context
        )
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def write_configuration(folder: Path, server: ServerProcess, own: Certificate, key: str, port: int) -> Path:
    match = re.search(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert match
    text = match[1]
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/flamewire.pem.key", str(own.key)),
        ("/etc/nginx/flamewire.pem", str(own.cert)),
        ("/etc/nginx/flamewire.users", str(folder / "users")),
        ("/etc/nginx/flamewire.key", str(folder / "key")),
        ("http://127.0.0.1:4040", f"http://127.0.0.1:{server.port}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "key").write_text(f'proxy_set_header Authorization "Bearer {key}";\n')
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    (folder / "users").write_text(f"ann:{hashed}\n")
    # Started as root, its workers would be another user's, who may not read a test's folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    return configuration


@pytest.fixture
def proxy(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Iterator[Proxy]:
    read_key = make_key(tmp_path / "data", "--scope", "read")
    push_key = make_key(tmp_path / "data", "--scope", "push")
    server = start_server()
    folder = tmp_path / "nginx"
    folder.mkdir()
    ca = make_ca(folder, "ca")
    own = make_certificate(folder, "own", ca)
    for attempt in range(5):
        # Somebody else may take the port before nginx does.
        port = free_port()
        configuration = write_configuration(folder, server, own, read_key, port)
        process = start(folder, configuration)
        made = Proxy(port, client_context(ca), push_key, server)
        try:
            if answers(made, process):
                yield made
                return
            assert attempt < 4, (folder / "error.log").read_text()
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def start(folder: Path, configuration: Path) -> subprocess.Popen[bytes]:
    assert NGINX
    return subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(configuration)])


def answers(proxy: Proxy, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the proxy answers; False where it ended instead."""
    deadline_s = time.monotonic() + DEADLINE_S
    while process.poll() is None:
        try:
            return proxy.ask("GET", "/metrics")[0] == 404
        except OSError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    return False


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_people_log_in_and_programs_show_keys(proxy: Proxy) -> None:
    ann = basic("ann", "secret")
    values = "/pyroscope/label-values?label=service_name"
    assert proxy.ask("GET", values)[0] == 401
    assert proxy.ask("GET", values, headers=basic("ann", "wrong"))[0] == 401
    # A key of the server is no login of the proxy.
    assert proxy.ask("GET", values, headers=basic("x", proxy.push_key))[0] == 401
    push = make_push("behind", make_profile({"main": 1})).SerializeToString()
    assert proxy.ask("POST", PUSH, push, {"Content-Type": PROTO})[0] == 401
    keyed = {"Content-Type": PROTO, "Authorization": f"Bearer {proxy.push_key}"}
    assert proxy.ask("POST", PUSH, push, keyed)[0] == 200
    assert proxy.ask("GET", values, headers=ann) == (200, b'["behind"]')
    status, page = proxy.ask("GET", f"/pyroscope/render?query={CPU}%7B%7D", headers=ann)
    assert (status, b'"main"' in page) == (200, True)


def test_what_a_login_may_not_do_stays_forbidden(proxy: Proxy) -> None:
    ann = basic("ann", "secret")
    assert proxy.ask("GET", "/metrics", headers=ann)[0] == 404
    setting = {**ann, "Content-Type": JSON}
    assert proxy.ask("POST", "/settings.v1.SettingsService/Set", b"{}", setting)[0] == 403
    # What the client says of its tenant does not reach the server.
    other = {**ann, "X-Scope-OrgID": "other"}
    assert proxy.ask("GET", "/pyroscope/label-values?label=a", headers=other)[0] == 200
