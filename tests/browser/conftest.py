"""Fixtures of the browser tests: one installation a session, pages that refuse to be wrong quietly.

A page that logs an error, breaks a rule of the content security policy or asks another machine for
anything fails its test, whatever the test looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.browser.site import Site
from tests.browser_setup import chromium_path

AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The Chromium that `make test` has found; the sandbox is off since root can't have one."""
    path = chromium_path_cached()
    return {**browser_type_launch_args, "executable_path": path, "args": ["--no-sandbox"]}


def chromium_path_cached() -> str:
    """Where Chromium is; fails with the way to get one."""
    path = chromium_path()
    assert path, "no Chromium; run `python -m tests.browser_setup`"
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The installation that most tests share; each uses keys of its own."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


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


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """A page that fails its test for console errors and for requests that leave the machine."""
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if _leaves(r.url) else None)
    page.expected_errors = []  # type: ignore[attr-defined]  # texts a test provokes on purpose
    yield page
    expected: list[str] = page.expected_errors  # type: ignore[attr-defined]
    left = [text for text in wrong if not any(part in text for part in expected)]
    assert not left, left


def _leaves(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws") and parts.hostname not in ("127.0.0.1", None)


def check_axe(page: Page) -> None:
    """Fail for anything axe calls serious or critical on the page as it is now."""
    page.evaluate(AXE.read_text())
    result = page.evaluate(
        "() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    )
    bad = [
        f"{v['id']} ({v['impact']}): {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
        for v in result["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert not bad, "\n".join(bad)
