"""Goal: Snorri lives inside somebody's own Litestar application as the documentation says.

Method: an application of the test's own on a real server: its routes publish, the API is asked
under its mount, the services start and stop with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.testing import AsyncTestClient

from server.access.roles import Identity
from server.errors import SettingsError
from server.loading import AppError
from server.plugin import SnorriPlugin
from store.client import SagaClient
from store.jetstream.backend import connect
from store.publisher import Published, Publisher
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

APP = ("sagas.examples", "jobs.examples")
BASE = "http://127.0.0.1"


@post("/orders/{order:str}", status_code=201)
async def place(order: FromPath[str], publisher: NamedDependency[Publisher]) -> bool:
    """A route of the application: an order is placed by publishing an event."""
    receipt = await publisher.publish("OrderCreated", {"orderId": order, "total": 1}, key=order)
    return isinstance(receipt, Published)


@get("/orders/{order:str}")
async def look(order: FromPath[str], saga_client: NamedDependency[SagaClient]) -> str:
    """Another: how an order stands."""
    instance = await saga_client.get("CheckoutSaga", order)
    return instance.status if instance is not None else "unknown"


@get("/")
async def home() -> str:
    """A page that has nothing to do with sagas."""
    return "home"


def _plugin(url: str, names: Names, folder: Path, **more: Any) -> SnorriPlugin:
    return SnorriPlugin(
        **{"app": APP, **more},
        nats_url=url,
        bucket=names.bucket,
        namespace=names.namespace,
        data=str(folder),
    )


def _client(*plugins: SnorriPlugin) -> AsyncTestClient[Litestar]:
    app = Litestar([place, look, home], plugins=list(plugins), logging_config=None)
    return AsyncTestClient(app, base_url=BASE)


@pytest.mark.asyncio
async def test_an_application_places_orders_and_shows_them(
    nats_server: NatsServer, fresh_names: Callable[[], Names], tmp_path: Path
) -> None:
    async with _client(_plugin(nats_server.url, fresh_names(), tmp_path)) as client:
        assert (await client.get("/")).text == "home"
        assert (await client.post("/orders/o-1")).json() is True

        async def completed() -> bool:
            return (await client.get("/orders/o-1")).text == "completed"

        await eventually(completed, 15, "the order to complete")
        path = "/snorri/api/v1/sagas/instances"
        shown = await client.get(f"{path}/CheckoutSaga/o-1")
        assert shown.json()["status"] == "completed", shown.text

        async def listed() -> bool:
            answer = await client.get(path, params={"status": "completed"})
            found = answer.json().get("items", [])
            return [one["key"] for one in found] == ["o-1"]

        await eventually(listed, 15, "the list")
        assert (await client.get("/snorri/schema")).json()["info"]["title"] == "Snorri"
        absent = await client.get("/snorri/nowhere")
        assert absent.status_code == 404
        assert absent.headers["content-type"] == "application/problem+json"
        assert (await client.post("/orders/a%20b")).json() is True
        slashed = await client.post(
            "/snorri/api/v1/sagas/publish",
            json={"type": "CartChanged", "key": "a/b", "payload": {"cartId": "a/b"}},
        )
        assert slashed.json()["published"] is True


@pytest.mark.asyncio
async def test_the_application_says_who_may_what(
    nats_server: NatsServer, fresh_names: Callable[[], Names], tmp_path: Path
) -> None:
    def identify(connection: ASGIConnection[Any, Any, Any, Any]) -> Identity | None:
        name = connection.headers.get("x-staff", "")
        role = "operator" if name == "anna" else "viewer"
        return Identity(name=name, role=role, via="proxy") if name else None

    plugin = _plugin(nats_server.url, fresh_names(), tmp_path, path="/ops", identify=identify)
    event = {"type": "OrderCreated", "key": "o-1", "payload": {"orderId": "o-1"}}
    async with _client(plugin) as client:
        for name, status in (("", 401), ("bert", 403), ("anna", 200)):
            headers = {"x-staff": name} if name else {}
            answer = await client.post("/ops/api/v1/sagas/publish", json=event, headers=headers)
            assert answer.status_code == status, answer.text


@pytest.mark.asyncio
async def test_roles_can_be_left_to_other_processes(
    nats_server: NatsServer, fresh_names: Callable[[], Names], tmp_path: Path
) -> None:
    names = fresh_names()
    backend = await connect(nats_server.url, names)
    try:
        plugin = _plugin(nats_server.url, names, tmp_path, roles=(), app=())
        async with _client(plugin) as client:
            assert (await client.post("/orders/o-1")).json() is True
            assert (await client.get("/orders/o-1")).text == "unknown"
            assert (await client.get("/snorri/schema")).status_code == 404
        stored = await backend.log.at("events", 1)
        assert stored is not None
    finally:
        await backend.close()


@pytest.mark.asyncio
async def test_it_brings_a_server_of_its_own_and_takes_it_along(tmp_path: Path) -> None:
    plugin = SnorriPlugin(app=APP, data=str(tmp_path), nats_port=0, sync_always="false")
    for order in ("o-1", "o-2"):  # the second time on the data of the first
        async with _client(plugin) as client:

            async def completed(client: Any = client, order: str = order) -> bool:
                return (await client.get(f"/orders/{order}")).text == "completed"

            assert order == "o-1" or (await client.get("/orders/o-1")).text == "completed"
            assert (await client.post(f"/orders/{order}")).json() is True
            await eventually(completed, 40, order)
        assert (tmp_path / "nats").exists()
        plugin = SnorriPlugin(app=APP, data=str(tmp_path), nats_port=0, sync_always="false")


@pytest.mark.asyncio
async def test_the_application_outlives_a_broker_that_is_gone_for_good(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    await asyncio.to_thread(server.start)
    plugin = _plugin(server.url, Names(), tmp_path / "data")
    try:
        async with _client(plugin) as client:
            await asyncio.to_thread(server.kill)

            async def refused() -> bool:
                answer = await client.get("/snorri/api/v1/sagas/instances/CheckoutSaga/o-1")
                return answer.status_code == 503 and answer.json()["retryable"]

            await eventually(refused, 30, "the API to say that NATS is away")
            assert (await client.get("/")).text == "home"
    finally:
        await asyncio.to_thread(server.stop)


def test_wrong_arguments_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="path of SnorriPlugin"):
        SnorriPlugin(app=APP, path="snorri")
    with pytest.raises(SettingsError, match="did you mean nats_url"):
        SnorriPlugin(app=APP, nats_ur="nats://h")
    with pytest.raises(AppError, match="no app is named"):
        SnorriPlugin(data=str(tmp_path))
    with pytest.raises(AppError, match="absent_module"):
        SnorriPlugin(app=["absent_module"])
