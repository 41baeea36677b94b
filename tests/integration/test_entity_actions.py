"""Goal: an action on an entity is a route of an application that answers with what its run gave.

Method: an application with the plugin on a real server; its list reserves, charges and ships, and
does as the body says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.testing import AsyncTestClient

from jobs.examples.steps.order import create_order
from jobs.steps import all_step_jobs
from sagas import DefinitionError
from sagas.examples.checkout import checkout
from server.access.roles import Identity
from server.action_routes import EntityAction, action
from server.errors import SettingsError
from server.plugin import SnorriPlugin
from store.subjects import Names
from tests.api_kit import open_api
from tests.conftest import NatsServer

pytestmark = pytest.mark.asyncio

Answer = Any
BODY = {"items": ["WIDGET-1"], "total": 4999}


def _identify(connection: ASGIConnection[Any, Any, Any, Any]) -> Identity | None:
    name = connection.headers.get("x-staff", "anna")
    role = "operator" if name == "anna" else "viewer"
    return Identity(name=name, role=role, via="proxy") if name else None


@pytest_asyncio.fixture
async def client(
    nats_server: NatsServer, fresh_names: Callable[[], Names], tmp_path: Path
) -> AsyncIterator[AsyncTestClient[Litestar]]:
    """The application."""
    names = fresh_names()
    plugin = SnorriPlugin(
        app=["jobs.examples.steps"],
        identify=_identify,
        actions=[
            action("/orders/{id}/checkout", create_order),
            action("/orders/{id}/open", create_order, once=True),
        ],
        nats_url=nats_server.url,
        bucket=names.bucket,
        namespace=names.namespace,
        data=str(tmp_path),
    )
    app = Litestar(plugins=[plugin], logging_config=None)
    async with AsyncTestClient(app, base_url="http://127.0.0.1") as client:
        yield client


async def test_an_action_answers_with_what_its_last_step_gave(
    client: AsyncTestClient[Litestar],
) -> None:
    answer = await client.post("/orders/o-1/checkout", json=BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["chargeId"].startswith("ch")
    location = answer.headers["location"]
    assert location.startswith("/snorri/api/v1/sagas/instances/create-order/o-1.")
    instance = (await client.get(location)).json()
    assert instance["state"]["id"] == "o-1"
    again = await client.post("/orders/o-1/checkout", json=BODY)
    assert again.headers["location"] != location


async def test_a_failure_tells_the_step_the_code_and_what_was_undone(
    client: AsyncTestClient[Litestar],
) -> None:
    answer = await client.post("/orders/o-1/checkout", json={**BODY, "simulate": "decline"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["failedStep"] == "charge-payment"
    assert told["code"] == "DECLINED"
    assert told["error"] == "charge-payment: the card was declined"
    assert told["compensatedSteps"] == ["reserve-inventory"]


async def test_one_idempotency_key_is_one_run(client: AsyncTestClient[Litestar]) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/orders/o-1/checkout", json=BODY, headers=headers)
    again = await client.post("/orders/o-1/checkout", json=BODY, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["location"] == again.headers["location"]
    other = await client.post("/orders/o-1/checkout", json={"total": 1}, headers=headers)
    assert other.status_code == 409
    assert other.json()["type"] == "urn:snorri:problem:start-refused"


async def test_an_action_that_is_taken_once_has_the_key_of_its_entity(
    client: AsyncTestClient[Litestar],
) -> None:
    first = await client.post("/orders/o-7/open", json=BODY)
    assert first.headers["location"].endswith("/create-order/o-7")
    again = await client.post("/orders/o-7/open", json=BODY)
    assert again.json() == first.json()


async def test_who_does_not_want_to_wait_gets_a_link(client: AsyncTestClient[Litestar]) -> None:
    slow = {**BODY, "simulate": "slow"}
    answer = await client.post("/orders/o-1/checkout?waitMs=0", json=slow)
    assert answer.status_code == 202
    told = answer.json()
    assert told["status"] == "running"
    assert told["location"] == answer.headers["location"]
    assert (await client.get(told["location"])).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/orders/o-1/checkout", b"[1]", 400, "no JSON object"),
        ("/orders/o-1/checkout", b'{"total": "much"}', 400, "$.total"),
        ("/orders/o-1/checkout", b'{"id": "o-2"}', 400, "the path about 'o-1'"),
        (f"/orders/{'x' * 190}/checkout", b"{}", 400, "bytes"),
        ("/orders/o-1/checkout?waitMs=-1", b"{}", 400, ">= 0"),
    ],
)
async def test_what_can_not_be_started_is_told(
    client: AsyncTestClient[Litestar], path: str, body: bytes, status: int, text: str
) -> None:
    answer = await client.post(path, content=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert text in answer.json()["detail"]
    assert answer.json()["next"]


async def test_the_role_of_the_action_is_asked_for(client: AsyncTestClient[Litestar]) -> None:
    for name, status in (("", 401), ("bert", 403), ("anna", 200)):
        answer = await client.post("/orders/o-1/checkout", json=BODY, headers={"x-staff": name})
        assert answer.status_code == status, answer.text


async def test_the_actions_are_in_the_openapi_document_of_the_application(
    client: AsyncTestClient[Litestar],
) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    route = document["paths"]["/orders/{id}/checkout"]["post"]
    assert route["summary"] == create_order.description
    assert {one["name"] for one in route["parameters"]} == {"id", "Idempotency-Key", "waitMs"}


async def test_their_bodies_and_answers_stand_there_with_their_types(
    client: AsyncTestClient[Litestar],
) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    route = document["paths"]["/orders/{id}/checkout"]["post"]
    body = route["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["total"] == {"type": "integer", "default": 0}
    assert body["properties"]["items"]["items"] == {"type": "string"}
    assert "id" not in body["required"]
    assert "200" in route["responses"]


async def test_the_api_serves_the_actions_of_its_app(tmp_path: Path) -> None:
    checkouts = action("/orders/{id}/checkout", create_order)
    jobs = [*all_step_jobs([create_order])]
    async with open_api(tmp_path, sagas=[create_order], jobs=jobs, actions=[checkouts]) as api:
        trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
        done = await api.http.post(
            "/orders/o-1/checkout", json=BODY, headers={"traceparent": trace}
        )
        assert done.status_code == 200, done.text
        location = done.headers["location"]
        assert location.startswith("/api/v1/sagas/instances/create-order/o-1.")
        instance = await api.get(location)
        assert instance["state"]["id"] == "o-1"
        there = await api.client.get("create-order", instance["key"])
        assert there is not None
        assert there.trace == trace
        failed = await api.post("/orders/o-1/checkout", {**BODY, "simulate": "decline"}, status=422)
        assert failed["failedStep"] == "charge-payment"
        text = {"content-type": "text/plain"}
        refused = await api.http.post("/orders/o-1/checkout", content=b"{}", headers=text)
        assert refused.status_code == 415
        assert "Needs the role operator." in _operation(await api.get("/schema/openapi.json"))


def _operation(document: Answer) -> str:
    return document["paths"]["/orders/{id}/checkout"]["post"]["description"]


@pytest.mark.parametrize("path", ["/api/{id}/take", "/instances/{id}/take", "/schema/{id}/take"])
async def test_an_action_where_the_api_has_its_own_routes_is_refused(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(SettingsError, match="begins as a route of the API or a page does"):
        async with open_api(tmp_path, engine=False, worker=False, actions=[_at(path)]):
            pass


def _at(path: str) -> EntityAction:
    return action(path, create_order)


async def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(DefinitionError, match="driven by messages"):
        action("/orders/{id}/checkout", checkout)
    with pytest.raises(DefinitionError, match="not '/orders/checkout'"):
        action("/orders/checkout", create_order)
