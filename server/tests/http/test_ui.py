"""The page: found, typed, cached, and unable to run anything that is not its own."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from flamewire_server.http.ui import UiHandlers

SCRIPT = "console.log('flamewire');" * 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>flamewire</title>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "index-abc123.js").write_text(SCRIPT)
    (tmp_path.parent / "secret.txt").write_text("not for you")
    return tmp_path


def get(folder: Path, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    async def main() -> Any:
        app = web.Application()
        app.add_routes(UiHandlers(folder).routes())
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with (
                asyncio.timeout(30),
                aiohttp.ClientSession(
                    auto_decompress=False, skip_auto_headers=["Accept-Encoding"]
                ) as session,
                session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as reply,
            ):
                return reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.read()
        finally:
            await runner.cleanup()

    return asyncio.run(main())


@pytest.mark.parametrize("path", ["/", "/index.html", "/?query=x&from=1"])
def test_the_page_is_there_and_is_asked_for_anew(folder: Path, path: str) -> None:
    status, headers, body = get(folder, path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["cache-control"] == "no-cache"
    assert b"<title>flamewire" in body


def test_hashed_files_are_cached_for_good_and_sent_compressed(folder: Path) -> None:
    path = "/assets/index-abc123.js"
    status, headers, body = get(folder, path, **{"Accept-Encoding": "gzip"})
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in headers["cache-control"]
    assert gzip.decompress(body).decode() == SCRIPT
    assert get(folder, path)[2].decode() == SCRIPT


def test_nothing_inline_and_nothing_from_elsewhere_may_run(folder: Path) -> None:
    for path in ("/", "/favicon.svg", "/nothing"):
        headers = get(folder, path)[1]
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["script-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"


def test_what_has_not_changed_is_not_sent_again(folder: Path) -> None:
    etag = get(folder, "/")[1]["etag"]
    assert get(folder, "/", **{"If-None-Match": etag})[0] == 304


@pytest.mark.parametrize(
    "path", ["/nothing", "/assets/", "/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"]
)
def test_only_files_of_the_folder_are_served(folder: Path, path: str) -> None:
    status, _, body = get(folder, path)
    assert status == 404
    assert b"not for you" not in body


def test_without_the_built_page_there_is_one_that_says_how_to_build_it(tmp_path: Path) -> None:
    status, headers, body = get(tmp_path / "missing", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"npm ci &amp;&amp; npm run build" in body
