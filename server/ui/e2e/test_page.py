"""The page in a real Chromium, on profiles that went through a real server."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .server import CPU, Server, running_server
from .shop import CART, DEEP_FRAMES, SEARCH
from .tab import Opened, opened_page
from .truth import Truth

pytestmark = pytest.mark.browser

ROW_PX = 21


def keys_of(page: Page) -> dict[str, str]:
    """Read the address bar's query string."""
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def truth_of(server: Server, page: Page, selector: str = '{service_name="shop"}') -> Truth:
    """Ask the API for what the page shows."""
    keys = keys_of(page)
    return Truth(server.flame_graph(selector, int(keys["from"]), int(keys["until"])))


def last_hour() -> dict[str, str]:
    """Name a fixed range that holds all profiles, so that page and API are asked for the same."""
    now_ms = time.time_ns() // 1_000_000
    return {"from": str(now_ms - 3_600_000), "until": str(now_ms)}


def top_rows(page: Page) -> dict[str, tuple[int, int]]:
    """Read the table: function -> (self, total), in the table's order."""
    rows = page.get_by_test_id("top").locator("tr[data-name]").all()
    return {row.get_attribute("data-name") or "": (value(row, 1), value(row, 2)) for row in rows}


def value(row: Locator, column: int) -> int:
    """Read a cell's exact value."""
    return int(row.locator("td").nth(column).get_attribute("data-value") or "")


def figure(page: Page, name: str) -> int:
    """Read one of the figures above the profile."""
    return int(page.locator(f'[data-figure="{name}"]').get_attribute("data-value") or "")


def click_row(page: Page, row: int, x_share: float) -> None:
    """Click into the canvas: a row, and how far to the right."""
    canvas = page.locator("[data-testid=flame] canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * x_share, "y": row * ROW_PX + ROW_PX / 2})


def cursor_text(page: Page) -> str:
    """Read what a screen reader says of the frame that the keyboard stands on."""
    return page.locator('[role=treeitem][aria-selected="true"]').inner_text()


# What it shows


def test_the_table_and_figures_are_those_of_the_api(opened: Opened, server: Server) -> None:
    page = opened.open(**last_hour())
    truth = truth_of(server, page)
    assert truth.total == 60 * (sum(CART.values()) + sum(SEARCH.values()))
    assert figure(page, "total") == truth.total
    assert top_rows(page) == {
        name: (function.self_value, function.total) for name, function in truth.functions().items()
    }
    assert page.get_by_test_id("flame").get_attribute("data-frames") == str(truth.frame_count)


def test_recursion_counts_once_in_the_table(opened: Opened) -> None:
    page = opened.open(**last_hour())
    assert top_rows(page)["fib"] == (60 * 250_000_000, 60 * 250_000_000)


def test_values_are_shown_with_their_unit_and_share(opened: Opened) -> None:
    page = opened.open(**last_hour())
    expect(page.locator('tr[data-name="bm25"] td').nth(1)).to_have_text("24.0 s26.7 %")


def test_the_timeline_adds_up_to_the_profile(opened: Opened, server: Server) -> None:
    page = opened.open(**last_hour())
    expect(page.get_by_test_id("timeline-readout")).to_have_text("0.0250 on average")
    expect(page.get_by_test_id("timeline")).to_have_attribute("data-bars", re.compile(r"^(60|61|59)$"))
    assert truth_of(server, page).total / 1e9 / 3600 == pytest.approx(0.025)


def test_without_a_link_it_opens_a_cpu_profile_of_the_last_hour(opened: Opened, server: Server) -> None:
    page = opened.page
    page.goto(server.url)
    page.get_by_test_id("figures").wait_for()
    assert keys_of(page) == {"query": f'{CPU}{{service_name="deep"}}', "from": "now-1h", "until": "now"}


def test_tooltip_tells_the_frame_under_the_pointer(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.locator("[data-testid=flame] canvas").hover(position={"x": 30, "y": ROW_PX * 1.5})
    expect(page.get_by_test_id("tooltip")).to_contain_text("<module>")
    expect(page.get_by_test_id("tooltip")).to_contain_text("100 %")


def test_a_deep_stack_is_scrolled_not_stretched(opened: Opened) -> None:
    page = opened.open("deep")
    canvas = page.locator("[data-testid=flame] canvas").bounding_box()
    assert canvas is not None
    assert canvas["height"] < 900
    scroller = page.locator(".flame-scroller")
    assert scroller.evaluate("element => element.scrollHeight") == (DEEP_FRAMES + 1) * ROW_PX
    page.get_by_test_id("flame").focus()
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    assert cursor_text(page).startswith("recurse: total 1.00 s, 100 %; self 0 s")
    assert page.locator('[role=treeitem][aria-selected="true"]').get_attribute("aria-level") == "61"
    assert scroller.evaluate("element => element.scrollTop") > 0


# Where it leads


def test_clicks_zoom_and_the_back_button_undoes_it(opened: Opened, server: Server) -> None:
    page = opened.open(**last_hour())
    truth = truth_of(server, page)
    cart = truth.functions()["cart"].total
    click_row(page, 4, 1 - cart / truth.total / 2 - 0.5)  # row 4 starts with cart; its left half
    expect(page.get_by_test_id("breadcrumb")).to_contain_text("cart")
    assert figure(page, "zoomed") == cart
    assert keys_of(page)["focus"].startswith("cart~")
    page.go_back()
    expect(page.get_by_test_id("breadcrumb")).to_have_count(0)
    assert "focus" not in keys_of(page)
    page.go_forward()
    expect(page.get_by_test_id("breadcrumb")).to_contain_text("cart")
    page.get_by_test_id("reset-zoom").click()
    expect(page.get_by_test_id("breadcrumb")).to_have_count(0)


def test_a_click_in_the_table_zooms_to_the_heaviest_place_then_to_the_next(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.locator('tr[data-name="dumps"] button').click()
    assert figure(page, "zoomed") == 60 * 100_000_000
    expect(page.get_by_test_id("breadcrumb")).to_contain_text("cart")
    page.locator('tr[data-name="dumps"] button').click()
    assert figure(page, "zoomed") == 60 * 50_000_000
    expect(page.get_by_test_id("breadcrumb")).to_contain_text("search")


def test_search_filters_the_table_and_says_how_much_matches(opened: Opened, server: Server) -> None:
    page = opened.open(**last_hour())
    page.keyboard.press("/")
    page.keyboard.type("CART")
    expect(page.get_by_test_id("search-result")).to_have_text("43.3 % in 3")
    matched = int(page.get_by_test_id("search-result").get_attribute("data-value") or "")
    assert matched == truth_of(server, page).functions()["cart"].total
    assert list(top_rows(page)) == ["Cart.merge", "cart", "Cart.load"]
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("search-result")).to_have_text("")


def test_search_by_regular_expression_and_a_broken_one(opened: Opened) -> None:
    page = opened.open(**last_hour(), search="^(cart|rank)$", re="1")
    assert list(top_rows(page)) == ["rank", "cart"]
    page.get_by_test_id("search").fill("(")
    expect(page.get_by_test_id("search-result")).to_have_text("invalid pattern")


def test_columns_sort_both_ways(opened: Opened) -> None:
    page = opened.open(**last_hour())
    header = page.locator("th.total")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    totals = [total for _, total in top_rows(page).values()]
    assert totals == sorted(totals, reverse=True)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert [total for _, total in top_rows(page).values()] == sorted(totals)
    page.locator("th.name").get_by_role("button").click()
    assert list(top_rows(page)) == sorted(top_rows(page))
    assert keys_of(page)["sort"] == "name"


def test_labels_narrow_the_profile(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("selector").fill('route="/cart"')
    page.keyboard.press("Enter")
    expect(page.locator('[data-figure="total"]')).to_have_attribute(
        "data-value", str(60 * sum(CART.values()))
    )
    assert keys_of(page)["query"] == f'{CPU}{{service_name="shop", route="/cart"}}'


def test_label_names_and_values_are_completed(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("selector").click()
    page.keyboard.type("reg")
    expect(page.locator("#selector-choices li")).to_have_text(["region"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#selector-choices li")).to_have_text(["eu", "us"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("selector")).to_have_value('region="us"')
    page.keyboard.press("Enter")
    expect(page.locator('[data-figure="total"]')).to_have_attribute(
        "data-value", str(60 * sum(SEARCH.values()))
    )


def test_a_second_enter_applies_what_the_first_completed(opened: Opened) -> None:
    """Both keys before the display shows a frame: the second must not complete again."""
    page = opened.open(**last_hour())
    page.get_by_test_id("selector").click()
    page.keyboard.type('region="')
    expect(page.locator("#selector-choices li")).to_have_text(["eu", "us"])
    page.keyboard.press("ArrowUp")
    page.evaluate("() => { requestAnimationFrame = (run) => setTimeout(run, 1000); }")  # a display that lags
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("selector")).to_have_value('region="us"')
    page.keyboard.press("Enter")
    expect(page.locator('[data-figure="total"]')).to_have_attribute(
        "data-value", str(60 * sum(SEARCH.values()))
    )


def test_a_bad_selector_is_explained_where_it_was_typed(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("selector").fill("route=/cart")
    page.keyboard.press("Enter")
    expect(page.locator("#selector-error")).to_contain_text("quotes")
    expect(page.get_by_test_id("selector")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_test_id("selector")).to_have_value("route=/cart")
    page.get_by_test_id("selector").fill("")
    page.keyboard.press("Enter")
    expect(page.locator("#selector-error")).to_have_count(0)
    # Chromium itself logs every 4xx reply.
    assert all("400" in complaint for complaint in opened.complaints)
    opened.complaints.clear()


def test_service_and_time_range_are_picked_from_lists(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("service").click()
    page.keyboard.type("dee")
    page.keyboard.press("Enter")
    expect(page.locator('[data-figure="total"]')).to_have_attribute("data-value", "1000000000")
    page.get_by_test_id("time-range").click()
    page.get_by_role("button", name="Last 15 minutes").click()
    assert keys_of(page) == {"query": f'{CPU}{{service_name="deep"}}', "from": "now-15m", "until": "now"}
    page.get_by_test_id("service").click()
    page.get_by_role("option", name="All services").click()
    expect(page.locator('tr[data-name="bm25"]')).to_have_count(1)
    assert keys_of(page)["query"] == f"{CPU}{{}}"


def test_brushing_the_timeline_narrows_the_range(opened: Opened, server: Server) -> None:
    page = opened.open(**last_hour())
    whole, before = figure(page, "total"), keys_of(page)
    plot = page.locator(".u-over").bounding_box()
    assert plot is not None
    middle = plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + plot["width"] * 0.7, middle)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.9, middle, steps=5)
    page.mouse.up()
    page.wait_for_url(lambda url: f"from={before['from']}" not in url)
    keys = keys_of(page)
    hour_ms = 3_600_000
    assert int(keys["from"]) - int(before["from"]) == pytest.approx(0.7 * hour_ms, abs=0.01 * hour_ms)
    assert int(keys["until"]) - int(before["from"]) == pytest.approx(0.9 * hour_ms, abs=0.01 * hour_ms)
    truth = truth_of(server, page)
    assert 0 < truth.total < whole
    expect(page.locator('[data-figure="total"]')).to_have_attribute("data-value", str(truth.total))


def test_a_range_without_samples_says_so(opened: Opened) -> None:
    page = opened.page
    query = urlencode({"query": f'{CPU}{{service_name="shop"}}', "from": "now-14d", "until": "now-13d"})
    page.goto(f"{opened.server.url}/?{query}")
    expect(page.get_by_test_id("no-samples")).to_contain_text('{service_name="shop"}')


# The address bar


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("view", "flame"),
        ("view", "table"),
        ("layout", "flame"),
        ("search", "cart & 100% π"),
        ("re", "1"),
        ("sort", "name"),
        ("sort", "-total"),
        ("max", "64"),
        ("from", "now-30m"),
        ("until", "now-1m"),
        ("unknown", "kept"),
    ],
)
def test_a_link_shows_what_it_says_and_stays_as_it_is(opened: Opened, key: str, text: str) -> None:
    page = opened.open(**{"from": "now-1h", "until": "now", key: text})
    assert keys_of(page)[key] == text
    linked = keys_of(page)
    # Navigating on writes the whole state anew; twice brings it back.
    page.get_by_test_id("layout").click()
    assert keys_of(page) != linked
    page.get_by_test_id("layout").click()
    assert keys_of(page) == linked


def test_a_link_carries_the_whole_state_to_another_browser(
    opened: Opened, server: Server, browser: Browser
) -> None:
    page = opened.open(**last_hour())
    page.locator('tr[data-name="rank"] button').click()
    page.get_by_test_id("search").fill("bm")
    page.locator("th.total").get_by_role("button").click()
    expect(page.get_by_test_id("search-result")).to_have_text("72.7 % in 1")
    with opened_page(server, browser) as other:
        other.page.goto(page.url)
        expect(other.page.get_by_test_id("search")).to_have_value("bm")
        expect(other.page.get_by_test_id("search-result")).to_have_text("72.7 % in 1")
        expect(other.page.locator("th.total")).to_have_attribute("aria-sort", "descending")
        assert figure(other.page, "zoomed") == 60 * 550_000_000
        assert keys_of(other.page) == keys_of(page)


def test_view_changes_what_is_on_the_page(opened: Opened) -> None:
    page = opened.open(**last_hour())
    for view, table, flame in [("flame", 0, 1), ("table", 1, 0), ("both", 1, 1)]:
        page.locator(f'[data-view="{view}"]').click()
        expect(page.get_by_test_id("top")).to_have_count(table)
        expect(page.get_by_test_id("flame")).to_have_count(flame)


def test_fewer_frames_are_folded_and_more_can_be_asked_for(opened: Opened) -> None:
    page = opened.open(**last_hour(), max="8")
    expect(page.locator(".folded-note")).to_contain_text("folded into “other”")
    total = figure(page, "total")
    page.get_by_role("button", name="More detail").click()
    expect(page.locator(".folded-note")).to_have_count(0)
    assert figure(page, "total") == total
    assert keys_of(page)["max"] == "64"


# Keyboard, screen readers, themes


def test_the_keyboard_walks_zooms_and_resets(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("flame").focus()
    for key, name in [
        ("ArrowDown", "<module>"),
        ("ArrowDown", "main"),
        ("ArrowDown", "handle"),
        ("ArrowLeft", "fib"),
        ("ArrowRight", "handle"),
        ("ArrowUp", "main"),
    ]:
        page.keyboard.press(key)
        assert cursor_text(page).startswith(f"{name}: total"), key
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("breadcrumb")).to_contain_text("handle")
    page.keyboard.press("Backspace")
    expect(page.get_by_test_id("breadcrumb")).not_to_contain_text("handle")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("breadcrumb")).to_have_count(0)


def test_n_goes_from_match_to_match(opened: Opened) -> None:
    page = opened.open(**last_hour(), search="dumps")
    page.keyboard.press("n")
    assert cursor_text(page).startswith("dumps: total 6.00 s")
    page.keyboard.press("n")
    assert cursor_text(page).startswith("dumps: total 3.00 s")
    page.keyboard.press("N")
    assert cursor_text(page).startswith("dumps: total 6.00 s")


def test_the_tree_tells_places_and_sizes(opened: Opened) -> None:
    page = opened.open(**last_hour())
    page.get_by_test_id("flame").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    item = page.locator('[role=treeitem][aria-selected="true"]')
    assert item.get_attribute("aria-level") == "4"
    assert item.get_attribute("aria-setsize") == "2"
    assert item.get_attribute("aria-posinset") == "2"
    active = page.get_by_role("tree").get_attribute("aria-activedescendant")
    assert item.get_attribute("id") == active


def test_the_theme_follows_the_system_until_chosen_and_is_remembered(
    server: Server, browser: Browser
) -> None:
    def background(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    with opened_page(server, browser, color_scheme="dark") as tab:
        page = tab.open(**last_hour())
        dark = background(page)
        page.emulate_media(color_scheme="light")
        light = background(page)
        assert light != dark
        page.get_by_test_id("theme").click()  # system -> light
        page.get_by_test_id("theme").click()  # light -> dark
        assert background(page) == dark
        page.reload()
        page.get_by_test_id("figures").wait_for()
        assert background(page) == dark
        page.get_by_test_id("theme").click()  # dark -> system
        assert background(page) == light


# Nothing to show


def test_an_empty_server_says_how_to_push_and_shows_the_first_profile(
    tmp_path: Path, browser: Browser
) -> None:
    with running_server(tmp_path) as server, opened_page(server, browser) as tab:
        page = tab.page
        page.goto(server.url)
        expect(page.get_by_test_id("empty-state")).to_contain_text(
            f'flamewire.start(service_name="shop", server_url="{server.url}")'
        )
        server.push("first", CART, time_ns=time.time_ns() - 1_000_000_000)
        page.get_by_test_id("figures").wait_for()
        assert figure(page, "total") == sum(CART.values())


def test_a_server_that_is_gone_is_reported_and_retried(tmp_path: Path, browser: Browser) -> None:
    with running_server(tmp_path) as server:
        server.push("shop", CART, time_ns=time.time_ns() - 1_000_000_000)
        with opened_page(server, browser) as tab:
            page = tab.open()
            page.route("**/SelectMergeStacktraces", lambda route: route.abort())
            page.get_by_role("button", name="Refresh").click()
            expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
            page.unroute("**/SelectMergeStacktraces")
            page.get_by_role("button", name="Try again").click()
            page.get_by_test_id("figures").wait_for()
            # Chromium logs the failed request itself.
            assert all("ERR_FAILED" in complaint for complaint in tab.complaints)
            tab.complaints.clear()
