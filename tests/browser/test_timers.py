"""Goal: in the browser a timer is postponed, fired and cancelled from the list of timers, each with
a preview and on record; what has fired meanwhile is said.

Method: carts of the sample that reminds, whose timer is half an hour away; a viewer sees no
links.
"""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import check_everywhere
from tests.browser.site import Site

SAGA = "CartReminderSaga"
Person = Callable[..., Page]


def _cart(office: Site, key: str) -> None:
    payload = {"cartId": key, "patience": "30m"}
    office.post("/sagas/publish", {"type": "CartChanged", "key": key, "payload": payload})
    office.until(key, "running", saga=SAGA)


def _confirm(page: Page, reason: str, button: str) -> None:
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_contain_text("This is what would happen")
    page.get_by_role("button", name=button).click()


def test_a_timer_is_postponed_fired_and_cancelled(person: Person, office: Site) -> None:
    page = person("otto")
    page.expected_errors.append("400")  # type: ignore[attr-defined]
    for key in ("cart-a", "cart-b"):
        _cart(office, key)
    page.goto(f"/timers?saga={SAGA}&key=cart-a")
    page.get_by_role("link", name="Postpone: patience of cart-a").click()
    page.get_by_label("When it shall fire").fill("soon")
    page.get_by_label("Reason").fill("a holiday")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("write it like 30s, 5m, 2h")
    page.get_by_label("When it shall fire").fill("2h")
    _confirm(page, "a holiday", "Postpone timer now")
    expect(page.get_by_text("Done: postpone timer is version 2")).to_be_visible()
    page.get_by_role("link", name="Fire now: patience of cart-a").click()
    _confirm(page, "no time", "Fire timer now")
    expect(page.get_by_text("Done: fire timer is version 3")).to_be_visible()
    done = office.until("cart-a", "completed", saga=SAGA)
    assert done["document"]["state"]["outcome"] == "reminded"
    page.goto(f"/timers?saga={SAGA}&key=cart-b")
    page.get_by_role("link", name="Cancel: patience of cart-b").click()
    _confirm(page, "sold out", "Cancel timer now")
    expect(page.get_by_text("Done: cancel timer is version 2")).to_be_visible()
    page.goto(f"/instances/{SAGA}/cart-b/act/fire_timer?timer=patience")
    expect(page.get_by_role("alert")).to_contain_text("not set any more")
    assert office.instance("cart-b", SAGA)["document"]["cause"]["reason"] == "sold out"


def test_the_timers_can_be_read_by_everybody(person: Person, office: Site) -> None:
    _cart(office, "cart-c")
    page = person("otto")
    page.goto("/timers?key=cart-c")
    expect(page.get_by_role("link", name="Fire now: patience of cart-c")).to_be_visible()
    check_everywhere(page)
    page.goto(f"/instances/{SAGA}/cart-c/act/postpone_timer?timer=patience")
    check_everywhere(page)


def test_a_viewer_sees_timers_and_no_links(person: Person, office: Site) -> None:
    _cart(office, "cart-d")
    page = person("vera")
    page.goto("/timers?key=cart-d")
    expect(page.get_by_role("region", name="Timers")).to_contain_text("cart-d")
    expect(page.get_by_role("link", name="Fire now")).to_have_count(0)
