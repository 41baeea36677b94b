"""What the dashboard's pages cost with 200,000 instances: server time, bytes as sent, first paint.

The rows are written by SQL (``filling``); some single instances are stored on the broker, and the
cards of the sample sagas and jobs. Pages are asked for through the whole application without a
socket, many times each; then Chromium opens some of them over a real one.
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

from jobs.engine import Engine
from jobs.worker import Worker
from server.api.app import create_app
from server.api.service import ApiService
from server.loading import load_samples
from store.duck.projection import DuckProjections
from store.jetstream.backend import JetStreamBackend, connect
from store.live_mask import LiveMask
from store.subjects import Names
from tests.benchmarks.filling import fill
from tests.benchmarks.lists import SAGAS, STORED, deps_of, store
from tests.browser_setup import chromium_path

WIDTH, HEIGHT = 1440, 900

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
# Told by the page itself: waiting for an expression would be against its security policy.
PAINT = """new Promise(resolve => new PerformanceObserver(list => {
    const found = list.getEntriesByName("first-contentful-paint")[0];
    if (found) resolve(found.startTime);
}).observe({type: "paint", buffered: true}))"""
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
        await fill(projections)
        await store(backend, names)
        await _register(backend, names)
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
                    worst = max(worst, await page.evaluate(PAINT))
                    await page.close()
                found.append(PaintFigures(path=path, first_paint_ms=worst))
            await browser.close()
            return found
    finally:
        await service.stop()


async def _register(backend: JetStreamBackend, names: Names) -> None:
    """The cards of the sample sagas and their jobs, as processes write them that were here."""
    samples = load_samples()
    for process in (
        Engine(backend, names, samples.registry, engine_id="bench"),
        Worker(backend, names, samples.jobs),
    ):
        await process.start()
        await process.stop()
