"""What happens elsewhere is on open pages within a second, and only where nobody is disturbed."""

from __future__ import annotations

import re
import statistics
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import check_axe
from tests.browser.site import Site
from tests.waiting import eventually_sync

pytestmark = pytest.mark.alone

SECOND_S = 1.0
SOON_MS = 2000  # for one look; the machine may have other things to do


def _undo(site: Site, key: str) -> None:
    """Somebody else has the payment given back."""
    body = {"reason": "seen live", "types": ["RefundPayment"]}
    site.post(f"/sagas/instances/CheckoutSaga/{key}/compensate", body)


def _open(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


# Notes when the row of a key tells of the undo; told by the page, since looking takes its time.
SEEN = """key => {
    const links = [...document.querySelectorAll('[data-row] a')];
    const row = links.find(one => one.textContent === key).closest('[data-row]');
    window.seenAt = new Promise(resolve => new MutationObserver(() => {
        const now = document.getElementById(row.id);
        if (/compensating|cancelled/.test(now.innerText)) resolve(Date.now());
    }).observe(document.body, {childList: true, subtree: true, characterData: true}));
}"""


def test_what_happens_elsewhere_is_on_the_page_within_a_second(page: Page, site: Site) -> None:
    """Five orders in turn, seen in the list; the median, since one look can meet anything."""
    keys = [site.order() for _ in range(5)]
    for key in keys:
        site.until(key, "completed")
    _open(page, "/instances?saga=CheckoutSaga")
    took_s: list[float] = []
    for key in keys:
        page.evaluate(SEEN, key)
        _undo(site, key)
        began_s = time.time()
        took_s.append(page.evaluate("window.seenAt") / 1000 - began_s)
    assert statistics.median(took_s) < SECOND_S, took_s


def test_rows_of_the_list_change_where_they_stand(page: Page, site: Site) -> None:
    keys = [site.order(), site.order()]
    for key in keys:
        site.until(key, "completed")
    _open(page, "/instances?saga=CheckoutSaga")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=keys[0], exact=True))
    place = page.locator("[data-row]").all_inner_texts().index(row.inner_text())
    row.get_by_role("link").focus()
    page.keyboard.press("x")
    _undo(site, keys[0])
    expect(row).to_contain_text(re.compile("compensating|cancelled"), timeout=SOON_MS)
    expect(row).to_contain_text("cancelled")
    expect(row.get_by_role("checkbox")).to_be_checked()
    expect(row).to_have_class(re.compile(r"\bat\b"))
    page.keyboard.press("x")  # keys still act on it
    expect(row.get_by_role("checkbox")).not_to_be_checked()
    expect(page.locator("[data-row]").nth(place)).to_contain_text(keys[0])


def test_new_rows_are_announced_and_a_pause_holds_all_back(page: Page, site: Site) -> None:
    old = site.order()
    site.until(old, "completed")
    _open(page, "/instances?saga=CheckoutSaga")
    new = site.order()
    show = page.get_by_role("button", name=re.compile("new: show"))
    expect(show).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_role("link", name=new, exact=True)).to_have_count(0)
    site.until(new, "completed")
    show.click()
    expect(page.get_by_role("link", name=new, exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause", exact=True).click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=old, exact=True))
    _undo(site, old)
    paused = page.get_by_role("button", name="Paused, changes")
    expect(paused).to_be_visible(timeout=SOON_MS)
    site.until(old, "cancelled")
    expect(row).to_contain_text("completed")
    check_axe(page)
    paused.click()
    expect(row).to_contain_text("cancelled", timeout=SOON_MS)


def test_the_overview_counts_what_ends_meanwhile(page: Page, site: Site) -> None:
    site.until(site.order(), "completed")
    _open(page, "/")
    tile = page.get_by_role("link", name=re.compile("completed within 1h"))
    before = int(re.sub(r"\D", "", tile.inner_text().partition("completed")[0]))
    site.until(site.order(), "completed")
    expect(tile).to_contain_text(f"{before + 1}", timeout=SOON_MS)


def test_an_event_that_nobody_handles_leaves_a_mark_on_every_page(page: Page, site: Site) -> None:
    site.post("/sagas/publish", {"type": "NobodyWantsIt", "key": "s-1", "payload": {}})
    mark = page.get_by_role("link", name="stray")

    def there() -> bool:
        page.goto("/jobs")
        return mark.count() > 0

    eventually_sync(there, 30.0, "the mark of a stray event")
    check_axe(page)
    mark.click()
    expect(page.get_by_role("link", name="NobodyWantsIt")).to_be_visible()
