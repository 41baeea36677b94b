"""Step lists and workflows in the browser: how each step stands, took and was undone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import check_everywhere
from tests.browser.site import Site

Person = Callable[..., Page]
_numbers = itertools.count(1)


def _hamper(office: Site, *statuses: str, **payload: str) -> str:
    """A hamper that has come to one of these statuses; its key."""
    key = f"hamper-{next(_numbers)}"
    office.post("/sagas/publish", {"type": "Hamper", "key": key, "payload": payload})
    office.until(key, *statuses, saga="Hamper")
    return key


def _box(page: Page, step: str) -> Locator:
    return page.get_by_role("region", name="Flow of the steps").locator(f"a[href='#step-{step}']")


def _row(page: Page, step: str) -> Locator:
    return page.get_by_role("table", name="Steps").locator(f"tr[id='step-{step}']")


def test_an_undone_list_shows_what_each_step_did(person: Person, office: Site) -> None:
    key = _hamper(office, "compensated", ribbon="none")
    page = person("otto")
    page.goto(f"/instances/Hamper/{key}?view=graph")
    flow = page.get_by_role("region", name="Flow of the steps")
    expect(flow).to_contain_text("At the same time: packing")
    expect(flow).to_contain_text("One after the other: cheeses")
    for step, words in {
        "reserve": "done undone",
        "wine": "done undone",
        "brie": "done",
        "tell": "in the background",
        "ribbon": "failed",
    }.items():
        for word in words.split(" ") if "the" not in words else [words]:
            expect(_box(page, step)).to_contain_text(word)
    expect(_box(page, "wine")).to_contain_text("undo 1 of 2")
    expect(_row(page, "ribbon")).to_contain_text("no ribbon")
    expect(_row(page, "brie")).to_contain_text('"packed brie"')
    expect(_row(page, "reserve")).to_contain_text("b-7")
    expect(page.locator("main")).not_to_contain_text("swordfish")
    check_everywhere(page)


def test_the_flow_of_an_earlier_version_and_the_story(person: Person, office: Site) -> None:
    key = _hamper(office, "compensated", ribbon="none")
    page = person("vera")
    page.goto(f"/instances/Hamper/{key}?view=graph&version=2")
    for step, word in {"reserve": "done", "wine": "running", "ribbon": "waiting"}.items():
        expect(_box(page, step)).to_contain_text(word)
    page.goto(f"/instances/Hamper/{key}")
    story = page.get_by_role("region", name="History")
    for words in ("reserve done", "ribbon failed", "undo of wine done", "undo of reserve done"):
        expect(story.get_by_text(words, exact=True)).to_be_visible()
    expect(story).not_to_contain_text("Snorri-Completed")
    expect(page.get_by_role("region", name="Timeline")).to_contain_text("undo of wine")


def test_a_failed_undo_is_seen_where_it_stands_and_seen_to(person: Person, office: Site) -> None:
    key = _hamper(office, "parked", ribbon="none", wine="drunk")
    page = person("otto")
    page.goto(f"/instances/Hamper/{key}?view=graph")
    expect(_box(page, "wine")).to_contain_text("undo failed")
    expect(_row(page, "wine")).to_contain_text("the wine is gone")
    expect(_box(page, "reserve")).to_contain_text("to be undone")
    page.goto("/sagas/Hamper")
    steps = page.get_by_role("region", name="Steps of Hamper")
    expect(steps.get_by_role("link", name="wine")).to_contain_text("1 parked")
    expect(steps.get_by_role("link", name="reserve")).to_contain_text("with an undo")
    check_everywhere(page)
    page.goto(f"/instances/Hamper/{key}")
    page.get_by_role("region", name="Compensation").get_by_role("link", name="Skip").click()
    page.get_by_label("Reason").fill("it was a good one")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Skip now").click()
    expect(page.get_by_text("Done: skip is version")).to_be_visible()
    office.until(key, "compensated", saga="Hamper")
    page.goto(f"/instances/Hamper/{key}?view=graph")
    expect(_box(page, "wine")).to_contain_text("undo skipped")
    expect(_box(page, "reserve")).to_contain_text("undone")


def test_a_workflow_shows_what_it_asked_for(person: Person, office: Site) -> None:
    office.post("/sagas/publish", {"type": "Party", "key": "p-1", "payload": {}})
    office.until("p-1", "running", saga="Party")
    page = person("vera")
    page.goto("/instances/Party/p-1?view=graph")
    expect(_box(page, "sleep")).to_contain_text("running")
    flow = page.get_by_role("region", name="Flow of the steps")
    expect(flow).to_contain_text("At the same time")
    expect(_row(page, "greet-guest#2")).to_contain_text('{"hello": "Bob"}')
    check_everywhere(page)
    page.goto("/sagas/Party")
    steps = page.get_by_role("region", name="Steps of Party")
    expect(steps.get_by_role("link", name="greet-guest")).to_contain_text("Say hello.")


def test_an_admin_sees_secrets_on_record_and_takes_the_history_away(
    person: Person, office: Site, tmp_path: Path
) -> None:
    key = _hamper(office, "completed")
    page = person("otto")
    page.goto(f"/instances/Hamper/{key}?view=raw")
    expect(page.get_by_role("link", name="Show secret fields")).to_have_count(0)
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download all versions").click()
    assert begun.value.suggested_filename == f"Hamper-{key}.json"
    begun.value.save_as(tmp_path / "masked.json")
    versions = json.loads((tmp_path / "masked.json").read_text())
    assert [one["document"]["version"] for one in versions] == list(range(1, len(versions) + 1))
    assert "swordfish" not in (tmp_path / "masked.json").read_text()
    page = person("ada")
    page.goto(f"/instances/Hamper/{key}?view=graph")
    expect(page.locator("main")).not_to_contain_text("swordfish")
    page.get_by_role("link", name="Show secret fields").click()
    expect(page.get_by_text("Secret fields are shown")).to_be_visible()
    expect(_row(page, "reserve")).to_contain_text("swordfish")
    page.get_by_role("link", name="Raw", exact=True).click()
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download all versions").click()
    begun.value.save_as(tmp_path / "whole.json")
    assert "swordfish" in (tmp_path / "whole.json").read_text()
    page.get_by_role("link", name="Hide them").click()
    expect(page.locator("main")).not_to_contain_text("swordfish")
