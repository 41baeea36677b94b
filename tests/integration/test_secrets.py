"""Goal: what is marked as secret is nowhere to be seen: not in the projections, not in any answer
of the API, not in the log, also where errors quote it.

Method: an installation whose sagas and jobs get a planted value in payloads, state, headers and
errors; every GET route, every relation and the files are searched. That it was there to be found is
shown by asking for it as an admin.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
import structlog

from jobs import job
from jobs.context import JobContext
from sagas import Effects, Message, SagaHandle, Secret, define_saga, schedule, send
from sagas.retry import retry
from server.logs import configure_logs, redactor
from store.projection.schema import RELATIONS
from tests.access_kit import handlers_of
from tests.api_kit import Api, instance_path, open_api

pytestmark = pytest.mark.asyncio

VALUE = "4111-2222-3333-4444"
SAGA, KEY, REFUSED_KEY = "PaySecretly", "o-1", "o-2"


class Pay(msgspec.Struct, rename="camel"):
    """A message with a secret under another name in JSON."""

    id: str
    card_number: Annotated[str, Secret]


class Refuse(msgspec.Struct, rename="camel"):
    """The same, for the message that its handler refuses."""

    id: str
    card_number: Annotated[str, Secret]


class State(msgspec.Struct):
    """A state with it."""

    card: Annotated[str, Secret] = ""
    paid: bool = False


def _pay(saga: SagaHandle[State], message: Message[Pay]) -> Effects:
    """Takes it into the state, sends it to a job, and sets a timer with it."""
    number = message.payload.card_number
    saga.state = State(card=number)
    payload = {"id": message.payload.id, "cardNumber": number}
    return [send("charge-secretly", payload), schedule({"type": "Late", "payload": payload}, "1h")]


def _refuse(saga: SagaHandle[State], message: Message[Refuse]) -> None:
    """Fails and quotes it."""
    raise ValueError(f"no such card: {message.payload.card_number!r}")


def _late(saga: SagaHandle[State], message: Message[Pay]) -> None:
    """Never comes."""


saga = (
    define_saga(SAGA)
    .state(State())
    .correlate("id")
    .on("Pay", _pay, starts=True)
    .on("Refuse", _refuse, starts=True)
    .on("Late", _late)
    .build()
)


@job("charge-secretly", retry=retry(1, "1s"))
async def charge(ctx: JobContext[Pay], payload: Pay) -> None:
    """Logs it and fails, quoting it."""
    ctx.log.warning("charging %s", payload, order=payload)
    raise ValueError(f"declined: {payload.card_number}")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, as a process writes it."""
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("json", "debug", out)
    redactor.hide(lambda: [*saga.secrets, *charge.secrets])
    yield out
    redactor.hide(tuple)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest_asyncio.fixture
async def api(tmp_path: Path, logged: io.StringIO) -> AsyncGenerator[Api]:
    """An installation in which all of it has happened."""
    async with open_api(tmp_path, sagas=(saga,), jobs=(charge,)) as opened:
        payload = {"id": KEY, "cardNumber": VALUE}
        await opened.publish("Pay", payload, key=KEY)
        await opened.status(SAGA, KEY, "parked")
        await opened.publish("Refuse", {**payload, "id": REFUSED_KEY}, key=REFUSED_KEY)
        await opened.status(SAGA, REFUSED_KEY, "parked")
        await opened.publish("Pay", {"id": 5, "cardNumber": VALUE}, key=KEY)  # a dead letter
        await opened.publish("Unheard", {"deep": [payload]}, key=KEY)
        await opened.publish("Unheard", payload, id="with-headers", key=KEY)
        patch = {"patch": {"card": VALUE}, "reason": "a test"}
        await opened.post(instance_path(SAGA, KEY, "patch"), patch)
        await opened.caught_up()
        yield opened


async def _pages(api: Api) -> list[tuple[str, str]]:
    """Every route that can be read, as a request for what is there, and its answer's text."""
    letters = (await api.get("/api/v1/sagas/dead-letters"))["items"]
    groups = (await api.get("/api/v1/sagas/failures"))["items"]
    values = {"saga": SAGA, "when": "1", "seq": "1", "name": "x"}
    found: list[tuple[str, str]] = []
    for path, method, _ in handlers_of(api.app):
        if method != "GET" or "subscribe" in path:
            continue
        for id, group, key in zip(
            [letter["id"] for letter in letters] + ["charge-secretly"],
            [one["fingerprint"] for one in groups] + ["x"],
            (KEY, REFUSED_KEY, KEY),
            strict=False,
        ):
            known = {**values, "id": id, "fingerprint": group, "key": key}
            url = re.sub(
                r"\{(\w+)[^}]*\}", lambda m, k=known: quote(str(k.get(m[1], "x")), safe=""), path
            )
            query = "?from=1&to=2" if path.endswith("/diff") else ""
            answer = await api.http.get(url + query)
            found.append((f"{answer.status_code} {url}", answer.text))
    return found


async def test_no_route_shows_it(api: Api) -> None:
    pages = await _pages(api)
    good = [url for url, _ in pages if url.startswith("200 ")]
    assert len(good) > 15, pages
    assert any("•••" in text for _, text in pages)
    for url, text in pages:
        assert VALUE not in text, f"{url}: {text[:1000]}"


async def test_an_admin_sees_it_where_it_is_asked_for(api: Api) -> None:
    shown = await api.http.get(instance_path(SAGA, KEY), params={"unmask": "true"})
    assert shown.text.count(VALUE) > 1


async def test_no_relation_holds_it(api: Api, tmp_path: Path) -> None:
    class Row(msgspec.Struct):
        """A whole row as text."""

        row: str

    for relation in RELATIONS:
        sql = f"SELECT CAST(r AS VARCHAR) AS row FROM {relation.name} r"
        rows = await api.deps.read.fetch(sql, {}, Row)
        for one in rows:
            assert VALUE not in one.row, f"{relation.name}: {one.row}"
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert VALUE.encode() not in file.read_bytes(), file


async def test_the_log_does_not_tell_it(api: Api, logged: io.StringIO) -> None:
    told = logged.getvalue()
    for word in ("charging", "declined", "no such card"):
        assert word in told, told[-3000:]
    assert VALUE not in told


async def _sql(api: Api, sql: str) -> Any:
    return await api.http.post("/api/v1/sql", json={"sql": sql})


async def test_sql_can_not_reach_it(api: Api) -> None:
    for relation in RELATIONS:
        answer = await _sql(api, f"SELECT * FROM {relation.name}")
        assert answer.status_code == 200, answer.text
        assert VALUE not in answer.text, relation.name
