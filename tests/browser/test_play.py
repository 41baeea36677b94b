"""Goal: the life of an instance plays version by version, on timeline, graph and state at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SIZES, check_themes
from tests.browser.site import Site
from tests.waiting import eventually_sync


def _stocked_out(site: Site) -> str:
    """An order of four versions whose payment was given back."""
    key = site.order(simulate="no-stock")
    site.until(key, "cancelled")
    return key


# Notes what the page and its address show one after the other: each for a third of a second.
WATCH = """() => {
    const part = document.querySelector('main');
    window.seen = [];
    new MutationObserver(() => window.seen.push(location.search + part.textContent))
        .observe(part, {childList: true, subtree: true, characterData: true});
}"""


def _showed(page: Page, *texts: str) -> bool:
    """Whether all these were there at once, some time after WATCH."""
    return any(all(text in seen for text in texts) for seen in page.evaluate("window.seen"))


@pytest.mark.parametrize("size", SIZES)
def test_a_life_plays_from_the_start_to_the_end(page: Page, site: Site, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    key = _stocked_out(site)
    page.goto(f"/instances/CheckoutSaga/{key}?view=graph")
    player = page.get_by_role("group", name="Play")
    player.get_by_role("combobox", name="Speed").select_option("100 times as fast")
    expect(page).to_have_url(re.compile("speed=100"))
    page.evaluate(WATCH)
    page.keyboard.press("p")
    for texts in (("version=1", "Pause"), ("version=3", "Version 3 of 4", "up to version 3")):
        eventually_sync(lambda texts=texts: _showed(page, *texts), 15.0, " and ".join(texts))
    expect(page).to_have_url(re.compile(r"/[^?]+\?view=graph&speed=100$"))
    expect(page.get_by_role("heading", name="Version 4 of 4")).to_be_visible()
    expect(player.get_by_role("button", name="Play", exact=True)).to_be_visible()
    check_themes(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_pause_stays_where_it_is_and_steps_go_on(page: Page, site: Site) -> None:
    key = _stocked_out(site)
    page.goto(f"/instances/CheckoutSaga/{key}?version=1")
    player = page.get_by_role("group", name="Play")
    player.get_by_role("button", name="Play", exact=True).click()
    expect(page).to_have_url(re.compile("version=2"))
    player.get_by_role("button", name="Pause").click()
    player.get_by_role("link", name="One step on").click()
    expect(page.get_by_role("heading", name="Version 3 of 4")).to_be_visible()
    player.get_by_role("link", name="To the first version").click()
    expect(page.get_by_role("heading", name="Version 1 of 4")).to_be_visible()
    player.get_by_role("link", name="To the last version").click()
    expect(page.get_by_role("heading", name="Version 4 of 4")).to_be_visible()


def test_a_long_pause_is_told_and_can_be_left_out(page: Page, site: Site) -> None:
    key = _stocked_out(site)
    page.goto(f"/instances/CheckoutSaga/{key}?version=1&speed=1")
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("document.querySelector('[data-player]').dataset.next = '432000'")
    player = page.get_by_role("group", name="Play")
    player.get_by_role("button", name="Play", exact=True).click()
    expect(player.get_by_role("status")).to_have_text("1 of 4, the next in 7200 min")
    page.keyboard.press("]")
    expect(page.get_by_role("heading", name=re.compile("Version 2"))).to_be_visible()


def test_steps_are_links_without_script(browser: Browser, site: Site) -> None:
    key = _stocked_out(site)
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/instances/CheckoutSaga/{key}?version=2&view=graph")
    player = page.get_by_role("group", name="Play")
    expect(player.get_by_role("button")).to_have_count(0)
    player.get_by_role("link", name="One step on").click()
    expect(page.get_by_role("heading", name="Version 3 of 4")).to_be_visible()
    expect(page.get_by_text("up to version 3")).to_be_visible()
    context.close()
