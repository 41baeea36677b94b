"""Goal: the whole way back by hand. A parcel whose card was declined is parked, retried with
another card, sent, and then undone: four undos that fail, each put right in another way.

Method: all of it in the browser of an operator; what the jobs really did is read from what they
wrote down. The lines of the undos change on the open page, without a reload.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import check_axe
from tests.browser.site import Site

SAGA = "ParcelSaga"
UNDOS = ("RefundCard", "RecallParcel", "Restock", "TellCustomer")
ANSWERED = re.compile("done|is answered")  # the second while the next one is parked


def _undo(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Compensation").get_by_role("row").filter(has_text=name)


def _confirm(page: Page, action: str, reason: str) -> None:
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name=f"{action} now").click()
    expect(page.get_by_text(f"Done: {action.lower()} is version")).to_be_visible()


def _edit(page: Page, old: str, new: str) -> None:
    field = page.get_by_label("Payload, edit it where it was wrong")
    field.fill(field.input_value().replace(old, new))


def test_declined_parked_retried_and_undone_by_hand(
    person: Callable[..., Page], office: Site
) -> None:
    page = person("otto")
    wrong = {"bank": "closed", "address": "", "stock": "lost", "mail": "bounces"}
    key = office.parcel(card="expired", gate="gate", **wrong)
    office.until(key, "parked", saga=SAGA)
    page.goto("/instances?status=parked")
    page.get_by_role("link", name=key, exact=True).click()
    waits = page.get_by_role("region", name="What it waits for")
    expect(waits).to_contain_text("the card was declined")
    page.get_by_role("link", name="Retry", exact=True).click()
    _edit(page, "expired", "gold")
    _confirm(page, "Retry", "they gave another card")
    office.until(key, "completed", saga=SAGA)
    assert [done["job"] for done in office.effects(key)] == ["charge-card", "send-parcel"]

    page.goto(f"/instances/{SAGA}/{key}/act/compensate")
    for name in UNDOS:
        page.get_by_role("checkbox", name=name).check()
    _confirm(page, "Compensate", "they want it no more")
    expect(_undo(page, "RefundCard")).to_contain_text("on its way")
    (office.folder / "gate").touch()  # the line changes on the page as it is
    expect(_undo(page, "RefundCard")).not_to_contain_text("on its way")
    check_axe(page)

    ways: dict[str, Callable[[Locator], None]] = {
        "RefundCard": lambda row: _again_when_it_opens(page, office, row),
        "RecallParcel": lambda row: _again_with_an_address(page, row),
        "Restock": lambda row: _leave_out(page, row),
        "TellCustomer": lambda row: _done_outside(page, row),
    }
    for _ in UNDOS:  # the one whose turn it is has the buttons
        row = page.get_by_role("region", name="Compensation").get_by_role("row")
        row = row.filter(has=page.get_by_role("link", name="Retry or edit"))
        name = row.locator("strong").inner_text()
        ways.pop(name)(row)
    expect(page.locator("#instance .head")).to_contain_text("compensated")

    for name, status in zip(UNDOS, ("done", "done", "skipped", "by hand"), strict=True):
        expect(_undo(page, name)).to_contain_text(status)
    jobs = [done["job"] for done in office.effects(key)]
    assert sorted(jobs[2:]) == ["recall-parcel", "refund-card"]
    assert office.effects(key)[0]["card"] == "gold"
    story = page.get_by_role("region", name="History")
    for reason in (
        "another card",
        "want it no more",
        "it is open",
        "they told us",
        "gone",
        "phone",
    ):
        expect(story.get_by_role("row").filter(has_text=re.compile(reason))).to_contain_text("otto")


def _again_when_it_opens(page: Page, office: Site, row: Locator) -> None:
    expect(row).to_contain_text("the bank is closed")
    (office.folder / "bank-opens").touch()
    row.get_by_role("link", name="Retry or edit").click()
    _confirm(page, "Retry", "it is open now")
    expect(_undo(page, "RefundCard")).to_contain_text(ANSWERED)


def _again_with_an_address(page: Page, row: Locator) -> None:
    expect(row).to_contain_text("nobody knows the address")
    row.get_by_role("link", name="Retry or edit").click()
    _edit(page, '"address": ""', '"address": "Harbour 7"')
    _confirm(page, "Retry", "they told us")
    expect(_undo(page, "RecallParcel")).to_contain_text(ANSWERED)


def _leave_out(page: Page, row: Locator) -> None:
    row.get_by_role("link", name="Skip").click()
    _confirm(page, "Skip", "gone for good")


def _done_outside(page: Page, row: Locator) -> None:
    row.get_by_role("link", name="Done by hand").click()
    _confirm(page, "Skip", "told them by phone")
