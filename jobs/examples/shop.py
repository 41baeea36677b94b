"""A shop with a database: a checkout whose rows change together, and an import that undoes itself.

    pip install 'snorri[sqlalchemy]' aiosqlite
    snorri dev --app jobs.examples.shop

The data are in memory and go with the process; ``SHOP_DATABASE_URL`` names a database that stays.
There are ten of the product ``tea`` and one of ``cup``.

    snorri start checkout '{"id":"o-1","product":"tea","total":4999}' --wait
    snorri start checkout '{"id":"o-2","product":"tea","total":4999,"simulate":"no-carrier"}' --wait
    snorri start import-people '[{"name":"Ada"},{"name":"Bob"}]' --wait
    snorri start import-people '[{"name":"Cid"},{"name":""}]' --wait
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, String, Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from jobs import Database, PermanentFailure, Providers, StepContext
from jobs.data import create, update
from jobs.examples.simulation import simulated, stable_id
from jobs.sql_database import SqlDatabase
from sagas import WorkflowSaga, retry, sequence, step, steps, workflow

TABLES = MetaData()
PRODUCT = Table(
    "product",
    TABLES,
    Column("name", String(40), primary_key=True),
    Column("stock", Integer, nullable=False),
)
ORDER = Table(
    "order",
    TABLES,
    Column("id", String(40), primary_key=True),
    Column("status", String(20), nullable=False),
    Column("charge", String(40)),
    Column("shipment", String(40)),
)
PERSON = Table(
    "person",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), CheckConstraint("name <> ''"), nullable=False),
)
STOCK = ({"name": "tea", "stock": 10}, {"name": "cup", "stock": 1})


class Checkout(Struct):
    """What is ordered; ``simulate``: decline, no-carrier, flaky, slow."""

    id: str
    product: str = "tea"
    total: int = 0
    simulate: str = ""


async def charge(ctx: StepContext[Checkout]) -> dict[str, str]:
    """Take the money; the payment provider knows nothing of our database."""
    await simulated(ctx, ctx.input.simulate)
    if ctx.input.simulate == "decline":
        raise PermanentFailure("the card was declined", code="DECLINED")
    return {"chargeId": stable_id("ch", ctx)}


async def refund(ctx: StepContext[Checkout], charged: dict[str, str]) -> None:
    """Give it back."""
    ctx.log.info("refunded", charge=charged["chargeId"])


async def take_stock(ctx: StepContext[Checkout]) -> None:
    """One less on the shelf; the row is ours until the transaction ends."""
    name = ctx.input.product
    product = await ctx.transaction.get("product", name)
    if product is None or product["stock"] < 1:
        raise PermanentFailure(f"{name} is sold out", code="SOLD_OUT")
    await ctx.transaction.update("product", name, {"stock": product["stock"] - 1})


async def ship(ctx: StepContext[Checkout]) -> dict[str, str]:
    """Hand it to a carrier, who can be told not to come."""
    if ctx.input.simulate == "no-carrier":
        raise PermanentFailure("no carrier goes there", code="NO_CARRIER")
    return {"shipmentId": stable_id("sh", ctx)}


async def call_off(ctx: StepContext[Checkout], shipped: dict[str, str]) -> None:
    """Tell the carrier."""
    ctx.log.info("called off", shipment=shipped["shipmentId"], rolled_back=ctx.rolled_back)


checkout = steps(
    "checkout",
    [
        create("open", "order", lambda ctx: {"id": ctx.input.id, "status": "open"}),
        step("charge-payment", charge, refund, retry=retry(3, "200ms", backoff=2)),
        sequence(
            "book",
            [
                step("take-stock", take_stock, nothing_to_undo=True),
                step("create-shipment", ship, call_off),
                update(
                    "finalize",
                    "order",
                    lambda ctx: ctx.input.id,
                    lambda ctx: {
                        "status": "completed",
                        "charge": ctx.get("chargeId"),
                        "shipment": ctx.get("shipmentId"),
                    },
                ),
            ],
            transactional=True,
        ),
    ],
    input=Checkout,
    description="Charge an order, and book it in one transaction.",
)

add_person = create("add-person", "person", lambda ctx: {"name": ctx.input["name"]})


@workflow("import-people")
async def import_people(saga: WorkflowSaga, people: list[dict[str, Any]]) -> int:
    """Add everybody, or nobody: a row that the database refuses takes those before it away."""
    for person in people:
        await add_person(saga, person)
    return len(people)


async def database() -> AsyncIterator[SqlDatabase]:
    """The database of the shop, with its tables and something on the shelves."""
    engine = create_async_engine(os.environ.get("SHOP_DATABASE_URL", "sqlite+aiosqlite://"))
    made = SqlDatabase(engine, TABLES)
    async with engine.begin() as connection:
        await connection.run_sync(TABLES.create_all)
    await made.prepare()
    try:
        async with engine.begin() as connection:
            await connection.execute(PRODUCT.insert(), STOCK)
    except IntegrityError:
        pass  # a database that stays has been filled before
    yield made
    await engine.dispose()


providers = Providers()
providers.provide(Database, database)
definitions = (checkout, import_people)
