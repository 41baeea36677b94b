"""Goal: each of the eight actions does in the browser what it says, and is on record with who and
why; what was previewed is what happens, or nothing.

Method: one held parcel for what running instances take, one with a declined card for what parked
ones take, in an installation with users.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import check_axe
from tests.browser.site import Site

SAGA = "ParcelSaga"
Person = Callable[..., Page]


def _address(key: str, more: str = "") -> str:
    return f"/instances/{SAGA}/{key}{more}"


def _act(
    page: Page, key: str, action: str, reason: str, fill: Callable[[], None] | None = None
) -> None:
    """From the instance's page: choose the action, fill the form, look at the preview, confirm."""
    page.goto(_address(key))
    actions = page.get_by_role("navigation", name="Actions")
    actions.get_by_role("link", name=action, exact=True).click()
    if fill is not None:
        fill()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_contain_text("This is what would happen")
    page.get_by_role("button", name=f"{action} now").click()
    expect(page.get_by_text(f"Done: {action.lower()} is version")).to_be_visible()
    row = page.get_by_role("region", name="History").get_by_role("row")
    expect(row.filter(has_text=f"operator by otto: {reason}")).to_be_visible()


def test_a_held_parcel_takes_what_running_instances_take(person: Person, office: Site) -> None:
    page, key = person("otto"), office.parcel(hold=True)
    office.until(key, "running", saga=SAGA)
    _act(page, key, "Pause", "lunch")
    expect(page.get_by_role("link", name="Pause", exact=True)).to_have_count(0)
    office.until(key, "paused", saga=SAGA)
    _act(page, key, "Resume", "lunch is over")

    def sign() -> None:
        page.get_by_label("Signal", exact=True).select_option("hurry")
        page.get_by_label("Payload, JSON").fill('{"why": "a birthday"}')

    _act(page, key, "Signal", "she called", sign)
    assert office.instance(key, SAGA)["document"]["state"]["hurried"] == "a birthday"

    def change() -> None:
        field = page.get_by_label("State, JSON")
        field.fill(field.input_value().replace("Main Street 1", "Side Street 2"))

    page.goto(_address(key, "/act/patch"))
    change()
    page.get_by_label("Reason").fill("only looking")
    page.get_by_role("button", name="Preview").click()
    difference = page.get_by_role("region", name="Preview").get_by_role("row")
    expect(difference).to_have_text(
        [re.compile("order.address.*Main Street 1.*Side Street 2", re.S)]
    )
    check_axe(page)
    _act(page, key, "Patch", "they moved", change)
    assert office.instance(key, SAGA)["document"]["state"]["order"]["address"] == "Side Street 2"
    _act(page, key, "Cancel", "they changed their mind")
    office.until(key, "cancelled", saga=SAGA)
    page.goto(_address(key))
    actions = page.get_by_role("navigation", name="Actions").get_by_role("link")
    expect(actions).to_have_text(["Compensate"])
    assert office.effects(key) == []


def test_a_parked_parcel_is_retried_skipped_and_undone(person: Person, office: Site) -> None:
    page, key = person("otto"), office.parcel(card="expired")
    office.until(key, "parked", saga=SAGA)
    page.goto(_address(key))
    expect(page.get_by_role("region", name="What it waits for")).to_contain_text(
        "card was declined"
    )
    _act(page, key, "Retry", "perhaps it works now")
    office.until(key, "parked", saga=SAGA)
    # It fails again at once: the page tells so, and goes on saying what was done.
    expect(page.locator("#instance .head")).to_contain_text("version 4")
    expect(page.get_by_text("Done: retry is version 3")).to_be_visible()
    _act(page, key, "Skip", "they paid in cash")
    office.until(key, "running", saga=SAGA)

    def choose() -> None:
        page.get_by_role("checkbox", name="Restock").check()

    _act(page, key, "Compensate", "out of stock", choose)
    office.until(key, "compensated", saga=SAGA)
    assert [done["job"] for done in office.effects(key)] == ["restock"]


def test_a_preview_that_is_out_of_date_is_refused_and_says_so(person: Person, office: Site) -> None:
    page, key = person("otto"), office.parcel(hold=True)
    office.until(key, "running", saga=SAGA)
    page.goto(_address(key, "/act/pause"))
    page.get_by_label("Reason").fill("slow me")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_be_visible()
    faster = {"reason": "faster", "name": "hurry", "payload": {"why": "now"}}
    office.post(f"/sagas/instances/{SAGA}/{key}/signal", faster)
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Pause now").click()
    expect(page.get_by_role("alert")).to_contain_text("the instance has moved since the plan")
    assert office.instance(key, SAGA)["document"]["status"] == "running"
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Pause now").click()
    expect(page.get_by_text("Done: pause is version 3")).to_be_visible()


SLIPS = (
    ("patch", "State, JSON", '{"status":', "the state is not JSON"),
    ("patch", "State, JSON", '{"status": 7}', "Expected `str`, got `int`"),
    ("signal", "Payload, JSON", '{"when": "now"}', "missing required field `why`"),
)


def test_what_can_not_be_meant_is_told_before_anything_happens(
    person: Person, office: Site
) -> None:
    page, key = person("otto"), office.parcel(hold=True)
    office.until(key, "running", saga=SAGA)
    page.expected_errors += ["409", "400"]  # type: ignore[attr-defined]
    for action, field, text, fault in SLIPS:
        page.goto(_address(key, f"/act/{action}"))
        page.get_by_label(field).fill(text)
        page.get_by_label("Reason").fill("a slip")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("alert")).to_contain_text(fault)
        expect(page.get_by_label(field)).to_have_value(text)
    assert office.instance(key, SAGA)["document"]["version"] == 1
