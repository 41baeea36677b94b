"""Goal: everybody is who they can prove to be, for as long as that holds, and nobody else.

Method: the real application with an access file, asked by browsers, programs and a proxy, honest
and forged, with two processes on one broker.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.access.access import COOKIE
from server.access.passwords import sha256
from tests import access_kit
from tests.access_kit import (
    EXPIRED,
    FILE,
    HASH,
    PROXY_PEER,
    PROXY_SECRET,
    TOKENS,
    Guarded,
    log_in,
    open_guarded,
)

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Guarded]:
    """An installation with users, tokens and a proxy."""
    async with open_guarded(tmp_path) as opened:
        yield opened


async def _me(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.get("/api/v1/me")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_token_is_its_role(guarded: Guarded) -> None:
    for role, token in TOKENS.items():
        me = await _me(await guarded.bearer(token))
        assert (me["name"], me["role"], me["via"], me["csrfToken"]) == (role, role, "token", None)


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {EXPIRED}",
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        f"bearer {'x' * 9000}",
        f"Bearer {sha256(TOKENS['admin'])}",
        f"Token {TOKENS['admin']}",
        "Bearer \xfc\xff",
    ],
)
async def test_a_bad_token_is_refused_even_beside_a_good_session(
    guarded: Guarded, header: str
) -> None:
    client = await guarded.logged_in("ada")
    answer = await client.get("/t/viewer", headers={b"authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["next"]


async def test_two_authorization_headers_are_nobody(guarded: Guarded) -> None:
    client = await guarded.client()
    both = [("authorization", "Bearer x"), ("authorization", f"Bearer {TOKENS['admin']}")]
    assert (await client.get("/t/viewer", headers=both)).status_code == 401


async def test_revoking_a_token_and_changing_a_role_hold_at_once(guarded: Guarded) -> None:
    program, browser = await guarded.bearer(TOKENS["admin"]), await guarded.logged_in("olaf")
    assert (await program.post("/t/admin")).status_code == 201
    assert (await browser.post("/t/operator", json={})).status_code == 201
    assert guarded.path is not None
    changed = FILE.replace(sha256(TOKENS["admin"]), "0" * 64)
    changed = changed.replace(f'{HASH}"\nrole = "operator"', f'{HASH}"\nrole = "viewer"')
    guarded.path.write_text(changed)
    assert (await program.post("/t/admin")).status_code == 401
    assert (await browser.post("/t/operator", json={})).status_code == 403
    assert (await _me(browser))["role"] == "viewer"
    guarded.path.write_text(changed.replace("[users.olaf]", "[users.bob]"))
    assert (await browser.get("/t/viewer")).status_code == 401


async def test_a_login_has_a_new_id_and_ends_the_one_before(guarded: Guarded) -> None:
    browser = await guarded.client()
    browser.cookies.set(COOKIE, "chosen-by-somebody-else")
    await log_in(browser, "vera")
    first = browser.cookies.get(COOKIE, domain="snorri.example.com")
    browser.cookies.clear()
    browser.cookies.set(COOKIE, first or "")
    assert first != "chosen-by-somebody-else"
    answer = await log_in(browser, "ada")
    assert answer.status_code == 403  # a change of a session, without its CSRF token
    token = (await _me(browser))["csrfToken"]
    answer = await log_in(browser, "ada", _csrf_token=token)
    assert answer.status_code == 303
    second = answer.cookies[COOKIE]
    assert second != first
    old = await guarded.client()
    old.cookies.set(COOKIE, first or "")
    assert (await old.get("/t/viewer")).status_code == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_foreign_pages(guarded: Guarded) -> None:
    plain = (await log_in(await guarded.client(), "vera")).headers["set-cookie"].lower()
    assert "httponly" in plain
    assert "samesite=strict" in plain
    assert "path=/" in plain
    assert "secure" not in plain
    over_tls = await guarded.client(base_url="https://snorri.example.com")
    assert "secure" in (await log_in(over_tls, "vera")).headers["set-cookie"].lower()
    proxied = await guarded.client(peer=PROXY_PEER, x_forwarded_proto="https")
    assert "secure" in (await log_in(proxied, "vera")).headers["set-cookie"].lower()
    forged = await guarded.client(x_forwarded_proto="https")
    assert "secure" not in (await log_in(forged, "vera")).headers["set-cookie"].lower()


async def test_a_session_holds_in_every_process_and_a_logout_too(guarded: Guarded) -> None:
    browser = await guarded.logged_in("vera")
    other_app, _ = guarded.process()
    other = await guarded.client(app=other_app)
    other.cookies = browser.cookies
    other.headers["x-csrftoken"] = browser.headers["x-csrftoken"]
    assert (await other.get("/t/viewer")).status_code == 200
    answer = await other.post("/logout")
    assert answer.status_code == 303
    assert (await browser.get("/t/viewer")).status_code == 401


async def test_a_new_password_ends_the_sessions_of_the_old_one(guarded: Guarded) -> None:
    browser = await guarded.logged_in("vera")
    assert guarded.path is not None
    new = access_kit.PasswordHasher(1, 8, 1).hash("another horse battery")
    guarded.path.write_text(FILE.replace(HASH, new, 1))
    assert (await browser.get("/t/viewer")).status_code == 401


async def test_the_broker_holds_no_id_of_a_session(guarded: Guarded) -> None:
    browser = await guarded.logged_in("vera")
    id = browser.cookies[COOKIE]
    entries = await guarded.broker.backend().meta.entries("session.")
    assert [entry.key for entry in entries] == [f"session.{sha256(id)}"]
    assert all(id.encode() not in (entry.data or b"") for entry in entries)
    thief = await guarded.client()
    thief.cookies.set(COOKIE, sha256(id))
    assert (await thief.get("/t/viewer")).status_code == 401


@pytest.mark.parametrize("id", ["", "x", "../engine.e1", "a" * 5000, "*", ">", '"', "ü"])
async def test_a_made_up_cookie_is_nobody(guarded: Guarded, id: str) -> None:
    client = await guarded.client()
    headers = {b"cookie": f"{COOKIE}={id}".encode()}
    assert (await client.get("/t/viewer", headers=headers)).status_code == 401


# --- the proxy

VOUCHED: dict[str, Any] = {"x_forwarded_user": "anna", "x_proxy_secret": PROXY_SECRET}


async def test_the_proxy_names_who_asks_and_their_groups_give_the_role(guarded: Guarded) -> None:
    one = await guarded.client(peer=PROXY_PEER, **VOUCHED, x_forwarded_groups="dev, ops")
    assert await _me(one) == {"name": "anna", "role": "operator", "via": "proxy", "csrfToken": None}
    both = await guarded.client(peer=PROXY_PEER, **VOUCHED, x_forwarded_groups="ops,admins")
    assert (await _me(both))["role"] == "admin"
    none = await guarded.client(peer=PROXY_PEER, **VOUCHED, x_forwarded_groups="dev")
    answer = await none.get("/t/viewer")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:snorri:problem:no-role")


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        (access_kit.PEER, VOUCHED),
        ("127.0.0.1", VOUCHED),
        (PROXY_PEER, {"x_forwarded_user": "anna"}),
        (PROXY_PEER, {"x_forwarded_user": "anna", "x_proxy_secret": "guess"}),
        (PROXY_PEER, {"x_forwarded_user": "anna", "x_proxy_secret": ""}),
        (PROXY_PEER, {"x_forwarded_user": " ", "x_proxy_secret": PROXY_SECRET}),
        (access_kit.PEER, {**VOUCHED, "x_forwarded_for": PROXY_PEER}),
    ],
)
async def test_a_forged_identity_is_nobody(
    guarded: Guarded, peer: str, headers: dict[str, Any]
) -> None:
    client = await guarded.client(peer=peer, **headers, x_forwarded_groups="admins")
    assert (await client.get("/t/viewer")).status_code == 401


async def test_two_identities_or_two_secrets_are_nobody(guarded: Guarded) -> None:
    client = await guarded.client(peer=PROXY_PEER, x_forwarded_groups="admins")
    for doubled in ("X-Forwarded-User", "X-Proxy-Secret"):
        headers = [("X-Forwarded-User", "anna"), ("X-Proxy-Secret", PROXY_SECRET)]
        headers.append((doubled, dict(headers)[doubled]))
        assert (await client.get("/t/viewer", headers=headers)).status_code == 401


# --- without a file


async def test_without_a_file_this_machine_may_do_all_and_the_network_nothing(
    tmp_path: Path,
) -> None:
    async with open_guarded(tmp_path, None) as opened:
        here = await opened.client(peer="127.0.0.1", base_url="http://localhost:8092")
        assert await _me(here) == {
            "name": "local",
            "role": "admin",
            "via": "open",
            "csrfToken": None,
        }
        assert (await here.post("/t/admin")).status_code == 201
        assert "No login is needed" in (await here.get("/login")).text
        assert (await log_in(here, "ada")).status_code == 409
        away = await opened.client(peer="192.168.1.9", base_url="http://192.168.1.5:8092")
        assert (await away.get("/t/viewer")).status_code == 401


async def test_holds_says_whether_a_long_answer_may_go_on(guarded: Guarded) -> None:
    scope = {"type": "http", "client": ("192.0.2.1", 1), "path": "/", "method": "GET"}
    scope["headers"] = [(b"authorization", f"Bearer {TOKENS['viewer']}".encode())]
    standing = await guarded.access.identify(scope)  # type: ignore[arg-type]  # what it reads of it
    assert await standing.holds()
    assert guarded.path is not None
    guarded.path.write_text(FILE.replace("[tokens.viewer]", "[tokens.other]"))
    assert not await standing.holds()
    guarded.path.write_text(FILE.replace(sha256(TOKENS["viewer"]), "0" * 64))
    assert not await standing.holds()
