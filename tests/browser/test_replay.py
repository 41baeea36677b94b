"""Goal: the what-if pages tell that a history repeats, and what other code would make of a saga;
and what is open stands on the instance.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SIZES, check_axe, check_everywhere
from tests.browser.site import Site


def test_an_order_replays_as_it_was(page: Page, site: Site) -> None:
    key = site.order()
    site.until(key, "completed")
    page.goto(f"/instances/CheckoutSaga/{key}")
    page.get_by_role("link", name="What if").click()
    expect(page.get_by_role("heading", name="What if")).to_be_visible()
    expect(page.get_by_text("All 4 versions would be as they were")).to_be_visible()
    check_everywhere(page)


def test_an_open_order_shows_what_it_waits_for(page: Page, site: Site) -> None:
    key = site.order(simulate="slow")
    site.until(key, "running")
    page.goto(f"/instances/CheckoutSaga/{key}")
    expect(page.get_by_role("region", name="Open")).to_contain_text("process-payment")
    check_axe(page)


APP = """
from sagas import complete, define_saga


def rung(saga, message):
    saga.state["amount"] = min(message.payload["amount"], {limit})


sagas = [
    define_saga("Till")
    .state({{}})
    .on("Rung", rung, starts=True)
    .on("Closed", lambda saga, message: complete())
    .build()
]
"""


@pytest.fixture
def tills(tmp_path: Path) -> Iterator[Site]:
    """Three tills that lived through a limit of 1000, in an installation that now has one of 10."""
    (tmp_path / "tills.py").write_text(APP.format(limit=1000))
    site = Site(tmp_path, "--app", "tills")
    try:
        for key, amount in (("a", 5), ("b", 50), ("c", 500)):
            for type, payload in (("Rung", {"amount": amount}), ("Closed", {})):
                site.post("/sagas/publish", {"type": type, "key": key, "payload": payload})
            site.until(key, "completed", saga="Till")
        (tmp_path / "tills.py").write_text(APP.format(limit=10))
        site.process.stop()
        site.start_again()
        yield site
    finally:
        site.close()


def test_a_saga_is_replayed_through_other_code(page: Page, tills: Site) -> None:
    page.goto(f"{tills.url}/sagas/Till")
    page.get_by_role("link", name="What if: replay all instances").click()
    check_axe(page)
    page.get_by_role("button", name="Replay all instances").click()
    expect(page.get_by_text("2 of 3 instances would differ.")).to_be_visible()
    expect(page.get_by_text("done", exact=True)).to_be_visible()
    kinds = page.get_by_role("region", name="Where they first differ")
    expect(kinds.get_by_role("row")).to_contain_text(["Message", "Rung"])
    for size in SIZES:
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two words
            check_axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size
    listed = page.get_by_role("region", name="Instances that would differ")
    listed.get_by_role("link", name="b", exact=True).click()
    expect(page.get_by_text("2 of 2 versions would differ")).to_be_visible()
    expect(page.get_by_role("region", name="Version 1")).to_contain_text("50")
    page.go_back()
    page.get_by_role("link", name="Till, replays").click()
    expect(page.get_by_role("region", name="Replays")).to_contain_text("loaded here")
