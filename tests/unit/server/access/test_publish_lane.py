"""Goal: the quick way to publish lets nobody in whom the framework's route would refuse.

Method: the guarded application with an access file; every kind of sender, plain and odd requests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.access.roles import ROLES
from tests.access_kit import EXPIRED, TOKENS, open_guarded

pytestmark = pytest.mark.asyncio

PUBLISH = "/api/v1/sagas/publish"
HEADERS = {"Content-Type": "application/json"}
BODY = b'{"type":"T"}'


@pytest.mark.parametrize("who", ["nobody", "expired", "forged", *ROLES])
async def test_only_operators_publish(tmp_path: Path, who: str) -> None:
    token = {"expired": EXPIRED, "forged": "snorri_forged"}.get(who) or TOKENS.get(who)
    async with open_guarded(tmp_path) as opened:
        client = await (opened.bearer(token) if token else opened.client())
        expected = {"viewer": 403, "operator": 200, "admin": 200}.get(who, 401)
        for body in (BODY, b"{", b"[]"):
            answer = await client.post(PUBLISH, content=body, headers=HEADERS)
            wanted = 400 if expected == 200 and body != BODY else expected
            assert answer.status_code == wanted, answer.text


async def test_a_foreign_page_publishes_nothing(tmp_path: Path) -> None:
    async with open_guarded(tmp_path) as opened:
        client = await opened.bearer(TOKENS["operator"])
        plain = await client.post(PUBLISH, content=BODY, headers={"Content-Type": "text/plain"})
        assert plain.status_code == 415
        nobody = await opened.client()
        page = {**HEADERS, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = await nobody.post(PUBLISH, content=BODY, headers=page)
        assert answer.status_code in (401, 403)
