"""How fast lists answer with a million instances: through the API, without a socket.

The rows are written by SQL into the tables of the projections, states of four sagas among them; the
single instances are stored on the broker. Each kind of page is asked for many times with other
values, so nothing is answered from a cache.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Raw, Struct

from jobs import JobRegistry, Providers
from sagas import Registry
from sagas.instance import Instance, encode
from sagas.messages import Cause
from server.api.app import create_app
from server.api.deps import Deps
from server.api.lists import make_cursor
from server.loading import App
from server.settings import Settings
from store.client import SagaClient
from store.duck.projection import DuckProjections
from store.jetstream.backend import connect
from store.live_mask import LiveMask
from store.port import Backend, Committed, Outgoing
from store.projection.checkpoint import Streams
from store.subjects import Names

INSTANCES = 1_000_000
STORED = 900
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SAGAS = ("CheckoutSaga", "order-saga", "TripSaga", "CartReminderSaga")
STATUSES = ("running", "completed", "completed", "completed", "failed", "compensated", "parked")
PATH = "/api/v1/sagas/instances"
SCOPE = "instances []"  # of a list without filters

FILL = """
INSERT INTO base.instances BY NAME
SELECT $sagas[1 + (i % 4)::INT] AS saga, 'o-' || i AS key, 4 AS version,
    $statuses[1 + (hash(i) % 7)::INT] AS status, 'open' AS own_status, state,
    changed_at - INTERVAL 3 SECOND AS started_at, changed_at, NULL AS ended_at,
    changed_at AS status_since, i * 5 AS seq, 'f00dcafe' AS definition, '' AS trace,
    'event' AS cause_kind, 'ShipmentCreated' AS cause_type, 0 AS open_commands, 0 AS open_timers,
    0 AS open_children, 0 AS backlog, hash(saga, key) AS ident
FROM (
    SELECT i, TIMESTAMPTZ '2026-01-01 00:00:00Z' + to_milliseconds(i * 20) AS changed_at,
        ('{"orderId":"o-' || i || '","customer":{"id":"c-' || hash(i) % 100000
        || '","name":"Anna Müller ' || hash(i + 7) % 1000 || '"},"status":"inventory_reserved",'
        || '"items":[{"sku":"A-' || i % 977 || '","quantity":2,"price":1250},'
        || '{"sku":"B-' || i % 97 || '","quantity":1,"price":2499}],"total":'
        || hash(i + 3) % 100000 || ',"transactionId":"tx-' || hash(i) || '","trackingNumber":""}'
        )::JSON AS state
    FROM range($from, $to) AS t(i))
"""


class PageFigures(Struct, frozen=True):
    """One kind of request: milliseconds, rows a page, and the part of pages searched completely."""

    what: str
    p50_ms: float
    p95_ms: float
    rows: float
    complete: float


async def lists(url: str, folder: Path, asked: int = 100) -> list[PageFigures]:
    """Ask for each kind of page ``asked`` times."""
    names = Names(namespace="lists", bucket="LISTS")
    backend = await connect(url, names)
    projections = DuckProjections(folder, names, LiveMask())
    try:
        await _fill(projections)
        await store(backend, names)
        gc.collect()
        gc.freeze()
        async with _http(backend, names, projections) as http:
            return [await _measure(http, what, path, asked) for what, path in KINDS]
    finally:
        await projections.close()
        await backend.close()


def _page(query: str) -> str:
    return f"{PATH}?limit=50&{query}"


KINDS: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("first page", lambda n: _page("")),
    ("by saga and status", lambda n: _page(f"saga={SAGAS[n % 4]}&status=parked")),
    ("by key prefix", lambda n: _page(f"key=o-{n}7*")),
    ("one key", lambda n: _page(f"key=o-{n}777")),
    ("a time long ago", lambda n: _page(f"until=2026-01-01T0{n % 5}:00:00Z")),
    ("deep page", lambda n: _page(f"cursor={make_cursor(SCOPE, (n + 1) * 40_000)}")),
    ("full text, frequent", lambda n: _page(f"q=müller+{n}")),
    ("full text, rare", lambda n: _page(f"q=C-{n}77")),
    ("full text, nowhere", lambda n: _page(f"q=nobody{n}")),
    ("state.total>=, many", lambda n: _page(f"state.total>={n * 100}")),
    ("state.total>=, few", lambda n: _page(f"state.total>={99_900 + n}")),
    ("state.customer.id=", lambda n: _page(f"state.customer.id=c-{n}77")),
    ("with states", lambda n: _page(f"include=state&saga={SAGAS[n % 4]}")),
    ("one instance", lambda n: f"{PATH}/CheckoutSaga/k-{n % STORED}?waits=false"),
    ("one with its waits", lambda n: f"{PATH}/CheckoutSaga/k-{n % STORED}"),
)


async def _measure(
    http: httpx.AsyncClient, what: str, path: Callable[[int], str], asked: int
) -> PageFigures:
    took: list[float] = []
    rows: list[int] = []
    complete: list[bool] = []
    for n in range(asked):
        target = path(n)
        started = time.perf_counter()
        answer = await http.get(target)
        took.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows.append(len(page.get("items", "1")))
        complete.append(page.get("searched", {}).get("complete", True))
    took.sort()
    return PageFigures(
        what=what,
        p50_ms=statistics.median(took),
        p95_ms=took[int(len(took) * 0.95)],
        rows=statistics.mean(rows),
        complete=sum(complete) / len(complete),
    )


async def _fill(projections: DuckProjections) -> None:
    """A million rows, in the order of their last change, as the projector leaves them."""
    await projections.open()
    tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))
    step = INSTANCES // 10
    for start in range(0, INSTANCES, step):
        values = {"sagas": SAGAS, "statuses": STATUSES, "from": start, "to": start + step}
        await asyncio.to_thread(tables.file.cursor().execute, FILL, values)


async def store(backend: Backend, names: Names) -> None:
    """Some instances on the broker."""
    cause = Cause(kind="event", type="OrderCreated", id="", seq=1, at=BEGAN)
    state = msgspec.json.encode({"orderId": "k", "items": [{"sku": "A", "quantity": 2}] * 3})
    batch = [
        Outgoing(
            names.instance("CheckoutSaga", f"k-{n}"),
            encode(
                Instance(
                    v=1,
                    saga="CheckoutSaga",
                    key=f"k-{n}",
                    version=1,
                    status="running",
                    state=Raw(state),
                    started=BEGAN,
                    at=BEGAN,
                    cause=cause,
                    effects=(),
                    error=None,
                    definition="",
                    trace="",
                    prev="",
                )
            ),
        )
        for n in range(STORED)
    ]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Committed), outcome


def deps_of(backend: Backend, names: Names, projections: DuckProjections) -> Deps:
    """What the application works with, for a process without code of sagas."""
    return Deps(
        settings=Settings(),
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=projections,
        app=App(modules=(), registry=Registry(), jobs=JobRegistry(), providers=Providers()),
        mask=LiveMask(),
    )


def _http(backend: Backend, names: Names, projections: DuckProjections) -> httpx.AsyncClient:
    deps = deps_of(backend, names, projections)
    transport: Any = httpx.ASGITransport(create_app(deps))  # type: ignore[arg-type]  # Litestar's own ASGI types
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8092")
