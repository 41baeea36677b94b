"""Failures in the browser: found by their cause, told apart, put right one by one or in waves.

Each test breaks a printer of its own, and so has a cause of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import check_axe, check_everywhere
from tests.browser.site import Site
from tests.waiting import eventually_sync

BROKEN = "print-card"
SAGA = "MemberSaga"
Person = Callable[..., Page]


def _parked_members(site: Site, printer: str, many: int) -> list[str]:
    """Members whose job has given up, so that they are parked."""
    keys = [f"member-{printer}-{number}" for number in range(many)]
    for key in keys:
        payload = {"memberId": key, "simulate": "broken", "printer": printer}
        _publish(site, "MemberJoined", payload, key)
    for key in keys:
        site.until(key, "parked", saga=SAGA)
    return keys


def _publish(site: Site, type: str, payload: object, key: str) -> int:
    receipt = site.post("/sagas/publish", {"type": type, "key": key, "payload": payload})
    return int(receipt["seq"])


def _letter(site: Site, key: str, status: str = "open") -> dict[str, Any]:
    """The dead letter for a key, once the lists have it with this status."""

    def look() -> Any:
        items = site.get(f"/sagas/dead-letters?status={status}&key={key}")["items"]
        return items[0] if items else None

    found: dict[str, Any] = eventually_sync(look, 20.0, f"a dead letter for {key} that is {status}")
    return found


def _cause(page: Page, printer: str) -> Locator:
    """A cause in the list of them."""
    return page.get_by_role("region", name=re.compile(f"the {printer} printer never works"))


def _open_cause(page: Page, printer: str) -> None:
    page.goto("/failures")
    expect(_cause(page, printer)).to_contain_text(re.compile(rf"\d open.*{BROKEN}", re.S))
    _cause(page, printer).get_by_role("heading").get_by_role("link").click()


def test_a_note_tells_the_next_one_what_it_is(page: Page, site: Site) -> None:
    [key] = _parked_members(site, "noted", 1)
    _open_cause(page, "noted")
    expect(page.get_by_role("link", name=key, exact=True)).to_be_visible()
    page.get_by_text("Write a note").click()
    page.get_by_label("Note for whoever sees this next").fill("<b>the form</b> asks for it")
    page.get_by_role("button", name="Keep the note").click()
    expect(page.get_by_text("The note is kept.")).to_be_visible()
    expect(page.get_by_role("region", name="Note")).to_contain_text("<b>the form</b> asks for it")
    page.goto("/failures")
    expect(_cause(page, "noted")).to_contain_text("<b>the form</b> asks for it")


def test_one_is_retried_with_another_payload(page: Page, site: Site) -> None:
    [key] = _parked_members(site, "mended", 1)
    _open_cause(page, "mended")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=key, exact=True))
    row.get_by_role("link", name="retry or edit").click()
    payload = page.get_by_label("Payload, edit it where it was wrong")
    expect(payload).to_have_value(re.compile('"simulate": "broken"'))
    payload.fill(f'{{"memberId": "{key}", "simulate": ""}}')
    page.get_by_label("Reason").fill("it was a test")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_text("Done: retry is version")).to_be_visible()
    site.until(key, "completed", saga=SAGA)


def test_chosen_ones_are_cancelled_after_the_number_is_typed(page: Page, site: Site) -> None:
    chosen, other = _parked_members(site, "shared", 2)
    _open_cause(page, "shared")
    page.get_by_role("checkbox", name=f"Choose {chosen}", exact=True).check()
    page.get_by_role("button", name="Cancel …").click()
    expect(page.get_by_role("heading", name="Cancel 1 instance")).to_be_visible()
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("1 would take it")
    expect(preview.get_by_role("link", name=chosen)).to_be_visible()
    check_axe(page)
    page.get_by_label("Reason").fill("nobody misses them")
    page.get_by_label("Type 1 to confirm").fill("2")
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Cancel 1 now").click()
    expect(page.get_by_role("alert")).to_contain_text("type 1 to confirm")
    page.get_by_label("Type 1 to confirm").fill("1")
    page.get_by_role("button", name="Cancel 1 now").click()
    expect(page.get_by_text("All 1 took it.")).to_be_visible()
    site.until(chosen, "cancelled", saga=SAGA)
    assert site.instance(other, SAGA)["document"]["status"] == "parked"


def test_a_wave_stops_by_itself_while_they_fail_again(page: Page, site: Site) -> None:
    keys = _parked_members(site, "hopeless", 2)
    _open_cause(page, "hopeless")
    page.get_by_role("button", name="Retry …").click()
    expect(page.get_by_role("heading", name="Retry 2 instances")).to_be_visible()
    page.get_by_label("Reason").fill("is it over?")
    page.get_by_label("Stop when so many were refused or failed again").fill("1")
    page.get_by_label("Type 2 to confirm").fill("2")
    page.get_by_role("button", name="Retry 2 now").click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible(timeout=45_000)
    expect(page.get_by_role("region", name="Refused")).to_contain_text("failed again")
    check_axe(page)
    for key in keys:
        site.until(key, "parked", saga=SAGA)


def test_a_dead_letter_is_corrected_and_sent_again(page: Page, site: Site) -> None:
    payload = {"orderId": "letter-1", "customerId": 7, "items": [], "total": 10}
    _publish(site, "OrderCreated", payload, "letter-1")
    _letter(site, "letter-1")
    page.goto("/failures/dead-letters?key=letter-1")
    expect(page.get_by_role("row").nth(1)).to_contain_text("its payload does not fit")
    check_axe(page)
    page.get_by_role("link", name="OrderCreated").click()
    check_axe(page)
    again = page.get_by_role("form", name="Send again")
    again.get_by_label("Payload").fill('{"orderId": "letter-1", "customerId": ')
    again.get_by_label("Reason").fill("a number where a text belongs")
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    again.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("alert")).to_contain_text("the payload is not JSON")
    whole = '{"orderId": "letter-1", "customerId": "7", "items": [], "total": 10}'
    again.get_by_label("Payload").fill(whole)
    again.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("was sent again: this is it")).to_be_visible()
    expect(page.get_by_role("region", name="What it led to")).to_contain_text("CheckoutSaga")
    site.until("letter-1", "completed")
    _letter(site, "letter-1", "redriven")
    page.goto("/failures/dead-letters?status=redriven&key=letter-1")
    expect(page.get_by_role("row").nth(1)).to_contain_text("a number where a text belongs")


def test_a_dead_letter_is_put_aside_and_put_back(page: Page, site: Site) -> None:
    payload = {"orderId": "letter-2", "customerId": 7, "items": [], "total": 10}
    _publish(site, "OrderCreated", payload, "letter-2")
    letter = _letter(site, "letter-2")
    page.goto(f"/failures/dead-letters/{letter['id']}")
    aside = page.get_by_role("form", name="Put aside")
    aside.get_by_label("Reason").fill("ordered twice")
    aside.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("Done: discard.")).to_be_visible()
    expect(page.get_by_role("region", name="Why")).to_contain_text("ordered twice")
    page.get_by_label("Reason").fill("it was not")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("Done: restore.")).to_be_visible()
    assert _letter(site, "letter-2")["status"] == "open"


def test_dead_letters_of_one_cause_are_discarded_together(page: Page, site: Site) -> None:
    ids: list[str] = []
    for key in ("letter-3", "letter-4"):
        payload = {"orderId": key, "customerId": "c", "items": [], "total": "much"}
        _publish(site, "OrderCreated", payload, key)
        ids.append(_letter(site, key)["id"])
    page.goto("/failures")
    cause = page.get_by_role("region").filter(has_text="letter-4")
    cause.get_by_role("heading").get_by_role("link").click()
    for id in ids:
        page.get_by_role("checkbox", name=f"Choose {id}").check()
    page.get_by_role("button", name="Discard …").click()
    expect(page.get_by_role("heading", name="Discard 2 dead letters")).to_be_visible()
    page.get_by_label("Reason").fill("tests of a shop")
    page.get_by_label("Type 2 to confirm").fill("2")
    page.get_by_role("button", name="Discard 2 now").click()
    expect(page.get_by_text("All 2 took it.")).to_be_visible()
    for key in ("letter-3", "letter-4"):
        assert _letter(site, key, "discarded")["note"] == "tests of a shop"


def test_a_message_nobody_handles_is_found_and_sent_as_another(page: Page, site: Site) -> None:
    payload = {"orderId": "event-1", "customerId": "c", "items": [], "total": 10}
    seq = _publish(site, "OrderMade", payload, "event-1")
    eventually_sync(
        lambda: site.get("/sagas/events?type=OrderMade&outcome=no_saga")["items"],
        20.0,
        "the lists have the event",
    )
    page.goto("/events/unmatched")
    row = page.get_by_role("row").filter(has_text="OrderMade")
    expect(row).to_contain_text("no saga handles 'OrderMade'")
    check_axe(page)
    row.get_by_role("link", name=str(seq)).click()
    expect(page.get_by_role("region", name="What happened")).to_contain_text("No saga handles")
    check_axe(page)
    page.get_by_role("link", name="Send again").click()
    expect(page.get_by_text("No saga handles OrderMade; choose another")).to_be_visible()
    check_axe(page)
    page.get_by_label("Type", exact=True).fill("OrderCreated")
    page.get_by_label("Reason").fill("the shop has renamed it")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text(f"Event {seq} was sent again: this is it.")).to_be_visible()
    expect(page.get_by_role("link", name="CheckoutSaga / event-1").first).to_be_visible()
    site.until("event-1", "completed")


def test_an_event_is_given_to_one_instance_once(page: Page, site: Site) -> None:
    seq = _publish(site, "UserRegistered", {"userId": "given-1"}, "given-1")
    site.until("given-1", "completed", saga="user-settings-saga")
    page.goto(f"/events/{seq}/attach")
    page.get_by_label("Key of the instance").fill("given-2")
    page.get_by_label("Reason").fill("the same person under another key")
    check_axe(page)
    page.get_by_role("button", name="Give it to the instance").click()
    expect(page.get_by_role("heading", name="given-2")).to_be_visible()
    site.until("given-2", "completed", saga="user-settings-saga")
    page.goto(f"/events/{seq}/attach?saga=user-settings-saga&key=given-2")
    page.get_by_label("Reason").fill("once more")
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Give it to the instance").click()
    expect(page.get_by_role("alert")).to_contain_text(f"took event {seq} before")


def test_an_event_tells_all_it_led_to(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/events?key={key}&type=OrderCreated")
    page.get_by_role("row").nth(1).get_by_role("link").click()
    tree = page.get_by_role("region", name="What it led to")
    for text in ("process-payment", "attempt 1 completed", "PaymentCompleted", "reserve-inventory"):
        expect(tree).to_contain_text(text)
    expect(page.get_by_role("region", name="What happened")).to_contain_text(
        f"It changed CheckoutSaga/{key}."
    )


LISTS = ("/failures", "/failures/dead-letters", "/events", "/events/unmatched")


@pytest.mark.parametrize("path", LISTS)
def test_the_lists_can_be_read_by_everybody(page: Page, site: Site, path: str) -> None:
    _parked_members(site, f"listed{path.replace('/', '-')}", 1)
    page.goto(path)
    expect(page.get_by_role("navigation", name="Failures")).to_be_visible()
    check_everywhere(page)


def test_a_cause_can_be_read_by_everybody(page: Page, site: Site) -> None:
    _parked_members(site, "public", 1)
    _open_cause(page, "public")
    expect(page.get_by_role("form", name="Failures of this cause")).to_be_visible()
    check_everywhere(page)


def test_secrets_that_were_not_shown_survive_an_edited_retry(person: Person, office: Site) -> None:
    key = "member-secret"
    payload = {
        "memberId": key,
        "password": "correct horse",
        "simulate": "broken",
        "printer": "safe",
    }
    _publish(office, "MemberJoined", payload, key)
    office.until(key, "parked", saga=SAGA)
    page = person("otto")
    page.goto(f"/instances/{SAGA}/{key}/act/retry")
    field = page.get_by_label("Payload, edit it where it was wrong")
    shown = field.input_value()
    assert "correct horse" not in shown
    field.fill(shown.replace("broken", "mended"))
    page.get_by_label("Reason").fill("it was a test")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_text("Done: retry is version")).to_be_visible()
    office.until(key, "completed", saga=SAGA)
    [retried] = [
        one
        for one in office.get(f"/sagas/instances/{SAGA}/{key}/transitions?unmask=true")["items"]
        if "mended" in str(one["effects"])
    ]
    assert "correct horse" in str(retried["effects"])
