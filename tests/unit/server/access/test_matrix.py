"""Goal: who may call which route is written down, and a route that is not is a failure.

Method: all routes of the application beside a table of the roles they ask for; then every route
asked by everybody, where only the refusal counts: 401 and 403 are answered before anything is read.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.access.roles import ROLE, ROLES
from tests.access_kit import EXPIRED, MORE, TOKENS, handlers_of, matrix, open_guarded

OURS = {path for handler in MORE for path in handler.paths}
REFUSALS = {401, 403}


@pytest.mark.asyncio
async def test_every_route_asks_for_the_role_that_is_written_down(tmp_path: Path) -> None:
    async with open_guarded(tmp_path) as opened:
        routes = [one for one in handlers_of(opened.app) if one[0] not in OURS]
    actual = {(method, path, handler.opt.get(ROLE)) for path, method, handler in routes}
    written = set(matrix())
    assert sorted(map(str, actual - written)) == [], "decide who may call them, add to matrix.txt"
    assert sorted(map(str, written - actual)) == [], "gone, or they ask for another role now"


@pytest.mark.asyncio
@pytest.mark.parametrize("who", ["nobody", "expired", "revoked", *ROLES])
async def test_a_route_answers_those_only_who_have_the_role(tmp_path: Path, who: str) -> None:
    token = {"expired": EXPIRED, "revoked": "snorri_revoked"}.get(who) or TOKENS.get(who)
    async with open_guarded(tmp_path) as opened:
        client = await (opened.bearer(token) if token else opened.client())
        for method, path, role in matrix():
            url = re.sub(r"\{[^}]*:int\}", "1", path)
            url = re.sub(r"\{[^}]*\}", "x", url)
            allowed = role == "public" or (who in ROLES and ROLES.index(who) >= ROLES.index(role))
            if allowed:
                continue  # what it does then is tested where it is made
            answer = await client.request(method, url, json={"type": "X", "payload": {}})
            expected = 403 if who in ROLES else 401
            assert answer.status_code == expected, f"{who} {method} {url}: {answer.status_code}"
            if expected == 403:
                assert answer.json()["needs"] == role
            else:
                assert answer.headers["www-authenticate"].startswith("Bearer")
