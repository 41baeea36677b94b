"""Fixtures of the browser tests: one installation a session, pages that refuse to be wrong quietly.

A page that logs an error, breaks a rule of the content security policy, opens a dialog or asks
another machine for anything fails its test, whatever the test looked at.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Playwright, expect

from tests.browser.site import WITH_APPS, Site
from tests.browser_setup import chromium_path
from tests.integration.cli_kit import Snorri
from tests.waiting import eventually_sync

AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
# Only violations are told with their elements: telling all that is well takes most of the time.
AXE_RUN = """async ([runOnly, preload]) =>
    (await axe.run({runOnly, preload, resultTypes: ['violations']})).violations"""
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# For machines that have much else to do; what must be quick is told so by its own test.
expect.set_options(timeout=15_000)

MENU_FITS = "document.querySelector('#menu').open !== matchMedia('(max-width: 1080px)').matches"
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(autouse=True)
def turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Tests that measure time have the machine to themselves (the mark ``alone``): the workers of
    pytest-xdist hold a lock together, and such a test holds it by itself.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    shared = tmp_path_factory.getbasetemp().parent
    alone = request.node.get_closest_marker("alone") is not None
    # Who waits to be alone stands in the door, so that no other test begins meanwhile.
    with (shared / "lock").open("w") as lock, (shared / "door").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], playwright: Playwright
) -> dict[str, Any]:
    """The Chromium that `make test` has found; the sandbox is off since root can't have one."""
    path = chromium_path(playwright)
    assert path, "no Chromium; run `python -m tests.browser_setup`"
    return {**browser_type_launch_args, "executable_path": path, "args": ["--no-sandbox"]}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The installation that most tests share; each uses keys of its own."""
    site = Site(tmp_path_factory.mktemp("site"), *WITH_APPS)
    yield site
    site.close()


PASSWORD = "correct horse battery"
PEOPLE = {"vera": "viewer", "otto": "operator", "ada": "admin"}


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with users (PEOPLE), whose sagas are the samples and those of our apps;
    fields with the name "password" are secret.
    """
    folder = tmp_path_factory.mktemp("office")
    snorri = Snorri(folder, SNORRI_AUTH="access.toml")
    for name, role in PEOPLE.items():
        snorri.run("access", "user", name, "--role", role, "--password-stdin", input=PASSWORD)
    token = snorri.json("access", "token", "tests", "--role", "admin")["token"]
    site = Site(
        folder, *WITH_APPS, token=token, SNORRI_AUTH="access.toml", SNORRI_SECRETS="password"
    )
    yield site
    site.close()


@pytest.fixture(scope="session")
def sessions(browser: Browser, office: Site) -> dict[str, Any]:
    """Everybody of the office logged in once, with the form: what their browsers keep."""
    kept: dict[str, Any] = {}
    for name in PEOPLE:
        context = browser.new_context(base_url=office.url)
        page = context.new_page()
        page.goto("/instances")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Instances", level=1)).to_be_visible()
        kept[name] = context.storage_state()
        context.close()
    return kept


@pytest.fixture
def person(
    browser: Browser, office: Site, sessions: dict[str, Any], guard: Guard
) -> Iterator[Callable[..., Page]]:
    """Opens the office's dashboard for somebody: ``person("otto")``, with other things of a context
    as keywords.
    """
    contexts: list[BrowserContext] = []

    def open(name: str, **more: Any) -> Page:
        width, height = SIZES["desk"]
        context = browser.new_context(
            base_url=office.url,
            storage_state=sessions[name],
            viewport={"width": width, "height": height},
            **more,
        )
        contexts.append(context)
        return guard.watch(context.new_page())

    yield open
    for context in contexts:
        context.close()


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, Any], site: Site) -> dict[str, Any]:
    """Pages open at the shared installation, at a desk's size."""
    width, height = SIZES["desk"]
    return {
        **browser_context_args,
        "base_url": site.url,
        "viewport": {"width": width, "height": height},
        "timezone_id": "Europe/Berlin",
        "permissions": ["clipboard-read", "clipboard-write"],
    }


class Guard:
    """Watches pages for what none may do; a test names the texts it provokes on purpose."""

    def __init__(self) -> None:
        self._wrong: list[tuple[Page, str]] = []

    def watch(self, page: Page) -> Page:
        """The page, watched from now on."""

        def wrong(text: str) -> None:
            self._wrong.append((page, text))

        def dialog(dialog: Dialog) -> None:
            wrong(f"a dialog: {dialog.message}")
            dialog.dismiss()

        page.on("console", lambda m: wrong(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong(str(error)))
        page.on("request", lambda r: wrong(r.url) if _leaves(r.url) else None)
        page.on("dialog", dialog)
        page.expected_errors = []  # type: ignore[attr-defined]
        return page

    def check(self) -> None:
        """Fail for everything that was not expected."""
        left = [
            text
            for page, text in self._wrong
            if not any(part in text for part in page.expected_errors)  # type: ignore[attr-defined]
        ]
        assert not left, left


@pytest.fixture
def guard() -> Iterator[Guard]:
    """For pages that a test opens itself: in other contexts, with other people or no script."""
    guard = Guard()
    yield guard
    guard.check()


@pytest.fixture
def page(page: Page, guard: Guard) -> Page:
    """A page that fails its test for console errors, dialogs and requests that leave the machine.

    ``page.expected_errors`` takes texts that a test provokes on purpose.
    """
    return guard.watch(page)


def _leaves(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws") and parts.hostname not in ("127.0.0.1", None)


def check_axe(page: Page, *, colours: bool = False) -> None:
    """Fail for anything axe calls serious or critical on the page as it is now.

    With ``colours`` only what another theme can change is looked at, which is much faster.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    rules = ["color-contrast"] if colours else AXE_RULES
    violations = page.evaluate(AXE_RUN, [rules, not colours])
    bad = [
        f"{v['id']} ({v['impact']}): {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
        for v in violations
        if v["impact"] in ("serious", "critical")
    ]
    assert not bad, "\n".join([page.url, *bad])


def check_themes(page: Page) -> None:
    """``check_axe`` in light and in dark, on the page as it is loaded."""
    page.emulate_media(color_scheme="light")
    check_axe(page)
    page.emulate_media(color_scheme="dark")
    check_axe(page, colours=True)


def check_everywhere(page: Page) -> None:
    """``check_themes`` at a desk and on a phone, where nothing may make the page scroll sideways;
    ends at a desk's size.
    """
    for width, height in (SIZES["phone"], SIZES["desk"]):
        page.set_viewport_size({"width": width, "height": height})
        # Not page.wait_for_function: it evaluates text in the page, which our policy forbids.
        eventually_sync(lambda: page.evaluate(MENU_FITS), 5.0, "the menu to take its form")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{page.url} scrolls sideways at {width} px"
        )
        check_themes(page)
