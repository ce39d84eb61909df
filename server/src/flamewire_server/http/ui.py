"""The built UI as static files, or a page that says how to build it."""

from __future__ import annotations

import gzip
import hashlib
import html
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

__all__ = ["UiHandlers"]

# Everything from here, nothing inline: what a label's text could smuggle into the page cannot run.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# Vite puts a hash of the content into the names below this folder.
_HASHED = "assets/"
# Pages that the UI draws itself; all its state is in the query string.
_PAGES = ("/", "/index.html")
_COMPRESSIBLE = ("text/", "application/json", "image/svg+xml")
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>flamewire</title>
<h1>flamewire</h1>
<p>The server runs and answers its API, but this installation has no user interface: it was built where
Node.js is missing.</p>
<p>To get it, install Node.js 20 or newer and build in the source folder <code>server/ui</code>:</p>
<pre>npm ci &amp;&amp; npm run build</pre>
<p>then install the server package again. The files belong into <code>{folder}</code>.</p>
"""


@dataclass(frozen=True, slots=True)
class _File:
    content_type: str
    body: bytes
    gzipped: bytes | None
    etag: str
    cache: str


class UiHandlers:
    """Serves the files of a folder, read once at first use; what is not in the folder then does not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Give the routes: the pages, and every other path that is a file's."""
        return [web.get("/{path:.*}", self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """Answer with a file."""
        files = self._load()
        if request.path in _PAGES:
            if "index.html" not in files:
                page = _NOT_BUILT.replace("{folder}", html.escape(str(self._folder)))
                return web.Response(text=page, content_type="text/html", headers=_HEADERS)
            return _send(request, files["index.html"])
        file = files.get(request.path.removeprefix("/"))
        if file is None:
            return web.Response(status=404, text="there is nothing here\n", headers=_HEADERS)
        return _send(request, file)

    def _load(self) -> dict[str, _File]:
        if self._files is None:
            self._files = {
                path.relative_to(self._folder).as_posix(): _read(path, self._folder)
                for path in sorted(self._folder.rglob("*"))
                if path.is_file()
            }
        return self._files


def _read(path: Path, folder: Path) -> _File:
    body = path.read_bytes()
    # The table of the system may say anything about .js; the browser refuses to run text/plain.
    content_type = {
        ".js": "text/javascript",
        ".css": "text/css",
        ".html": "text/html",
        ".svg": "image/svg+xml",
    }.get(path.suffix, mimetypes.guess_type(path.name)[0] or "application/octet-stream")
    hashed = path.relative_to(folder).as_posix().startswith(_HASHED)
    return _File(
        content_type=content_type,
        body=body,
        gzipped=gzip.compress(body, 9) if content_type.startswith(_COMPRESSIBLE) else None,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        cache="public, max-age=31536000, immutable" if hashed else "no-cache",
    )


def _send(request: web.Request, file: _File) -> web.Response:
    headers = {**_HEADERS, "Cache-Control": file.cache, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = file.gzipped
        headers["Content-Encoding"] = "gzip"
    charset = "utf-8" if file.content_type.startswith("text/") else None
    return web.Response(body=body, headers=headers, content_type=file.content_type, charset=charset)
