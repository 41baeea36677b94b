"""Goal: what a hostile page makes a browser send changes nothing, guessing passwords is slow, and
every answer carries the headers that keep a browser safe.

Method: the real application, asked as browsers ask for their own and for foreign pages.
"""

from __future__ import annotations

import asyncio
import html
import logging
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.access import access as access_module
from server.access import passwords
from server.access.middleware import FORM_BYTES_MAX, HEADERS
from tests.access_kit import (
    PASSWORD,
    PROXY_PEER,
    PROXY_SECRET,
    TOKENS,
    Guarded,
    log_in,
    open_guarded,
)

pytestmark = pytest.mark.asyncio

FOREIGN = (
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "https://snorri.example.com.evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://snorri.example.com"},
    {"sec-fetch-site": "cross-site", "origin": "http://snorri.example.com"},
)


@pytest_asyncio.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Guarded]:
    """An installation with users, tokens and a proxy."""
    async with open_guarded(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def unguarded(tmp_path: Path) -> AsyncGenerator[Guarded]:
    """An installation that is open to this machine."""
    async with open_guarded(tmp_path, None) as opened:
        yield opened


# --- foreign pages


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_foreign_page_changes_nothing_whoever_looks_at_it(
    guarded: Guarded, unguarded: Guarded, headers: dict[str, str]
) -> None:
    vouched: dict[str, Any] = {"x_forwarded_user": "anna", "x_proxy_secret": PROXY_SECRET}
    for client in (
        await guarded.logged_in("ada"),
        await guarded.client(peer=PROXY_PEER, **vouched, x_forwarded_groups="admins"),
        await unguarded.client(peer="127.0.0.1", base_url="http://localhost:8092"),
        await guarded.client(),
    ):
        answer = await client.post("/t/admin", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:snorri:problem:foreign-page"


async def test_a_page_of_ours_and_a_program_may(guarded: Guarded, unguarded: Guarded) -> None:
    browser = await guarded.logged_in("ada")
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://snorri.example.com"}, {}):
        assert (await browser.post("/t/admin", headers=headers)).status_code == 201
    program = await guarded.bearer(TOKENS["admin"])
    assert (await program.post("/t/admin", headers=FOREIGN[0])).status_code == 201
    here = await unguarded.client(peer="127.0.0.1", base_url="http://localhost:8092")
    assert (await here.post("/t/admin")).status_code == 201
    assert (
        await here.post("/t/admin", headers={"origin": "http://localhost:8092"})
    ).status_code == 201


async def test_a_login_can_not_be_made_by_a_foreign_page(guarded: Guarded) -> None:
    client = await guarded.client(origin="http://evil.example")
    answer = await log_in(client, "ada")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_session_must_send_its_own_token(guarded: Guarded) -> None:
    ada, olaf = await guarded.logged_in("ada"), await guarded.logged_in("olaf")
    own = ada.headers.pop("x-csrftoken")
    for token in ("", "x", own[:-1], own + "x", olaf.headers["x-csrftoken"]):
        answer = await ada.post("/t/admin", headers={"x-csrftoken": token})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:snorri:problem:csrf")
    assert (await ada.post("/t/admin", headers={"x-csrftoken": own})).status_code == 201
    assert (await ada.get("/t/viewer")).status_code == 200


async def test_a_form_may_carry_the_token_and_reaches_its_handler_whole(guarded: Guarded) -> None:
    ada = await guarded.logged_in("ada")
    own = ada.headers.pop("x-csrftoken")
    assert (await ada.post("/t/admin", data={"_csrf_token": "x"})).status_code == 403
    assert (await ada.post("/t/admin", data={"_csrf_token": own})).status_code == 201
    again = await log_in(ada, "olaf", _csrf_token=own)
    assert again.status_code == 303
    assert (await ada.get("/api/v1/me")).json()["name"] == "olaf"
    token = (await ada.get("/api/v1/me")).json()["csrfToken"]
    huge = {"a": "x" * FORM_BYTES_MAX, "_csrf_token": token}
    assert (await ada.post("/t/admin", data=huge)).status_code == 413


# --- foreign names


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "a b", "[::1"])
async def test_a_foreign_name_that_points_here_is_refused(unguarded: Guarded, host: str) -> None:
    client = await unguarded.client(peer="127.0.0.1", base_url="http://localhost:8092")
    for path in ("/t/viewer", "/t/public", "/nowhere", "/login"):
        answer = await client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["type"]) == (
            421,
            "urn:snorri:problem:foreign-host",
        )
        assert "seen" not in answer.text


async def test_two_hosts_are_none(unguarded: Guarded) -> None:
    client = await unguarded.client(peer="127.0.0.1", base_url="http://localhost:8092")
    both = [("host", "localhost"), ("host", "evil.example")]
    assert (await client.get("/t/viewer", headers=both)).status_code == 421


async def test_with_users_the_hosts_that_are_named_and_addresses(guarded: Guarded) -> None:
    client = await guarded.bearer(TOKENS["viewer"])
    for host, status in (("snorri.example.com", 200), ("10.1.2.3", 200), ("evil.example", 421)):
        assert (await client.get("/t/viewer", headers={"host": host})).status_code == status


# --- logging in


async def test_a_wrong_name_and_a_wrong_password_are_told_apart_by_nothing(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bool] = []
    verify = passwords._hasher.verify

    class Counting:
        """Counts hashes that were verified."""

        def verify(self, hash: str, password: str) -> bool:
            """As argon2 does."""
            checked.append(True)
            return verify(hash, password)

        hash = staticmethod(passwords._hasher.hash)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    client = await guarded.client()
    wrong = await log_in(client, "ada", "not her password")
    unknown = await log_in(client, "nobody", "not her password")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert len(checked) == 2  # each cost one check


async def test_guessing_one_name_is_stopped_from_wherever(guarded: Guarded) -> None:
    for number in range(access_module.FAILURES_OF_NAME_MAX):
        client = await guarded.client(peer=f"192.0.2.{number}")
        assert (await log_in(client, "ada", "guess")).status_code == 401
    last = await log_in(await guarded.client(peer="198.51.100.1"), "ada", PASSWORD)
    assert last.status_code == 429
    assert 0 < int(last.headers["retry-after"]) <= access_module.FAILURES_WINDOW_S + 1
    assert last.json()["next"]
    assert (await log_in(await guarded.client(), "vera")).status_code == 303


async def test_guessing_many_names_from_one_address_is_stopped(guarded: Guarded) -> None:
    client = await guarded.client()
    for number in range(access_module.FAILURES_OF_ADDRESS_MAX):
        assert (await log_in(client, f"name{number}", "guess")).status_code == 401
    assert (await log_in(client, "vera")).status_code == 429
    assert (await log_in(await guarded.client(peer="192.0.2.99"), "vera")).status_code == 303


async def test_guesses_at_the_same_time_count_as_well(guarded: Guarded) -> None:
    client = await guarded.client()
    guesses = (log_in(client, "ada", f"guess {number}") for number in range(30))
    statuses = [answer.status_code for answer in await asyncio.gather(*guesses)]
    assert statuses.count(401) == access_module.FAILURES_OF_NAME_MAX


async def test_logging_in_right_any_number_of_times_is_no_guessing(guarded: Guarded) -> None:
    for _ in range(access_module.FAILURES_OF_ADDRESS_MAX + 5):
        assert (await log_in(await guarded.client(), "vera")).status_code == 303


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/sagas?status=parked", "/sagas?status=parked"),
        ("//evil.example/x", "./"),
        ("/\\evil.example", "./"),
        ("https://evil.example", "./"),
        ("javascript:alert(1)", "./"),
        ("/x\r\nset-cookie: a=b", "./"),
        ("", "./"),
    ],
)
async def test_a_login_leads_to_a_page_of_ours_only(guarded: Guarded, asked: str, led: str) -> None:
    answer = await log_in(await guarded.client(), "vera", next=asked)
    assert answer.headers["location"] == led


@pytest.mark.parametrize(
    ("path", "login"),
    [
        ("/instances?status=parked", "login?next=/instances%3Fstatus%3Dparked"),
        ("/instances/A/a%2Fb", "../../login?next=/instances/A/a%252Fb"),
        ("/", "login?next=/"),
    ],
)
async def test_somebody_who_looks_at_a_page_is_led_to_the_login_and_back(
    guarded: Guarded, path: str, login: str
) -> None:
    browser = await guarded.client(accept="text/html,*/*")
    answer = await browser.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, login)
    page = await browser.get(answer.headers["location"], follow_redirects=True)
    back = re.search(r'name="next" value="([^"]*)"', page.text)
    assert back is not None
    answer = await log_in(browser, "vera", next=html.unescape(back.group(1)))
    assert answer.headers["location"] == path
    program = await guarded.client(accept="application/json")
    assert (await program.get(path)).status_code == 401


async def test_the_page_asks_again_in_words_and_repeats_nothing_unescaped(guarded: Guarded) -> None:
    client = await guarded.client(accept="text/html")
    answer = await log_in(client, "<b>ada", "guess", next='/"><script>alert(1)</script>')
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "<script>" not in answer.text
    assert "<b>" not in answer.text
    page = await client.get("/login", params={"next": '/"><script>'})
    assert "<script>" not in page.text
    assert not re.search(r"style=|\son\w+=", page.text)


@pytest.mark.parametrize(
    "body", [b"", b"username=ada", b"username=" + b"x" * 2000 + b"&password=x", b"\xff=\xff"]
)
async def test_a_form_without_what_it_needs_is_refused(guarded: Guarded, body: bytes) -> None:
    client = await guarded.client(content_type="application/x-www-form-urlencoded")
    answer = await client.post("/login", content=body)
    assert answer.status_code == 400, answer.text


async def test_logins_and_refusals_are_on_record_without_any_secret(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snorri.audit")
    client = await guarded.client()
    await log_in(client, "ada", "wrong password")
    vera = await guarded.logged_in("vera")
    await vera.post("/t/operator", json={})
    await (await guarded.bearer("snorri_no-token-of-ours")).get("/t/viewer")
    await vera.post("/logout")
    lines = [record for record in caplog.records if record.name == "snorri.audit"]
    assert [line.getMessage() for line in lines] == [
        "a login failed",
        "logged in",
        "an action was refused",
        "a token was refused",
        "logged out",
    ]
    told = str([vars(line) for line in lines])
    assert "'address': '192.0.2.10'" in told
    assert "'who': 'vera'" in told
    for secret in ("wrong password", PASSWORD, "no-token-of-ours", vera.headers["x-csrftoken"]):
        assert secret not in told


async def test_the_record_is_not_flooded_by_one_address(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snorri.audit")
    client = await guarded.bearer("snorri_no-token-of-ours")
    for _ in range(access_module.REFUSALS_LOGGED_MAX + 20):
        await client.get("/t/viewer")
    told = [record for record in caplog.records if record.name == "snorri.audit"]
    assert len(told) == access_module.REFUSALS_LOGGED_MAX


# --- headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/t/viewer", 200),
        ("GET", "/t/public", 200),
        ("GET", "/login", 200),
        ("GET", "/schema/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/t/viewer", 405),
        ("POST", "/t/operator", 403),
        ("GET", "/t/undeclared", 403),
        ("GET", "/%ff", 404),
    ],
)
async def test_every_answer_has_the_headers_that_keep_a_browser_safe(
    guarded: Guarded, method: str, path: str, status: int
) -> None:
    client = await guarded.bearer(TOKENS["viewer"])
    answer = await client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
