"""Goal: a few characters lead to what they may mean, by keyboard, and without script as a page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SIZES, check_themes
from tests.browser.site import Site


@pytest.mark.parametrize("size", SIZES)
def test_keys_are_suggested_while_typing_and_reached_by_arrows(
    page: Page, site: Site, size: str
) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    keys = [site.order(key=f"palette-{size}-{number}") for number in range(2)]
    for key in keys:
        site.until(key, "completed")
    page.goto("/")
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name=re.compile("Find"))
    expect(field).to_be_focused()
    field.fill(f"LETTE-{size}")
    found = page.get_by_role("listbox", name="Suggestions")
    instances = found.get_by_role("group", name="Instances", exact=True)
    expect(instances.get_by_role("option")).to_have_count(2)
    expect(field).to_have_attribute("aria-expanded", "true")
    check_themes(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    chosen = found.get_by_role("option", selected=True)
    expect(chosen).to_contain_text(f"palette-{size}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile(f"palette-{size}"))).to_be_visible()


def test_pages_sagas_and_actions_are_suggested_too(page: Page, site: Site) -> None:
    page.goto("/")
    page.keyboard.press("Control+k")
    found = page.get_by_role("listbox", name="Suggestions")
    expect(found.get_by_role("option", name=re.compile("Timers"))).to_be_visible()
    page.keyboard.type("start checkout")
    found.get_by_role("option", name=re.compile("Start CheckoutSaga")).click()
    expect(page).to_have_url(re.compile("/sagas/CheckoutSaga/start"))
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(found).to_be_hidden()


def test_ids_and_traces_lead_to_their_instance(page: Page, site: Site) -> None:
    key = site.order()
    document = site.until(key, "completed")
    trace = site.get(f"/sagas/instances?key={key}")["items"][0]["trace"].split("-")[1]
    assert document
    page.goto(f"/find?q={trace}")
    expect(page.get_by_role("heading", name=key)).to_be_visible()
    page.goto(f"/find?q={trace[:12].upper()}")
    expect(page.get_by_role("heading", name=key)).to_be_visible()


def test_the_search_is_a_page_without_script(browser: Browser, site: Site) -> None:
    for number in range(2):
        site.until(site.order(key=f"plainly-{number}"), "completed")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("searchbox", name=re.compile("Find")).fill("plainly")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Instances").get_by_role("link")).to_have_count(2)
    page.goto("/find?q=no%20such%20thing")
    expect(page.get_by_text("Nothing has that name")).to_be_visible()
    context.close()
