"""A tab of the browser that is watched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from .server import CPU, Server

PAGE_DEADLINE_MS = 30_000

expect.set_options(timeout=PAGE_DEADLINE_MS)


@dataclass
class Opened:
    """The page in the browser, and what it did there."""

    page: Page
    server: Server
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def open(self, service: str = "shop", **keys: str) -> Page:
        """Open a link and wait for its flame graph."""
        query = f'{CPU}{{service_name="{service}"}}'
        self.page.goto(f"{self.server.url}/?{urlencode({'query': query, **keys})}")
        self.page.get_by_test_id("figures").wait_for()
        return self.page


@contextlib.contextmanager
def opened_page(server: Server, browser: Browser, **context_options: Any) -> Iterator[Opened]:
    """Open a tab with a profile of its own, and judge its behaviour when done."""
    context = browser.new_context(
        viewport={"width": 1400, "height": 900}, reduced_motion="reduce", **context_options
    )
    page = context.new_page()
    page.set_default_timeout(PAGE_DEADLINE_MS)
    tab = Opened(page, server)

    def on_request(request: Request) -> None:
        tab.hosts.add(urlsplit(request.url).netloc)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            tab.complaints.append(message.text)

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    yield tab
    context.close()
    assert tab.hosts <= {urlsplit(server.url).netloc}
    assert tab.complaints == []
