"""Questions in SQL: asked, shown as table and chart, completed, kept, taken away, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SIZES, check_axe, check_themes
from tests.browser.site import Site

COUNTS = "SELECT status, count(*) AS orders FROM instances GROUP BY status"


def test_a_question_is_asked_with_the_keyboard_and_stands_in_the_address(
    page: Page, site: Site
) -> None:
    key = site.order(total=4321)
    site.until(key, "completed")
    page.goto("/sql")
    query = page.get_by_role("textbox", name="Query")
    query.fill(f"SELECT saga, key, version, state\nFROM instances\nWHERE key = '{key}'")
    query.press("Control+Enter")
    rows = page.get_by_role("region", name="Rows")
    expect(rows.get_by_role("link", name=key, exact=True)).to_be_visible()
    assert "/sql?sql=SELECT+saga" in page.url
    rows.get_by_text(re.compile('"orderId"')).first.click()
    expect(rows.get_by_text(re.compile('"total": 4321'))).to_be_visible()
    rows.get_by_role("link", name=key, exact=True).click()
    expect(page.get_by_role("heading", name=key)).to_be_visible()
    page.go_back()
    expect(query).to_have_value(re.compile(f"WHERE key = '{key}'"))


@pytest.mark.parametrize("size", SIZES)
def test_samples_and_their_charts_are_for_everybody(page: Page, site: Site, size: str) -> None:
    site.until(site.order(), "completed")
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.goto("/sql")
    check_themes(page)
    page.get_by_role("link", name="Funnel by status").click()
    # other tests' sagas may be completed, too: a row each
    completed = page.get_by_role("region", name="Rows").get_by_text("completed")
    expect(completed.first).to_be_visible()
    check_themes(page)
    page.get_by_role("button", name="Chart", exact=True).click()
    page.get_by_label("Up").select_option("percent")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("img", name=re.compile("percent by saga"))).to_be_visible()
    check_themes(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_mistake_is_shown_at_its_place(page: Page, site: Site) -> None:
    page.expected_errors.append("400")  # type: ignore[attr-defined]
    page.goto("/sql")
    query = page.get_by_role("textbox", name="Query")
    query.fill("SELECT '🙂' AS face,\n  nothing\nFROM instances")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text('"nothing" not found')
    expect(page.get_by_label("Line 2, column 3")).to_be_visible()
    marked = query.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)")
    assert marked == "nothing"
    check_axe(page)
    query.fill("DROP TABLE instances")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_be_visible()
    query.fill("SELECT $saga AS saga")
    page.get_by_text("Parameters").click()
    page.get_by_label("Values for").fill("saga=CheckoutSaga")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("no JSON object")
    page.get_by_label("Values for").fill('{"saga": "CheckoutSaga"}')
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Rows")).to_contain_text("CheckoutSaga")


def test_tables_and_columns_are_completed(page: Page, site: Site) -> None:
    page.goto("/sql")
    query = page.get_by_role("textbox", name="Query")
    query.press_sequentially("SELECT count(*) FROM ins")
    expect(page.get_by_role("option", name=re.compile("instances"))).to_be_visible()
    query.press("Tab")
    query.press_sequentially(" WHERE own")
    expect(page.get_by_role("option", name=re.compile("own_status"))).to_be_visible()
    check_axe(page)
    query.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(query).to_be_focused()
    query.press("Control+Space")
    query.press("ArrowDown")
    query.press("ArrowUp")
    query.press("Enter")
    expect(query).to_have_value("SELECT count(*) FROM instances WHERE own_status")


def test_rows_are_sorted_and_queries_kept_in_this_browser(page: Page, site: Site) -> None:
    page.goto("/sql")
    query = page.get_by_role("textbox", name="Query")
    query.fill("SELECT * FROM (VALUES (10, 'b'), (9, 'c'), (NULL, 'a')) AS t(n, name)")
    page.get_by_role("button", name="Run").click()
    names = page.get_by_role("region", name="Rows").locator("tbody td:last-child")
    page.get_by_role("button", name="n", exact=True).click()
    expect(names).to_have_text(["c", "b", "a"])
    page.get_by_role("button", name="n", exact=True).click()
    expect(names).to_have_text(["b", "c", "a"])
    page.get_by_label("Name", exact=True).fill("numbers <b>")
    page.get_by_role("button", name="Save in this browser").click()
    page.goto("/sql")
    page.get_by_text("Saved queries").click()
    page.get_by_role("link", name="numbers <b>").click()
    expect(names).to_have_text(["b", "c", "a"])
    page.get_by_text("Saved queries").click()
    page.get_by_role("button", name="Remove numbers <b>").click()
    expect(page.get_by_role("link", name="numbers <b>")).to_have_count(0)


def test_everything_is_asked_and_taken_away_without_script(browser: Browser, site: Site) -> None:
    site.until(site.order(), "completed")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/sql")
    page.get_by_role("textbox", name="Query").fill(COUNTS)
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Rows")).to_contain_text("completed")
    page.get_by_role("button", name="Chart", exact=True).click()
    expect(page.get_by_role("img", name=re.compile("orders by status"))).to_be_visible()
    starts = {"csv": b"status,orders\r\n", "parquet": b"PAR1", "arrow": b"\xff\xff"}
    for kind, start in starts.items():
        with page.expect_download() as begun:
            page.get_by_role("button", name=f"Download {kind}").click()
        assert begun.value.suggested_filename == f"query.{kind}"
        assert Path(begun.value.path()).read_bytes().startswith(start)
    context.close()


def test_a_query_too_long_for_an_address_is_answered_all_the_same(page: Page, site: Site) -> None:
    page.goto("/sql")
    long = "SELECT 1 AS one, " + ", ".join(f"{n} AS c{n}" for n in range(1500))
    page.get_by_role("textbox", name="Query").fill(f"SELECT one FROM ({long})")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="1 row", exact=True)).to_be_visible()
    assert page.url.endswith("/sql")


def test_values_are_text_and_never_markup(page: Page, site: Site) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202etxt 🙂 " + "<script>" * 20
    page.goto("/sql")
    page.get_by_role("textbox", name="Query").fill('SELECT $value AS "<b>name</b>", 1 AS n')
    page.get_by_text("Parameters").click()
    page.get_by_label("Values for").fill(json.dumps({"value": hostile}))
    page.get_by_role("button", name="Run").click()
    cell = page.get_by_role("region", name="Rows").locator("tbody td").first
    expect(cell).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.get_by_role("button", name="<b>name</b>")).to_be_visible()
    assert page.locator("td img, th b").count() == 0
    page.get_by_role("button", name="Chart", exact=True).click()
    expect(page.get_by_role("img", name="n by <b>name</b>")).to_be_visible()
