"""Goal: who may only look sees nothing to press, and what they send all the same is refused.

Method: a viewer walks from page to page over the links until every page of the table of routes has
been seen; then the routes of pages that ask for more are called from the viewer's own browser, with
a token that is right. An operator does not get the admin's pages either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.access_kit import matrix
from tests.browser.conftest import PASSWORD, SIZES, Guard, check_axe
from tests.browser.site import Site
from tests.waiting import eventually_sync

SAGA = "ParcelSaga"
Person = Callable[..., Page]

PAGES = [
    (method, path, role)
    for method, path, role in matrix()
    if not path.startswith(("/api/", "/static/", "/schema", "/health/", "/version", "/metrics"))
]
# What viewers send: their questions in SQL, and the end of their session.
FREE = {("POST", path) for method, path, role in PAGES if method == "POST" and role == "viewer"}
# The search leads on, and the others need something that was done in bulk.
FILES = {f"/instances/{{saga:str}}/{{key:str}}/{name}" for name in ("document", "history.json")}
UNSEEN = {"/find", "/find/suggestions", "/bulk", "/bulk/{id:str}", "/replays/{id:str}"}

ROUTES = """() => [
  ...[...document.querySelectorAll("main a[href], header a[href]")].map(
    a => ["GET", new URL(a.getAttribute("href"), location).href]),
  ...[...document.querySelectorAll("form")].map(f => [
    (f.getAttribute("method") || "get").toUpperCase(),
    new URL(f.getAttribute("action") || "", location).href,
  ]),
]"""
SEND = """async ([method, url]) => (await fetch(url, {method, redirect: "manual", headers: {
  "X-CSRFToken": document.body.dataset.csrf, "Accept": "text/html"}})).status"""


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))


PATTERNS = [(method, path, _pattern(path), role) for method, path, role in PAGES]


def _route(method: str, url: str) -> tuple[str, str] | None:
    """The route that a link or a form leads to, and the role it asks for."""
    path = urlsplit(url).path
    fits = [
        (one, role) for how, one, form, role in PATTERNS if how == method and form.fullmatch(path)
    ]
    return min(fits, key=lambda fit: fit[0].count("{")) if fits else None


def _something_of_everything(office: Site) -> None:
    """A parked parcel, a dead letter, a message that nobody handles."""
    office.until(office.parcel(card="expired"), "parked", saga=SAGA)
    for type, payload in (("ParcelOrdered", {"parcelId": 7}), ("ParcelPainted", {"parcelId": "p"})):
        office.post("/sagas/publish", {"type": type, "key": "p", "payload": payload})
    eventually_sync(lambda: office.get("/sagas/dead-letters")["items"], 20.0, "the dead letter")
    eventually_sync(lambda: office.get("/sagas/events/unmatched")["items"], 20.0, "the event")


def test_a_viewer_finds_nothing_to_press_on_any_page(person: Person, office: Site) -> None:
    _something_of_everything(office)
    page = person("vera")
    open, seen = ["/", "/failures/dead-letters", "/events"], set[str]()
    while open:
        url = open.pop()
        found = _route("GET", url)
        if found is None or found[0] in seen:
            continue
        seen.add(found[0])
        page.goto(url)
        for method, target in page.evaluate(ROUTES):
            route = _route(method, target)
            if route is None:
                continue
            path, role = route
            assert role in ("viewer", "public"), f"{url} leads a viewer to {method} {target}"
            assert method == "GET" or (method, path) in FREE, f"{url} sends {method} {target}"
            open.append(target)
    pages = {path for method, path, role in PAGES if method == "GET" and role == "viewer"}
    assert pages - seen <= UNSEEN | FILES


def test_the_server_refuses_a_viewer_whatever_the_browser_sends(
    person: Person, office: Site
) -> None:
    page = person("vera")
    page.goto("/")
    page.expected_errors.append("403")  # type: ignore[attr-defined]
    for method, path, role in PAGES:
        if role in ("operator", "admin"):
            url = re.sub(r"\{[^}]*\}", "1", path)
            assert page.evaluate(SEND, [method, url]) == 403, f"{method} {url}"
    page.goto(f"/instances/{SAGA}/x/act/cancel")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("main")).to_contain_text("operator")
    check_axe(page)


def test_an_operator_acts_and_only_an_admin_rebuilds(person: Person, office: Site) -> None:
    page = person("otto")
    page.goto("/system")
    expect(page.get_by_role("button", name="Build the projections anew")).to_have_count(0)
    page.expected_errors.append("403")  # type: ignore[attr-defined]
    assert page.evaluate(SEND, ["POST", "/system/rebuild"]) == 403
    page = person("ada")
    page.goto("/system")
    expect(page.get_by_role("button", name="Build the projections anew")).to_be_visible()
    expect(page.get_by_label("Broker")).to_contain_text("nats-server 2.")
    streams = page.get_by_label("Streams").get_by_role("row")
    expect(streams.filter(has_text="SAGA_EVENTS")).to_contain_text("file")
    readers = page.get_by_label("Consumers").get_by_role("row")
    expect(readers.filter(has_text="job-process-payment")).to_contain_text("KV_SAGA")


def test_a_form_of_another_session_is_refused_and_its_text_kept(
    person: Person, office: Site
) -> None:
    page, key = person("otto"), office.parcel(hold=True)
    office.until(key, "running", saga=SAGA)
    address = f"/instances/{SAGA}/{key}/act/pause"
    page.goto(address)
    page.get_by_label("Reason").fill("so much to type again")
    page.evaluate(
        "document.querySelectorAll('main [name=_csrf_token]').forEach(e => { e.value = 'old' })"
    )
    page.expected_errors.append("403")  # type: ignore[attr-defined]
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was done")
    typed = page.get_by_role("region", name="What you had typed")
    expect(typed.get_by_label("Reason", exact=True)).to_have_value("so much to type again")
    expect(page.locator("main")).not_to_contain_text("csrf")
    check_axe(page)
    page.get_by_role("link", name="Open it again").click()
    page.get_by_label("Reason").fill("typed again")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_be_visible()
    assert office.instance(key, SAGA)["document"]["version"] == 1


def test_a_form_takes_what_the_broker_takes_and_says_when_it_is_more(
    person: Person, office: Site
) -> None:
    seq = office.post("/sagas/publish", {"type": "Large", "key": "l-1", "payload": {"a": 1}})["seq"]
    page = person("otto")

    def send(payload: str) -> None:
        page.goto(f"/events/{seq}/resend")
        page.get_by_label("Payload").evaluate("(field, text) => { field.value = text }", payload)
        page.get_by_label("Reason").fill("all of it")
        page.get_by_role("button", name="Send again").click()

    send(json.dumps({"text": '"' * 300_000}))  # 600 kB, 1.8 MB in a form
    expect(page.locator("main").get_by_role("status")).to_contain_text("was sent again")
    page.expected_errors += ["409", "413"]  # type: ignore[attr-defined]
    send(json.dumps({"text": "x" * 1_100_000}))
    expect(page.get_by_role("alert")).to_contain_text("store the data elsewhere")
    send(json.dumps({"text": "ä" * 900_000}))  # 5.4 MB
    expect(page.get_by_role("alert")).to_contain_text("Store large data elsewhere")


def test_somebody_logs_in_where_they_wanted_to_go_and_out_again(
    browser: Browser, office: Site, guard: Guard
) -> None:
    width, height = SIZES["phone"]
    context = browser.new_context(
        base_url=office.url, viewport={"width": width, "height": height}, color_scheme="dark"
    )
    page = guard.watch(context.new_page())
    page.expected_errors.append("401")  # type: ignore[attr-defined]
    page.goto("/timers?")
    check_axe(page)
    _log_in(page, "vera", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    _log_in(page, "vera", PASSWORD)
    expect(page.get_by_role("heading", name="Timers", level=1)).to_be_visible()
    assert urlsplit(page.url).path == "/timers"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto("/system")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    context.close()


def _log_in(page: Page, name: str, password: str) -> Any:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
