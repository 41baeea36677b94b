"""Goal: the sample workflows, lists and entities run on a real server as their docstrings say.

Method: the samples are loaded as an app, as `snorri dev` does it, and one engine and one worker run
them all; each test starts runs and looks at their ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs.examples.steps.wallet import (
    Deposit,
    Transfer,
    Withdrawal,
    deposit,
    transfer,
    wallet,
    withdraw,
)
from sagas.actions import ActionRequest
from sagas.instance import Instance
from sagas.messages import to_raw
from server.loading import App, load_app
from store.client import SagaClient
from store.subjects import Names
from tests.conftest import NatsServer
from tests.steps_kit import Stage, state_of
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, jetstream_floor

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def app() -> App:
    """What `--app jobs.examples.steps` loads."""
    return load_app(["jobs.examples.steps"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(quick_nats: NatsServer, app: App) -> AsyncIterator[Stage]:
    """Engine and worker for all of them."""
    floor = await jetstream_floor(quick_nats.url, Names("stepsamples", "STEPSAMPLES"))
    opened = await Stage(floor, list(app.registry)).open(providers=app.providers)
    yield opened
    await opened.close()
    await floor.close()


def _result(ended: Instance) -> Any:
    assert ended.status == "completed", ended.error
    return msgspec.json.decode(ended.result)


def _undone(ended: Instance) -> list[str]:
    return [undo.type for undo in ended.undo if undo.status == "done"]


async def test_checkout(stage: Stage) -> None:
    order = {"productId": "tea", "amount": 4999}
    good, flaky, bad = await asyncio.gather(
        stage.run("CheckoutWorkflow", "c-1", order),
        stage.run("CheckoutWorkflow", "c-2", {**order, "simulate": "flaky"}),
        stage.run("CheckoutWorkflow", "c-3", {**order, "simulate": "no-carrier"}),
    )
    assert _result(good).keys() == {"reservationId", "paymentId", "trackingNumber"}
    assert _result(flaky)["paymentId"].startswith("pay-")
    assert (bad.status, _undone(bad)) == ("compensated", ["ChargePayment", "ReserveInventory"])


async def test_registration(stage: Stage) -> None:
    ada = {"email": "ada@example.org", "name": "Ada"}
    good, taken, wrong = await asyncio.gather(
        stage.run("UserRegistration", "u-1", ada),
        stage.run("UserRegistration", "u-2", {**ada, "simulate": "taken"}),
        stage.run("UserRegistration", "u-3", {**ada, "email": ""}),
    )
    assert _result(good)["name"] == "Ada"
    assert (taken.status, _undone(taken)) == ("compensated", ["CreateAccount"])
    assert wrong.status == "failed"
    assert wrong.error is not None
    assert wrong.error.type == "BAD_EMAIL"


async def test_composed(stage: Stage) -> None:
    good, unsent, bad = await asyncio.gather(
        stage.run("OrderWorkflow", "w-1", {"total": 5}),
        stage.run("OrderWorkflow", "w-2", {"total": 5, "simulate": "no-mail"}),
        stage.run("OrderWorkflow", "w-3", {"total": 5, "simulate": "no-carrier"}),
    )
    assert _result(good).keys() == {"orderId", "paymentId", "shipmentId", "mailId"}
    assert "the mailbox is full" in _result(unsent)["mail"]
    assert _undone(bad) == ["CapturePayment", "AuthorizePayment", "CreateOrder"]


async def _balance(stage: Stage, key: str) -> object:
    found = await stage.look("Wallet", key)
    return wallet.query("balance", found.state, {}) if found else None


async def _settles(stage: Stage, key: str, amount: int) -> None:
    async def is_there() -> bool:
        return await _balance(stage, key) == amount

    await eventually(is_there, WITHIN_S, f"{amount} in the wallet of {key}")


async def test_wallets(stage: Stage) -> None:
    await stage.start("Wallet", "ada", deposit.request(Deposit(100)))
    await stage.start("Wallet", "ada", transfer.request(Transfer("bob", 30)))
    await _settles(stage, "bob", 30)
    await stage.start("Wallet", "ada", transfer.request(Transfer("nobody", 30)))
    await stage.start("Wallet", "ada", withdraw.request(Withdrawal(1000)))
    bought = await stage.run("BuyTicket", "t-1", {"owner": "ada", "price": 20})
    assert _result(bought)["left"] == 50
    sold_out = {"owner": "ada", "price": 20, "simulate": "sold-out"}
    paid_back = await stage.run("BuyTicket", "t-2", sold_out)
    assert paid_back.status == "failed"
    await _settles(stage, "ada", 50)


async def test_strictness(stage: Stage) -> None:
    good, half, none = await asyncio.gather(
        stage.run("UploadAlbum", "a-1", {"title": "Iceland", "photos": ["a", "b"]}),
        stage.run("UploadAlbum", "a-2", {"title": "Iceland", "photos": ["a", "broken"]}),
        stage.run("UploadAlbum", "a-3", {"title": "taken"}),
    )
    assert _result(good)["url"].startswith("https://albums.example.org/alb-")
    assert _undone(half) == ["UploadPhotos", "CreateAlbum"]
    assert (none.status, _undone(none)) == ("failed", [])


@pytest.mark.parametrize(
    ("simulate", "code"), [("404", "HTTP_404"), ("not-found", "NotFound"), ("invalid", "Invalid")]
)
async def test_terminal_errors(stage: Stage, simulate: str, code: str) -> None:
    feed = {"url": "https://feeds.example.org/1", "simulate": simulate}
    ended = await stage.run("ImportFeed", f"f-{simulate}", feed)
    assert ended.error is not None
    assert ended.error.type == code
    assert _undone(ended) == (["Download"] if simulate == "invalid" else [])


async def test_other_errors_are_tried_again(stage: Stage) -> None:
    feed = {"url": "u", "simulate": "503"}
    ended = await stage.run("ImportFeed", "f-503", feed)
    assert ended.status == "completed"
    assert state_of(ended)["attempts"] == 2
    mirror = await stage.run("ReadFeed", "r-1", feed)
    assert _result(mirror)["source"] == "mirror"


async def test_services_of_a_container_and_of_tenants(stage: Stage) -> None:
    good, bad = await asyncio.gather(
        stage.run("PlaceOrder", "p-1", {"customer": "ada", "items": ["tea"]}),
        stage.run("PlaceOrder", "p-2", {"customer": "ada", "items": []}),
    )
    assert _result(good)["orderId"].startswith("ord-")
    assert _undone(bad) == ["InsertOrder"]
    order = {"customer": "c-1", "amount": 1}
    acme, globex, refused = await asyncio.gather(
        stage.run("TenantOrder", "n-1", {**order, "tenant": "acme"}),
        stage.run("TenantOrder", "n-2", {**order, "tenant": "globex"}),
        stage.run("TenantOrder", "n-3", {**order, "tenant": "globex", "amount": -1}),
    )
    assert (state_of(acme)["schema"], state_of(acme)["paidBy"]) == ("acme", "ada")
    assert (state_of(globex)["schema"], state_of(globex)["paidBy"]) == ("globex", "bob")
    assert _undone(refused) == ["create"]


async def test_an_order_with_checks_and_notices(stage: Stage) -> None:
    order = {"items": ["WIDGET-1"], "total": 4999}
    await stage.start("create-order", "o-1", order)
    await stage.start("create-order", "o-2", {**order, "simulate": "no-mail"})
    await stage.start("create-order", "o-3", {**order, "simulate": "decline"})
    good, no_mail = [await stage.end("create-order", key, settled=True) for key in ("o-1", "o-2")]
    assert {"reservationId", "stockAvailable", "paymentVerified"} <= state_of(good).keys()
    assert good.steps["send-confirmation"].status == "completed"
    assert no_mail.status == "completed"
    assert no_mail.steps["send-confirmation"].status == "failed"
    declined = await stage.end("create-order", "o-3")
    assert (declined.status, _undone(declined)) == ("compensated", ["reserve-inventory"])


async def test_an_approval_waits_for_a_person_and_not_for_ever(stage: Stage) -> None:
    expense = {"what": "a ticket", "amount": 120}
    await stage.start("ExpenseApproval", "e-1", expense)

    async def asked() -> bool:
        found = await stage.look("ExpenseApproval", "e-1")
        return found is not None and "signal:decision" in found.steps

    await eventually(asked, WITHIN_S, "the manager being asked")
    agreed = ActionRequest(name="decision", payload=to_raw({"approved": True, "by": "ada"}))
    client = SagaClient(stage.floor.backend, stage.floor.names)
    await client.act("ExpenseApproval", "e-1", "signal", by="ada", request=agreed)
    assert _result(await stage.end("ExpenseApproval", "e-1"))["approvedBy"] == "ada"
    ended = await stage.run("ExpenseApproval", "e-2", {**expense, "patience": "1s"})
    assert (ended.status, _undone(ended)) == ("compensated", ["SetAside"])
    assert ended.error is not None
    assert ended.error.type == "NO_DECISION"
