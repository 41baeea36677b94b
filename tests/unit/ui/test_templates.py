"""Rules that keep payloads from becoming markup, held on the text of every template and script.

The content security policy forbids inline scripts and styles as well; these tests say it earlier
and with a line number.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from ui.render import ENVIRONMENT, NAV, STATIC

TEMPLATES = Path(__file__).parents[3] / "ui" / "templates"
ALL = sorted(TEMPLATES.rglob("*.html"))
FORBIDDEN = {
    "a value marked as safe": re.compile(r"\|\s*safe\b|Markup\("),
    "an inline event handler": re.compile(r"<[^>]*\son[a-z]+\s*=\s*['\"]"),
    "hx-on or a script in hx-vals": re.compile(r"hx-on|hx-vals\s*=\s*['\"]\s*(js|javascript):"),
    "an inline style": re.compile(r"<[^>]*\sstyle\s*="),
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)"),
    "an unquoted attribute with a value of ours": re.compile(r"<[^>]*\s[\w-]+=\{\{"),
    "an address on another machine": re.compile(r"(?:src|href|action)=[\"'](?:https?:)?//"),
}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_templates_never_make_markup_of_values(path: Path) -> None:
    text = path.read_text()
    found = [name for name, pattern in FORBIDDEN.items() if pattern.search(text)]
    assert not found, f"{path.name} has {', '.join(found)}"
    ENVIRONMENT.get_template(path.relative_to(TEMPLATES).as_posix())


def test_the_patterns_see_what_they_forbid() -> None:
    planted = (
        "{{ x | safe }}",
        '<a onclick="x">',
        '<a hx-on:click="x">',
        '<p style="x">',
        "<script>1</script>",
        "<a href={{ x }}>",
        '<script src="https://cdn.example/x.js">',
    )
    for (name, pattern), text in zip(FORBIDDEN.items(), planted, strict=True):
        assert pattern.search(text), name


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_scripts_write_text_not_markup(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|eval\(", text)


def test_every_shortcut_is_in_the_list_people_see() -> None:
    handled = set(re.findall(r'^    "(.)": \(\)', (STATIC / "app.js").read_text(), re.MULTILINE))
    listed = (TEMPLATES / "_keys.html").read_text()
    assert handled == {key for key in handled if f"<kbd>{key}</kbd>" in listed}
    assert len({item.key for item in NAV}) == len(NAV)


def test_files_of_others_are_what_their_list_says() -> None:
    vendor = STATIC / "vendor"
    rows = re.findall(
        r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (vendor / "README.md").read_text(), re.M
    )
    assert {name for name, _ in rows} == {path.name for path in vendor.glob("*.js")}
    for name, digest in rows:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
