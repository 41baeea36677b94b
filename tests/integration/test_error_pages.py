"""Errors in a browser are pages with the next step; programs get problem documents as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api_kit import open_api

HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.mark.asyncio
async def test_a_browser_gets_a_page_and_a_program_a_document(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        for path, status in (("/nowhere", 404), ("/timers?status=bogus", 400)):
            page = await api.http.get(path, headers=HTML)
            assert page.status_code == status
            assert page.headers["content-type"].startswith("text/html")
            assert "Overview" in page.text
            assert "Traceback" not in page.text
        await api.get("/nowhere", status=404)
        route = await api.http.get("/api/v1/nowhere", headers=HTML)
        assert route.headers["content-type"].startswith("application/problem+json")


@pytest.mark.asyncio
async def test_what_never_changes_is_cached_and_pages_are_not(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        style = await api.http.get("/static/app.css")
        assert "immutable" in style.headers["cache-control"]
        page = await api.http.get("/", headers=HTML)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-encoding"] == "gzip"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
