"""What the dashboard's pages cost with 200,000 instances: server time, bytes as sent, first paint.

The rows are written by SQL, their last hour as full as it gets; some single instances are stored on
the broker. Pages are asked for through the whole application without a socket, many times each;
then Chromium opens some of them over a real one.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from msgspec import Struct
from playwright.async_api import async_playwright

from server.api.app import create_app
from server.api.service import ApiService
from store.duck.projection import DuckProjections
from store.jetstream.backend import connect
from store.live_mask import LiveMask
from store.projection.checkpoint import Streams
from store.subjects import Names
from tests.benchmarks.asking import COMMANDS, EVENTS, HISTORY, VERSIONS
from tests.benchmarks.lists import BEGAN, FILL, SAGAS, STATUSES, STORED, deps_of, store
from tests.browser_setup import chromium_path

INSTANCES = 200_000
WIDTH, HEIGHT = 1440, 900
# The last change is now; one in twenty went wrong, for forty causes.
NOW = """
UPDATE base.instances SET tick = coalesce(getvariable('tick'), 0),
    changed_at = changed_at + (now() - newest), started_at = started_at + (now() - newest),
    status_since = status_since + (now() - newest),
    status = CASE WHEN status IN ('failed', 'parked') AND hash(key, 1) % 5 <> 0
        THEN 'completed' ELSE status END
FROM (SELECT max(changed_at) AS newest FROM base.instances)
"""
ENDED = """
UPDATE base.instances SET tick = coalesce(getvariable('tick'), 0),
    ended_at = CASE WHEN status IN ('completed', 'failed', 'compensated') THEN changed_at END,
    error_type = CASE WHEN status IN ('failed', 'parked') THEN 'ValueError' END,
    error_message = CASE WHEN status IN ('failed', 'parked')
        THEN 'the shelf ' || hash(key) % 40 || ' is empty' END
"""
STORIES = f"""
UPDATE base.transitions SET tick = coalesce(getvariable('tick'), 0),
    status = CASE WHEN version = {VERSIONS} THEN status ELSE 'running' END,
    status_before = CASE WHEN version > 1 THEN 'running' END,
    error_type = CASE WHEN version = {VERSIONS} AND status IN ('failed', 'parked')
        THEN 'ValueError' END,
    error_message = CASE WHEN version = {VERSIONS} AND status IN ('failed', 'parked')
        THEN 'the shelf ' || hash(key) % 40 || ' is empty' END
"""

PAGES: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("overview", lambda n: "/"),
    ("overview, a week", lambda n: "/?window=7d"),
    ("instances", lambda n: "/instances"),
    ("instances, filtered", lambda n: f"/instances?saga={SAGAS[n % 4]}&status=parked"),
    ("instances, full text", lambda n: f"/instances?q=müller+{n}"),
    ("instances, state field", lambda n: f"/instances?where=state.total%3E%3D{n * 900}"),
    ("instance", lambda n: f"/instances/CheckoutSaga/k-{n % STORED}"),
    ("instance, graph", lambda n: f"/instances/CheckoutSaga/k-{n % STORED}?view=graph"),
    ("failures", lambda n: "/failures"),
    ("events", lambda n: "/events"),
    ("events, unmatched", lambda n: "/events/unmatched"),
    ("dead letters", lambda n: "/failures/dead-letters"),
    ("timers", lambda n: "/timers"),
    ("sagas", lambda n: "/sagas"),
    ("saga", lambda n: f"/sagas/{SAGAS[n % 4]}"),
    ("jobs", lambda n: "/jobs"),
    ("job", lambda n: "/jobs/process-payment"),
    ("publish", lambda n: "/publish"),
    ("sql", lambda n: "/sql"),
    ("audit", lambda n: "/audit"),
    ("system", lambda n: "/system"),
)
PAINTED = ("/", "/instances", "/instances/CheckoutSaga/k-1", "/failures")


class PageFigures(Struct, frozen=True, kw_only=True):
    """One page: milliseconds on the server by the clock and of the processor, bytes as sent."""

    what: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    sent_kb: float
    status: int


class PaintFigures(Struct, frozen=True, kw_only=True):
    """One page in Chromium: milliseconds until something shows; the worst of some openings."""

    path: str
    first_paint_ms: float


async def pages(
    url: str, folder: Path, asked: int = 40
) -> tuple[list[PageFigures], list[PaintFigures]]:
    """Fill the tables, then measure every page ``asked`` times and its first paint."""
    names = Names(namespace="pages", bucket="PAGES")
    backend = await connect(url, names)
    projections = DuckProjections(folder, names, LiveMask())
    try:
        await _fill(projections)
        await store(backend, names)
        app = create_app(deps_of(backend, names, projections))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's own ASGI types
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            figures = [await _measure(http, what, path, asked) for what, path in PAGES]
        return figures, await _paint(app)
    finally:
        await projections.close()
        await backend.close()


async def _measure(
    http: httpx.AsyncClient, what: str, path: Callable[[int], str], asked: int
) -> PageFigures:
    took: list[float] = []
    sent: list[int] = []
    status, began = 0, time.process_time()
    for n in range(asked):
        started = time.perf_counter()
        async with http.stream("GET", path(n), headers={"Accept": "text/html"}) as answer:
            sent.append(len(b"".join([chunk async for chunk in answer.aiter_raw()])))
        took.append((time.perf_counter() - started) * 1000)
        status = answer.status_code
    cpu_ms = (time.process_time() - began) * 1000 / asked
    took.sort()
    return PageFigures(
        what=what,
        p50_ms=statistics.median(took),
        p95_ms=took[int(len(took) * 0.95)],
        cpu_ms=cpu_ms,
        sent_kb=max(sent) / 1000,
        status=status,
    )


async def _paint(app: object) -> list[PaintFigures]:
    """Open pages in a browser that has no cache, three times each."""
    chromium = await asyncio.to_thread(chromium_path)
    service = ApiService(app, "127.0.0.1", 0)  # type: ignore[arg-type]  # Litestar's own ASGI types
    await service.start()
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"]
            )
            found: list[PaintFigures] = []
            for path in PAINTED:
                worst = 0.0
                for _ in range(3):
                    page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                    await page.goto(service.address + path)
                    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
                    await page.wait_for_function(paint)
                    worst = max(worst, await page.evaluate(paint))
                    await page.close()
                found.append(PaintFigures(path=path, first_paint_ms=worst))
            await browser.close()
            return found
    finally:
        await service.stop()


async def _fill(projections: DuckProjections) -> None:
    await projections.open()
    tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))

    def fill() -> None:
        with tables.file.cursor() as cursor:
            values = {"sagas": SAGAS, "statuses": STATUSES, "from": 0, "to": INSTANCES}
            cursor.execute(FILL, values)
            for sql in (NOW, ENDED, HISTORY, STORIES, EVENTS, COMMANDS):
                cursor.execute(sql)

    await asyncio.to_thread(fill)
