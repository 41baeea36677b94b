"""Goal: a copy equals the projections it was made of, is seconds old, and is left alone while read.

Method: a real installation fills the projections by sample sagas, operator actions, failures and
timers; after each act the renewed copy is compared with the live tables row by row, ticks included.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import pytest_asyncio

from store.duck import duplicate
from store.duck.console import Snapshot
from store.duck.copies import TABLES, Copies
from store.duck.projection import DuckProjections
from store.projection.console import AGE_MAX_S
from store.projection.port import ReadError
from tests.api_kit import Api, open_api

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def copies(api: Api, tmp_path: Path) -> AsyncIterator[Copies]:
    made = Copies(_projections(api), tmp_path / "copies", renew_s=0.0)
    await made.open()
    yield made
    await made.close()


def _projections(api: Api) -> DuckProjections:
    assert isinstance(api.deps.read, DuckProjections)
    return api.deps.read


async def _acts(api: Api) -> AsyncIterator[str]:
    """One act after the other, each of another kind."""
    yield "nothing"
    for number in range(5):
        key = f"o-{number}"
        await api.publish("OrderPlaced", {"orderId": key, "amount": number}, key)
    await api.publish("CartChanged", {"cartId": "c-1"}, "c-1")
    await api.publish("OrderCreated", {"orderId": "k-1", "total": 5}, "k-1")
    yield "started"
    await api.status("Shop", "o-1", "parked")
    await api.status("CheckoutSaga", "k-1", "completed")
    await api.publish("OrderPlaced", {"orderId": "bad", "amount": -1}, "bad")
    await api.publish("OrderPlaced", {"orderId": "worse", "amount": "many"}, "worse")
    await api.status("Shop", "bad", "parked")
    yield "parked, dead letters"
    await api.publish("OrderClosed", {"orderId": "o-0"}, "o-0")
    await api.publish("CartChanged", {"cartId": "c-1"}, "c-1")
    await api.publish("Nobody", {"x": 1}, "o-0")
    await api.status("Shop", "o-0", "completed")
    yield "ended, a timer replaced, a message for nobody"
    await api.client.act("Shop", "o-2", "pause", by="ann", reason="lunch")
    await api.client.act("Shop", "bad", "cancel", by="ann")
    await api.client.act("Shop", "o-0", "pause", by="ann")
    yield "acted, and refused"
    await api.client.act("Shop", "o-2", "resume", by="ann")
    await api.publish("OrderClosed", {"orderId": "o-2"}, "o-2")
    await api.publish("CartCheckedOut", {"cartId": "c-1"}, "c-1")
    await api.status("CartReminderSaga", "c-1", "completed")
    yield "resumed"


def _rows(snapshot: Snapshot, table: str) -> list[Any]:
    with duckdb.connect(str(snapshot.path), read_only=True) as connection:
        return sorted(connection.execute(f"SELECT * FROM base.{table}").fetchall(), key=repr)


def _live_rows(api: Api, table: str) -> list[Any]:
    with _projections(api).live().cursor() as cursor:
        return sorted(cursor.execute(f"SELECT * FROM base.{table}").fetchall(), key=repr)


async def test_a_copy_brought_up_to_date_is_equal_row_by_row(api: Api, copies: Copies) -> None:
    seen: dict[str, int] = {}
    async for act in _acts(api):
        await api.caught_up()
        snapshot = await copies.take()
        for table in TABLES:
            rows = await asyncio.to_thread(_rows, snapshot, table)
            assert rows == _live_rows(api, table), (act, table)
            seen[table] = len(rows)
        copies.give_back(snapshot)
    assert {table for table, count in seen.items() if not count} <= {"unreadable"}


async def test_a_copy_that_is_read_stays_as_it_is(api: Api, copies: Copies) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-7", "amount": 7}, "o-7")
    await api.status("Shop", "o-7", "running")
    await api.caught_up()
    held = await copies.take()
    with duckdb.connect(str(held.path), read_only=True) as reader:
        await api.publish("OrderClosed", {"orderId": "o-7"}, "o-7")
        revision = await api.status("Shop", "o-7", "completed")
        await api.caught_up()
        newer = await copies.take(revision.seq)
        assert newer.path != held.path
        assert newer.freshness.log_seq >= revision.seq > held.freshness.log_seq
        sql = "SELECT status FROM instances WHERE saga = 'Shop' AND key = 'o-7'"
        then = reader.execute(sql).fetchall()
    assert then == [("running",)]
    copies.give_back(newer)
    copies.give_back(held)
    await api.publish("OrderPlaced", {"orderId": "o-8", "amount": 7}, "o-8")
    await api.status("Shop", "o-8", "running")
    await api.caught_up()
    assert (await copies.take()).path in (held.path, newer.path)


async def test_a_copy_is_as_young_as_asked_for(api: Api, tmp_path: Path) -> None:
    lasting = Copies(_projections(api), tmp_path / "lasting", renew_s=3600.0)
    await lasting.open()
    await api.publish("OrderPlaced", {"orderId": "o-7", "amount": 7}, "o-7")
    await api.status("Shop", "o-7", "running")
    await api.caught_up()
    first = await lasting.take()
    assert first.freshness.age_s < 5.0
    await api.publish("OrderClosed", {"orderId": "o-7"}, "o-7")
    revision = await api.status("Shop", "o-7", "completed")
    await api.caught_up()
    same = await lasting.take()
    assert same.freshness.log_seq == first.freshness.log_seq
    newer = await lasting.take(revision.seq)
    assert newer.freshness.log_seq >= revision.seq
    await lasting.close()


async def test_after_a_rebuild_copies_start_anew(api: Api, copies: Copies) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-7", "amount": 7}, "o-7")
    await api.status("Shop", "o-7", "running")
    await api.caught_up()
    copies.give_back(await copies.take())
    before = _projections(api).live().path
    await api.projector.rebuild()
    assert _projections(api).live().path != before
    await api.caught_up()
    snapshot = await copies.take()
    assert _rows(snapshot, "transitions") == _live_rows(api, "transitions")
    assert len(list((copies._folder).iterdir())) == 1


async def test_under_load_copies_are_seconds_old_at_most(api: Api, tmp_path: Path) -> None:
    used = Copies(_projections(api), tmp_path / "used")
    await used.open()
    writing = asyncio.create_task(_write_for_long(api))
    ages_s: list[float] = []
    while not writing.done():
        snapshot = await used.take()
        ages_s.append(snapshot.freshness.age_s)
        await asyncio.wait({writing}, timeout=0.05)
        used.give_back(snapshot)
    await writing
    assert max(ages_s) < AGE_MAX_S
    assert len(ages_s) > 20
    await used.close()


async def _write_for_long(api: Api) -> None:
    """More events than can be handled at once, for some seconds."""
    until_s = asyncio.get_running_loop().time() + 4.0
    number = 0
    while asyncio.get_running_loop().time() < until_s:
        for _ in range(20):
            number += 1
            await api.publish("OrderPlaced", {"orderId": f"n-{number}", "amount": 5}, f"n-{number}")


async def test_errors_are_told_and_the_next_try_works(
    api: Api, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.caught_up()
    with monkeypatch.context() as patch:
        patch.setattr(duplicate, "__file__", "/nowhere.py")
        with pytest.raises(ReadError, match="can't be renewed"):
            await copies.take()
    copies.give_back(await copies.take())
