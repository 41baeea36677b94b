"""Which browser the tests take: the named one, Playwright's own, one on PATH; a shell first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.browser_setup import chromium_path

SHELL = "chrome-headless-shell"


def _executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return str(path)


def test_what_is_named_goes_first_and_a_shell_before_a_whole_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin, kept = tmp_path / "bin", tmp_path / "ms-playwright"
    monkeypatch.setenv("PATH", str(bin))
    monkeypatch.delenv("SNORRI_CHROMIUM", raising=False)
    own = kept / "chromium-1255" / "chrome-linux64" / "chrome"
    playwright: Any = SimpleNamespace(chromium=SimpleNamespace(executable_path=str(own)))
    assert chromium_path(playwright) is None
    # of another Playwright, so never taken
    _executable(kept / "chromium_headless_shell-1200" / "chrome-headless-shell-linux64" / SHELL)
    for path in (
        bin / "chromium",
        bin / "chromium-headless-shell",
        own,
        kept / "chromium_headless_shell-1255" / "chrome-headless-shell-linux64" / SHELL,
    ):
        expected = _executable(path)
        assert chromium_path(playwright) == expected
    monkeypatch.setenv("SNORRI_CHROMIUM", _executable(tmp_path / "mine"))
    assert chromium_path(playwright) == str(tmp_path / "mine")
    monkeypatch.setenv("SNORRI_CHROMIUM", str(tmp_path / "gone"))
    assert chromium_path(playwright) is None
