"""Goal: the what-if page tells that a history repeats, and what is open stands on the instance."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SIZES, check_axe
from tests.browser.site import Site


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desk", "phone"])
def test_an_order_replays_as_it_was(page: Page, site: Site, scheme: str, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two words
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}")
    page.get_by_role("link", name="What if").click()
    expect(page.get_by_role("heading", name="What if")).to_be_visible()
    expect(page.get_by_text("All 4 versions would be as they were")).to_be_visible()
    check_axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_open_order_shows_what_it_waits_for(page: Page, site: Site) -> None:
    key = site.order(simulate="slow")
    site.until(key, "running")
    page.goto(f"/instances/CheckoutSaga/{key}")
    expect(page.get_by_role("region", name="Open")).to_contain_text("process-payment")
    check_axe(page)
