"""Goal: an action on many orders does in the browser what its preview said, and nothing unseen.

Method: orders of a saga of the samples, chosen by hand or by a filter, in a real installation; what
became of each is asked of the API.
"""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SIZES, check_axe, check_themes
from tests.browser.site import Site


def _orders(site: Site, count: int) -> tuple[str, list[str]]:
    """Orders that are done, and how their keys begin."""
    start = f"many-{uuid.uuid4().hex[:6]}"
    keys = [site.order(key=f"{start}-{number}") for number in range(count)]
    for key in keys:
        site.until(key, "completed")
    return start, keys


def test_all_that_match_are_undone_after_the_number_is_typed(page: Page, site: Site) -> None:
    start, keys = _orders(site, 3)
    page.goto(f"/instances?key={start}*")
    page.get_by_label("With many").select_option("compensate")
    page.get_by_role("button", name="Act on all that match").click()
    page.get_by_role("checkbox", name="RefundPayment").check()
    page.get_by_label("Reason").fill("the batch was faulty")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview.get_by_role("cell", name="refund-payment")).to_be_visible()
    check_axe(page)
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Compensate 3 now").click()
    expect(page.get_by_role("alert")).to_contain_text("type 3")
    page.get_by_label("Type 3 to confirm").fill("3")
    page.get_by_role("button", name="Compensate 3 now").click()
    expect(page.get_by_text("All 3 took it.")).to_be_visible()
    check_axe(page)
    for key in keys:
        site.until(key, "cancelled")
    page.goto("/bulk")
    expect(page.get_by_role("row", name=re.compile("the batch was faulty"))).to_be_visible()
    check_axe(page)


def test_checked_rows_only_and_refusals_are_told_with_reasons(page: Page, site: Site) -> None:
    start, keys = _orders(site, 3)
    page.goto(f"/instances?key={start}*")
    for key in keys[:2]:
        page.get_by_role("checkbox", name=f"Check {key}").check()
    page.get_by_label("With many").select_option("pause")
    page.get_by_role("button", name="Act on checked").click()
    expect(page.get_by_text("2 chosen by hand")).to_be_visible()
    page.get_by_label("Reason").fill("too late")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("pause is not allowed then")
    expect(preview).to_contain_text("Nothing would change.")


def test_nothing_chosen_is_told_and_not_everything(page: Page, site: Site) -> None:
    _orders(site, 1)
    page.goto("/instances")
    expect(page.get_by_role("button", name="Act on all that match")).to_have_count(0)
    page.expected_errors.append("404")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Act on checked").click()
    expect(page.get_by_role("heading", name="Nothing is chosen")).to_be_visible()


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_views_are_links_and_are_kept_in_the_browser(page: Page, site: Site, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.goto("/instances")
    views = page.get_by_role("navigation", name="Views")
    views.get_by_role("link", name="Oldest open").click()
    expect(page).to_have_url(re.compile("status=running.*order=oldest"))
    page.get_by_label("Name of this view").fill("<b>mine</b>")
    page.get_by_role("button", name="Save view").click()
    page.goto("/instances")
    views.get_by_role("link", name="<b>mine</b>").click()
    expect(page).to_have_url(re.compile("order=oldest"))
    check_themes(page)
    views.get_by_role("button", name="Forget <b>mine</b>").click()
    expect(views.get_by_role("link", name="<b>mine</b>")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
