"""Orders in the browser: found in the list, read on their page, undone by hand."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from store import codec
from tests.browser.conftest import check_axe
from tests.browser.site import Site
from tests.waiting import eventually_sync


def test_an_order_is_found_and_read_at_any_version(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/find?q={key}")
    expect(page.get_by_role("heading", name=key)).to_be_visible()
    expect(page.get_by_role("heading", name="Version 4 of 4")).to_be_visible()
    page.get_by_role("link", name="Previous version").click()
    expect(page.get_by_role("heading", name="Version 3 of 4")).to_be_visible()
    assert "version=3" in page.url
    page.get_by_role("link", name="Whole state").click()
    expect(page.get_by_label("State at version 3")).to_contain_text(
        '"status": "inventory_reserved"'
    )
    for view in ("Graph", "Sequence", "Messages", "Raw", "Story"):
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("link", name=view, exact=True)).to_have_attribute(
            "aria-current", "true"
        )
        check_axe(page)
    page.get_by_role("link", name="Messages", exact=True).click()
    headers = page.get_by_role("term").filter(has_text=codec.CAUSE).first
    expect(headers).to_be_visible()  # of the answer that version 3 has taken in


def test_an_order_is_undone_by_hand_exactly_as_previewed(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}")
    page.get_by_role("link", name="Compensate").click()
    page.get_by_role("checkbox", name="RefundPayment").check()
    page.get_by_label("Reason").fill("the customer sent it back")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview.get_by_role("listitem")).to_have_text(
        [re.compile("compensate RefundPayment"), re.compile("command refund-payment")]
    )
    check_axe(page)
    page.get_by_role("button", name="Compensate now").click()
    expect(page.get_by_text("Done: compensate is version 5")).to_be_visible()
    assert site.until(key, "cancelled")["version"] == 6
    page.goto(f"/instances/CheckoutSaga/{key}?version=5")
    expect(page.get_by_role("region", name="Compensation")).to_contain_text("RefundPayment")
    row = page.get_by_role("row", name=re.compile("compensate"))
    expect(row.first).to_contain_text("the customer sent it back")


def test_a_preview_of_an_instance_that_moved_on_is_refused(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}/act/compensate?types=RefundPayment")
    page.get_by_label("Reason").fill("first thoughts")
    page.get_by_role("button", name="Preview").click()
    body = {"reason": "somebody was faster", "types": ["RefundPayment"]}
    site.post(f"/sagas/instances/CheckoutSaga/{key}/compensate", body)
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Compensate now").click()
    expect(page.get_by_role("alert")).to_be_visible()
    site.until(key, "cancelled")
    eventually_sync(
        lambda: (
            {one["outcome"] for one in site.get(f"/audit?key={key}")["items"]}
            == {"done", "refused"}
        ),
        10.0,
        "both actions on record",
    )


def test_filters_stand_in_the_address(page: Page, site: Site) -> None:
    key = site.order(simulate="decline", total=777)
    site.until(key, "cancelled")
    page.goto("/instances")
    page.get_by_label("State field").fill("state.total=777")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name=key)).to_be_visible()
    assert "where=state.total%3D777" in page.url
    page.get_by_role("list", name="Status").get_by_role("link", name="completed").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name=key)).to_be_visible()
    check_axe(page)
