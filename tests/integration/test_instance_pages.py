"""Pages of instances on a real DuckDB: right while rows arrive, right for every filter.

Goal: walking pages shows every instance that stays as it is exactly once, in order, whatever the
filter, the size of windows and the time a search gets. Method: some hundred rows written as the
projector leaves them, some changed at random between pages; the pages are compared with what plain
Python picks from the same rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from store.duck.projection import DuckProjections, DuckTables
from store.live_mask import LiveMask
from store.projection import instances
from store.projection.checkpoint import Streams
from store.projection.filters import InstanceFilter, make_filter
from store.projection.instances import Order, count_instances, find_instances, near_keys
from store.subjects import Names

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SAGAS = ("Checkout", "Trip", "Tränen")
STATUSES = ("running", "completed", "parked")
NAMES = ("Anna Müller", 'Jo "Quote" Smith', "back\\slash", "ANNA", "日本 太郎")


class Place:
    """Rows in the tables, and the same rows as dicts."""

    def __init__(self, projections: DuckProjections, tables: DuckTables) -> None:
        self.read = projections
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._cursor = tables.file.cursor()
        self._seq = 100

    def put(self, saga: str, key: str, status: str, state: object) -> None:
        """An instance changes, or begins: its row goes to the end."""
        self._seq += random.Random(self._seq).choice((1, 1, 3, 200))
        row = {"saga": saga, "key": key, "status": status, "state": state, "seq": self._seq}
        row["changed_at"] = BEGAN + timedelta(seconds=self._seq)
        self.rows[(saga, key)] = row
        self._cursor.execute("DELETE FROM base.instances WHERE saga = ? AND key = ?", [saga, key])
        self._cursor.execute(
            "INSERT INTO base.instances BY NAME SELECT ? AS saga, ? AS key, 1 AS version,"
            " ? AS status, ?::JSON AS state, ?::TIMESTAMPTZ AS changed_at, ? AS seq, changed_at AS"
            " started_at, changed_at AS status_since, '' AS definition, '' AS trace, 'event' AS"
            " cause_kind, 'E' AS cause_type, 0 AS open_commands, 0 AS open_timers,"
            " 0 AS open_children, 0 AS backlog",
            [
                saga,
                key,
                status,
                msgspec.json.encode(state).decode(),
                row["changed_at"].isoformat(),
                self._seq,
            ],
        )

    def fill(self, count: int, chance: random.Random) -> None:
        """Instances of all kinds, in one transaction: that is much faster."""
        self._cursor.execute("BEGIN")
        for n in range(count):
            state = {
                "total": chance.randrange(2000),
                "customer": {"id": f"c-{chance.randrange(9)}", "name": chance.choice(NAMES)},
                "items": [{"sku": f"A-{chance.randrange(5)}"}],
                "paid": chance.random() < 0.5,
            }
            if chance.random() < 0.2:
                state["total"] = str(state["total"])
                del state["customer"]
            self.put(chance.choice(SAGAS), f"o-{n}", chance.choice(STATUSES), state)
        self._cursor.execute("COMMIT")


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Empty tables."""
    projections = DuckProjections(tmp_path / "projections", Names(), LiveMask())
    await projections.open()
    tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))
    yield Place(projections, tables)
    await projections.close()


def _filter(**given: Any) -> InstanceFilter:
    return make_filter(**given, now=BEGAN + timedelta(days=1))


async def _walk(
    place: Place,
    filter: InstanceFilter,
    order: Order,
    limit: int,
    between: Callable[[], None] = lambda: None,
    **more: Any,
) -> list[tuple[str, str]]:
    """The instances all pages show, in their order."""
    shown: list[tuple[str, str]] = []
    at: int | None = None
    while True:
        found = await find_instances(place.read, filter, limit=limit, place=at, order=order, **more)
        assert len(found.rows) <= limit
        shown += [(row.saga, row.key) for row in found.rows]
        if found.next is None:
            assert found.complete
            return shown
        at = found.next
        between()


def _text(row: dict[str, Any]) -> str:
    return f"{row['key']} {json.dumps(row['state'], ensure_ascii=False)}".lower()


def _total(row: dict[str, Any]) -> float:
    return float(row["state"]["total"])


def _name(row: dict[str, Any]) -> str:
    return row["state"].get("customer", {}).get("name", "")


FILTERS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "all": ({}, lambda row: True),
    "saga": ({"sagas": ["Tränen", "Trip"]}, lambda row: row["saga"] in ("Tränen", "Trip")),
    "status": ({"statuses": ["parked"]}, lambda row: row["status"] == "parked"),
    "key": ({"key": "o-7"}, lambda row: row["key"] == "o-7"),
    "prefix": ({"key": "o-1*"}, lambda row: row["key"].startswith("o-1")),
    "words": ({"q": "müller o-1"}, lambda row: "müller" in _text(row) and "o-1" in _text(row)),
    "quotes": ({"q": '"quote"'}, lambda row: "Quote" in _name(row)),
    "backslash": ({"q": "k\\s"}, lambda row: "back" in _name(row)),
    "signs": ({"q": "[.*"}, lambda row: False),
    "number": ({"where": ["state.total>=1000"]}, lambda row: _total(row) >= 1000),
    "equal number": ({"where": ["state.total=77"]}, lambda row: _total(row) == 77),
    "text": (
        {"where": ["state.customer.id=c-3"]},
        lambda row: row["state"].get("customer", {}).get("id") == "c-3",
    ),
    "not": (
        {"where": ["state.customer.id!=c-3"]},
        lambda row: row["state"].get("customer", {}).get("id") != "c-3",
    ),
    "contains": ({"where": ["state.customer.name~anna"]}, lambda row: "anna" in _name(row).lower()),
    "in a subtree": ({"where": ["state.items~a-4"]}, lambda row: "A-4" in str(row["state"])),
    "place": (
        {"where": ["state.items.0.sku=A-2"]},
        lambda row: row["state"]["items"][0]["sku"] == "A-2",
    ),
    "true": ({"where": ["state.paid=true"]}, lambda row: row["state"]["paid"]),
    "absent": ({"where": ["state.customer=null"]}, lambda row: "customer" not in row["state"]),
    "present": ({"where": ["state.customer!=null"]}, lambda row: "customer" in row["state"]),
    "since": (
        {"since": (BEGAN + timedelta(seconds=5000)).isoformat()},
        lambda row: row["seq"] >= 5000,
    ),
    "until": ({"until": (BEGAN + timedelta(seconds=5000)).isoformat()}, lambda r: r["seq"] < 5000),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_every_filter_finds_what_it_says(
    place: Place, seed: int, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of each filter together are exactly the rows that it names, in order."""
    monkeypatch.setattr(instances, "WINDOW", 700)
    place.fill(300, random.Random(seed))
    for name, (given, fits) in FILTERS.items():
        rows = sorted(filter(fits, place.rows.values()), key=lambda row: row["seq"])
        expected = [(row["saga"], row["key"]) for row in rows]

        shown = await _walk(place, _filter(**given), order, 23, budget_s=60)

        assert shown == (expected[::-1] if order == "newest" else expected), name


@pytest.mark.asyncio
async def test_pages_stay_right_while_rows_arrive(place: Place, seed: int) -> None:
    """What does not change is shown exactly once; nothing is shown twice."""
    chance = random.Random(seed)
    place.fill(200, chance)
    before = set(place.rows)
    changed: set[tuple[str, str]] = set()

    def change() -> None:
        for _ in range(3):
            saga, key = chance.choice(sorted(before))
            changed.add((saga, key))
            place.put(saga, key, "completed", {"changed": True})
        place.put("Checkout", f"new-{len(place.rows)}", "running", {})

    shown = await _walk(place, _filter(), "newest", 17, change)

    assert len(shown) == len(set(shown))
    assert before - changed <= set(shown)
    front = await find_instances(place.read, _filter(), limit=500)
    assert changed <= {(row.saga, row.key) for row in front.rows[: len(changed) + 50]}


@pytest.mark.asyncio
async def test_a_search_that_runs_out_of_time_goes_on_where_it_stopped(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that come back early say so, and together they still show everything once."""
    monkeypatch.setattr(instances, "WINDOW", 300)
    place.fill(300, random.Random(seed))
    given, fits = FILTERS["text"]
    ticks = iter(range(10_000))
    first = await find_instances(
        place.read, _filter(**given), limit=500, budget_s=0.5, clock=lambda: float(next(ticks))
    )

    shown = await _walk(
        place, _filter(**given), "newest", 500, budget_s=0.5, clock=lambda: float(next(ticks))
    )

    assert not first.complete
    assert first.next == first.through
    assert all(row.seq >= first.through for row in first.rows)
    assert len(shown) == len(set(shown))
    assert set(shown) == {(r["saga"], r["key"]) for r in place.rows.values() if fits(r)}


@pytest.mark.asyncio
async def test_nothing_there(place: Place) -> None:
    """An empty table is an empty last page."""
    found = await find_instances(place.read, _filter(q="x"), limit=5)

    assert (found.rows, found.next, found.complete) == ([], None, True)
    assert await count_instances(place.read) == {}


@pytest.mark.asyncio
async def test_counts_and_near_keys(place: Place, seed: int) -> None:
    """Instances by saga and status; keys that a misspelt one may have meant."""
    place.fill(60, random.Random(seed))
    place.put("Checkout", "order-1001", "parked", {})

    counts = await count_instances(place.read)
    of_one = await count_instances(place.read, "Checkout")

    assert sum(sum(one.values()) for one in counts.values()) == 61
    assert counts["Checkout"]["parked"] == sum(
        row["saga"] == "Checkout" and row["status"] == "parked" for row in place.rows.values()
    )
    assert of_one == {"Checkout": counts["Checkout"]}
    assert await near_keys(place.read, "Checkout", "Order-101", 3) == ["order-1001"]
    assert await near_keys(place.read, "Nobody", "order-1001", 3) == []
