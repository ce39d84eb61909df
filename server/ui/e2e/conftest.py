"""A real server with known profiles, and a real Chromium on its page."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from .pprof import SECOND_NS
from .server import Server, running_server
from .shop import CART, DEEP_FRAMES, SEARCH
from .tab import Opened, opened_page

CHROMIUM = "/usr/bin/chromium"
# Chromium's own services look for hosts that a test has no business with.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start the server with an hour of the shop's profiles, two a minute, and one very deep stack."""
    with running_server(tmp_path_factory.mktemp("data")) as running:
        now_ns = time.time_ns()
        for half_minute in range(1, 61):
            time_ns = now_ns - half_minute * 30 * SECOND_NS
            running.push("shop", CART, time_ns=time_ns, route="/cart", region="eu")
            running.push("shop", SEARCH, time_ns=time_ns, route="/search", region="us")
        running.push("deep", {";".join(["recurse"] * DEEP_FRAMES): SECOND_NS}, time_ns=now_ns - SECOND_NS)
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(server: Server, browser: Browser) -> Iterator[Opened]:
    """Give a fresh tab; afterwards it must have spoken to the server alone and complained of nothing."""
    with opened_page(server, browser) as tab:
        yield tab
