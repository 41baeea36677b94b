"""Goal: the page of an instance with a long history shows a part of it and reaches all, whole
documents and whole histories can be had, and secrets are shown to admins who ask, on record.

Method: instances on the memory broker with a real engine; pages are read as a browser without
script would.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Struct

from sagas import Message, SagaHandle, Secret, define_saga, spawn
from tests.access_kit import TOKENS, open_guarded
from tests.api_kit import Api, open_api
from ui.stretch import VERSIONS_MAX

pytestmark = pytest.mark.asyncio


class _Card(Struct):
    number: Annotated[str, Secret] = ""
    count: int = 0
    text: str = ""


def _note(saga: SagaHandle[_Card], message: Message[_Card]) -> None:
    count = saga.state.count + 1
    saga.state = _Card(message.payload.number, count, message.payload.text)


NOTES = define_saga("Notes").state(_Card()).on("Note", _note).build()
PATH = "/instances/Notes/n-1"


async def _versions(api: Api, count: int, **payload: Any) -> None:
    for number in range(count):
        await api.publish("Note", {"number": "4000-1", **payload}, "n-1", id=f"n{number}")
    await api.decided()


async def _text(api: Api, path: str, **query: Any) -> str:
    answer = await api.http.get(path, params=query, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_long_history_is_shown_in_part_and_reached_whole(tmp_path: Path) -> None:
    total = VERSIONS_MAX + 60
    async with open_api(tmp_path, worker=False, sagas=(NOTES,)) as api:
        await _versions(api, total)
        for version in (1, 2, 30, total // 2, total - 1, total):
            page = await _text(api, PATH, version=version)
            assert f"Version {version} of {total}" in page
            assert f"{total - VERSIONS_MAX} other versions are not drawn" in page
            shown = page.split('aria-label="History"')[1]
            assert len(re.findall("<tr data-row", shown)) == VERSIONS_MAX
            changed = re.search(r'class="path">count</td>.*?<bdi>(\d+)</bdi></del>', page, re.S)
            assert version == 1 or (changed and int(changed[1]) == version - 1)
            for view in ("graph", "sequence", "messages", "raw"):
                await _text(api, PATH, version=version, view=view)
        beyond = await _text(api, PATH, version=total + 1)
        assert f"Version {total} of {total}" in beyond
        one = json.loads(await _text(api, f"{PATH}/document", version=7))
        assert (one["version"], one["state"]["count"]) == (7, 7)
        answer = await api.http.get(f"{PATH}/history.json")
        assert answer.headers["content-disposition"].startswith("attachment")
        versions = [one["document"]["version"] for one in answer.json()]
        assert versions == list(range(1, total + 1))
        numbers = {one["document"]["state"]["number"] for one in answer.json()}
        assert numbers == {"•••"}


async def test_a_large_document_is_cut_and_can_be_had_whole(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False, sagas=(NOTES,)) as api:
        await _versions(api, 1, text="<b>x</b>" * 40_000)
        for query in ({"view": "messages"}, {"view": "raw"}, {"show": "state"}):
            page = await _text(api, PATH, **query)
            assert len(page) < 200_000
            assert "more characters" in page
            assert f"{PATH}/document?version=1" in page
            assert "<b>x" not in page
        whole = await api.http.get(f"{PATH}/document")
        assert whole.headers["content-type"].startswith("application/json")
        assert whole.json()["state"]["text"] == "<b>x</b>" * 40_000


async def test_children_of_children_are_on_the_page(tmp_path: Path) -> None:
    def grow(child: str) -> Any:
        return lambda saga: spawn(child, key=f"{child}-1")

    family = (
        define_saga("A").state({}).on("GrowA", grow("B")).build(),
        define_saga("B").state({}).on("GrowB", grow("C")).build(),
        define_saga("C").state({}).on("GrowC", lambda saga: None).build(),
    )
    async with open_api(tmp_path, worker=False, sagas=family) as api:
        await api.publish("GrowA", {}, "a-1")
        await api.status("C", "C-1", "running")
        await api.decided()
        page = await _text(api, "/instances/A/a-1")
        assert 'href="/instances/B/B-1"' in page
        assert 'href="/instances/C/C-1"' in page


async def test_secrets_are_shown_to_admins_on_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_api(tmp_path, worker=False, sagas=(NOTES,)) as api:
        await _versions(api, 2)
        for tail, query in (("", {"view": "raw"}), ("/document", {}), ("/history.json", {})):
            assert '4000-1"' not in await _text(api, PATH + tail, **query)
            caplog.clear()
            with caplog.at_level(logging.INFO, "snorri.audit"):
                shown = await _text(api, PATH + tail, unmask=1, **query)
            assert "4000-1" in shown
            record = next(one for one in caplog.records if one.message == "unmasked")
            assert record.__dict__["shown"].endswith("Notes/n-1")
        page = await _text(api, PATH, unmask=1)
        assert "Secret fields are shown" in page
        assert "Show secret fields" in await _text(api, PATH)


async def test_only_admins_may_ask_for_secrets(tmp_path: Path) -> None:
    async with open_guarded(tmp_path) as opened:
        for role, status in (("viewer", 403), ("operator", 403), ("admin", 404)):
            client = await opened.bearer(TOKENS[role])
            for tail in ("", "/document", "/history.json"):
                answer = await client.get(f"{PATH}{tail}?unmask=1")
                assert answer.status_code == status, (role, tail, answer.text)
