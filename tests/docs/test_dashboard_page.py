"""Goal: the page on the dashboard names every page that there is, every key, and pictures that are
there and small.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.screenshots import BYTES_MAX, IMAGES, PICTURES
from ui.app import PAGES
from ui.render import NAV, STATIC

PAGE = Path(__file__).parents[2] / "docs" / "dashboard.md"


def test_every_page_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first = {f"/{path.split('/')[1]}" for one in PAGES for path in one.paths}
    first -= {"/replays"}  # what a replay of /sagas/SAGA/replay leads to
    assert [path for path in sorted(first) if not re.search(rf"`{path}[`/?]", text)] == []


def test_every_key_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Keys")[1]
    handled = re.findall(r'^    "(.)": \(\)', (STATIC / "app.js").read_text(), re.MULTILINE)
    assert [key for key in handled if f"`{key}`" not in text] == []
    assert [
        item.key for item in NAV if f"`{item.key}` {item.label.lower()}" not in text.lower()
    ] == []


def test_pictures_are_there_and_small() -> None:
    for picture in PICTURES:
        assert (IMAGES / f"{picture.name}.png").stat().st_size <= BYTES_MAX, picture.name
    for page in (PAGE, PAGE.parents[1] / "README.md"):
        for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"
