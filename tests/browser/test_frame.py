"""What every page holds: both themes, phone and desk, keyboard, live, whatever payloads say."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import check_everywhere
from tests.browser.site import Site
from tests.waiting import eventually_sync
from ui.render import NAV

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> "&amp; \u202eevil\u202c 🙂'


@pytest.mark.parametrize("path", [item.path for item in NAV])
def test_every_page_fits_and_is_accessible_in_both_themes(
    page: Page, site: Site, path: str
) -> None:
    site.until(site.order(simulate="decline"), "cancelled")
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    check_everywhere(page)


def test_the_keyboard_reaches_pages_and_rows(page: Page, site: Site) -> None:
    site.until(site.order(), "completed")
    site.until(site.order(), "completed")
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("/")
    find = page.get_by_role("combobox", name=re.compile("Find"))
    expect(find).to_be_focused()
    page.keyboard.press("Escape")
    expect(find).not_to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.get_by_role("heading", name="Instances", level=1)).to_be_visible()
    page.wait_for_load_state()  # until then nothing listens to the keys of the new page
    for key, row in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        expect(page.locator("[data-row]").nth(row)).to_have_class(re.compile(r"\bat\b"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("Version"))).to_be_visible()


def test_a_theme_that_was_chosen_stays(page: Page, site: Site) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/")
    page.get_by_role("button", name="Switch between light and dark").click()
    page.goto("/sagas")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


@pytest.mark.alone
def test_a_transition_elsewhere_shows_within_a_second(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    site.post(
        f"/sagas/instances/CheckoutSaga/{key}/compensate",
        {"reason": "seen live", "types": ["RefundPayment"]},
    )
    expect(page.get_by_role("heading", name=re.compile("Version 5|Version 6"))).to_be_visible(
        timeout=2000
    )


def test_hostile_payloads_are_text_on_every_view(page: Page, site: Site) -> None:
    key = f"k-{'ü' * 99}"  # 200 bytes
    site.order(key=key, customerId=HOSTILE, note="long " * 78_000)  # 390 kB of 400
    site.until(key, "completed")
    page.goto(f"/find?q={key}")
    expect(page.get_by_role("heading", name=key)).to_be_visible()
    for view in ("Messages", "Raw", "Sequence", "Graph", "Story"):
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("link", name=view, exact=True)).to_have_attribute(
            "aria-current", "true"
        )
        assert page.locator("main script, main img[src='x']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    expect(page.locator("body")).to_contain_text(key)


@pytest.mark.alone
def test_a_message_of_900_kb_is_shown_where_it_ended(page: Page, site: Site) -> None:
    """It is more than a saga takes, so it is a dead letter; its pages stay quick and whole."""
    key = site.order(customerId=HOSTILE, note="long " * 180_000)
    letter = eventually_sync(
        lambda: site.get(f"/sagas/dead-letters?key={key}")["items"], 20.0, "a dead letter"
    )[0]
    for path in (f"/failures/dead-letters/{letter['id']}", f"/events/{letter['seq']}"):
        page.goto(path)
        expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")
        assert page.locator("main script, main img[src='x']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate("performance.getEntriesByType('paint')[0].startTime") < 3000


def test_lists_and_actions_need_no_script(browser: Browser, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    for item in NAV:
        answer = page.goto(item.path)
        assert answer is not None
        assert answer.ok, item.path
    page.goto(f"/instances?key={key}")
    page.get_by_role("link", name=key, exact=True).click()
    page.get_by_role("link", name="Compensate").click()
    page.get_by_role("checkbox", name="RefundPayment").check()
    page.get_by_label("Reason").fill("without script")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Compensate now").click()
    expect(page.get_by_text("Done: compensate")).to_be_visible()
    context.close()


def test_lists_are_filtered_without_script(browser: Browser, site: Site) -> None:
    """Every list has its filter as a plain form or as links."""
    key = site.order(simulate="decline")
    site.until(key, "cancelled")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/instances")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.get_by_role("list", name="Status").get_by_role("link", name="running").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    for path, field in (("/events", "key"), ("/failures/dead-letters", "key"), ("/audit", "key")):
        page.goto(path)
        page.locator(f"main form input[name={field}]").fill(key)
        page.locator("main form").filter(has=page.locator(f"input[name={field}]")).get_by_role(
            "button"
        ).first.click()
        assert f"{field}={key}" in page.url, page.url
        expect(page.locator(f"main form input[name={field}]")).to_have_value(key)
    context.close()


def test_an_instance_is_printed_without_the_frame(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("heading", name=key)).to_be_visible()
    expect(page.get_by_role("banner")).to_be_hidden()
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    card = page.get_by_role("region", name="Timeline")
    assert card.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"


def test_every_object_offers_its_address_and_the_same_elsewhere(page: Page, site: Site) -> None:
    key = site.order(simulate="decline")
    site.until(key, "cancelled")
    everywhere = ("link", "snorri", "curl", "nats", "SQL")
    for address in (f"/instances/CheckoutSaga/{key}", "/sagas/CheckoutSaga", "/events/1"):
        page.goto(address)
        ways = page.get_by_role("region", name="The same elsewhere").get_by_role("button")
        assert set(everywhere) <= set(ways.all_inner_texts()), address
        ways.filter(has_text="link").click()
        assert page.evaluate("navigator.clipboard.readText()") == page.url
