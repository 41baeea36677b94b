"""Publishing, starting and running by hand in the browser, and the pages of sagas, jobs, timers."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import check_axe, check_everywhere
from tests.browser.site import Site
from tests.waiting import eventually_sync

ORDER = '{"orderId": "%s", "customerId": "c-7", "items": [], "total": 4999}'


def test_an_event_is_published_and_its_receipt_leads_to_the_instance(
    page: Page, site: Site
) -> None:
    page.goto("/publish")
    page.get_by_label("Type", exact=True).fill("OrderCreated")
    page.get_by_label("Payload, JSON").fill(ORDER % "published-1")
    page.get_by_label("Ordering key").fill("published-1")
    page.get_by_text("Id and headers").click()
    page.get_by_label("Headers").fill("X-From: a test")
    page.get_by_role("button", name="Publish", exact=True).click()
    receipt = page.get_by_role("region", name="Receipt")
    expect(receipt.get_by_role("link", name="CheckoutSaga")).to_be_visible()
    # The receipt refreshes itself as the order goes on.
    expect(receipt).to_contain_text("completed")
    expect(receipt).to_contain_text("applied")
    expect(page.get_by_label("Payload, JSON")).to_have_value(re.compile('"published-1"'))
    expect(page.get_by_label("Headers")).to_have_value("X-From: a test")
    expect(page.get_by_label("nats pub line")).to_contain_text("saga.events.OrderCreated.published")
    check_axe(page)
    receipt.get_by_role("link", name="published-1").click()
    expect(page.get_by_role("heading", name="published-1")).to_be_visible()


def test_wrong_json_is_shown_at_its_place_and_nothing_is_lost(page: Page, site: Site) -> None:
    page.expected_errors.append("400")  # type: ignore[attr-defined]
    page.goto("/publish?type=OrderCreated")
    page.get_by_label("Payload, JSON").fill('{\n  "orderId": "x",\n  "total": }')
    page.get_by_label("Ordering key").fill("kept")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Line 3, column 12")
    field = page.get_by_label("Payload, JSON")
    expect(field).to_be_focused()
    assert field.evaluate("field => field.selectionStart") == 31
    expect(field).to_have_value('{\n  "orderId": "x",\n  "total": }')
    expect(page.get_by_label("Ordering key")).to_have_value("kept")
    check_axe(page)
    page.get_by_label("Payload, JSON").fill("{}")
    page.get_by_text("Id and headers").click()
    page.get_by_label("Headers").fill("no colon")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("line 1 of the headers has no colon")


def test_an_example_is_filled_in_from_the_schema_then_from_the_last_event(
    page: Page, site: Site
) -> None:
    """Of a type that no other test publishes here."""
    page.goto("/publish")
    page.get_by_label("Type", exact=True).fill("ParcelOrdered")
    page.get_by_label("Ordering key").fill("kept")
    page.get_by_role("button", name="Fill in an example").click()
    expect(page.get_by_text("Made from the schema")).to_be_visible()
    expect(page.get_by_label("Ordering key")).to_have_value("kept")
    body = {"type": "ParcelOrdered", "key": "parcel-e", "payload": {"parcelId": "parcel-e"}}
    seq = site.post("/sagas/publish", body)["seq"]
    listed = "/sagas/events?type=ParcelOrdered"
    eventually_sync(lambda: site.get(listed)["items"], 10.0, "the event is in the lists")
    page.get_by_role("button", name="Fill in an example").click()
    expect(page.get_by_role("link", name=str(seq), exact=True)).to_be_visible()
    expect(page.get_by_label("Payload, JSON")).to_have_value(re.compile("parcel-e"))
    huge = {**body, "payload": {"parcelId": "parcel-e", "note": "long " * 25_000}}
    site.post("/sagas/publish", huge)  # nobody edits this by hand
    eventually_sync(lambda: len(site.get(listed)["items"]) > 1, 10.0, "the large one, too")
    page.get_by_role("button", name="Fill in an example").click()
    expect(page.get_by_text("Made from the schema")).to_be_visible()


def test_a_type_that_nobody_handles_is_said_so(page: Page, site: Site) -> None:
    page.goto("/publish")
    page.get_by_label("Type", exact=True).fill("NobodyKnows")
    page.get_by_label("Payload, JSON").fill("{}")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("region", name="Receipt")).to_contain_text("no saga handles")


def test_a_saga_is_started_from_its_page_and_only_once(page: Page, site: Site) -> None:
    site.until(site.order(), "completed")
    page.goto("/sagas")
    page.get_by_role("link", name="Checkout", exact=True).click()
    expect(page.get_by_role("heading", name="Checkout", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Messages")).to_contain_text("starts an instance")
    expect(page.get_by_role("region", name="Definitions in use")).to_contain_text("registered")
    expect(page.get_by_role("region", name="How they go")).to_contain_text("%")
    check_axe(page)
    page.get_by_role("link", name="Start one").click()
    expect(page.get_by_text("Filled from the last such event")).to_be_visible()
    check_axe(page)
    page.get_by_label(re.compile("Payload of OrderCreated")).fill(ORDER % "started-1")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("heading", name="started-1")).to_be_visible()
    site.until("started-1", "completed")
    page.expected_errors.append("409")  # type: ignore[attr-defined]
    page.goto("/sagas/CheckoutSaga/start")
    page.get_by_label(re.compile("Payload of OrderCreated")).fill(ORDER % "started-1")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("There is such an instance already")
    page.get_by_role("link", name="Look at started-1").click()
    expect(page.get_by_role("heading", name="started-1")).to_be_visible()


def test_the_graph_counts_where_instances_stand_and_leads_to_them(page: Page, site: Site) -> None:
    site.until(site.order(), "completed")
    page.goto("/sagas/CheckoutSaga")
    graph = page.get_by_role("region", name="Where they stand")
    graph.get_by_role("link", name=re.compile("^completed")).click()
    expect(page).to_have_url(re.compile("saga=CheckoutSaga&status=completed"))


def test_a_job_is_run_by_hand_and_its_answer_shown(page: Page, site: Site) -> None:
    site.until(site.order(), "completed")
    page.goto("/jobs")
    page.get_by_role("link", name="process-payment").click()
    expect(page.get_by_role("region", name="Attempts")).to_contain_text("CheckoutSaga")
    page.get_by_role("link", name="Run it by hand").click()
    check_axe(page)
    page.get_by_label("Payload, JSON").fill('{"orderId": "by-hand", "amount": 1}')
    page.get_by_label("Reason").fill("to see whether it works")
    page.get_by_role("button", name="Run").click()
    ran = page.get_by_role("region", name="Run by hand")
    expect(ran).to_contain_text("completed at attempt 1")
    expect(ran.get_by_label("Answer of the job")).to_contain_text("transactionId")
    check_axe(page)


def test_attempts_are_filtered_by_outcome_and_command(page: Page, site: Site) -> None:
    key = site.order(simulate="flaky")
    site.until(key, "completed")
    page.goto("/jobs/process-payment")
    page.get_by_role("navigation", name="Outcome").get_by_role("link", name="retried").click()
    attempts = page.get_by_role("region", name="Attempts")
    expect(attempts.get_by_role("link", name=key).first).to_be_visible()
    assert "outcome=retried" in page.url
    attempts.get_by_role("link", name=re.compile(f"all attempts of .*{key}")).first.click()
    expect(page.get_by_role("link", name=re.compile("show all"))).to_be_visible()
    expect(attempts).to_contain_text("completed")


def test_timers_tell_what_fires_next_and_when_sagas_start_by_themselves(
    page: Page, site: Site
) -> None:
    body = {"type": "CartChanged", "key": "cart-t", "payload": {"cartId": "cart-t"}}
    site.post("/sagas/publish", body)
    site.until("cart-t", "running", saga="CartReminderSaga")
    page.goto("/timers?saga=CartReminderSaga")
    row = page.get_by_role("row", name=re.compile("cart-t"))
    expect(row).to_contain_text(re.compile("in .*(s|min|h|d)"))
    expect(row.get_by_role("link", name="cart-t", exact=True)).to_be_visible()
    schedules = page.get_by_role("region", name="Schedules")
    expect(schedules.get_by_role("link", name="Nightly report")).to_be_visible()
    expect(schedules).to_contain_text("Europe/Berlin")
    expect(schedules.locator("time")).to_have_count(3)


PAGES = (
    "/sagas/CheckoutSaga",
    "/sagas/NightlyReportSaga",
    "/sagas/CheckoutSaga/start",
    "/publish?type=OrderCreated",
    "/jobs/process-payment",
    "/jobs/process-payment/run",
)


@pytest.mark.parametrize("path", PAGES)
def test_pages_read_well_at_any_size_in_light_and_dark(page: Page, site: Site, path: str) -> None:
    site.until(site.order(), "completed")
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    check_everywhere(page)
