"""``make bench``: the engine, publishing, lists and SQL, on a broker that syncs every write."""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from server.embedded import EmbeddedServer
from server.tuning import tune
from tests.benchmarks import measure
from tests.benchmarks.asking import asking
from tests.benchmarks.filling import INSTANCES
from tests.benchmarks.lists import lists
from tests.benchmarks.pages import pages
from tests.benchmarks.projecting import live_lag, projection
from tests.benchmarks.publishing import publishes
from tests.benchmarks.step_runs import step_runs

console = Console()
ALL = ("engine", "checkout", "runs", "publish", "size", "projection", "lists", "sql", "pages")


async def main(names: list[str]) -> None:
    """Run the named benchmarks or all of them."""
    wanted = names or list(ALL)
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), port=0, sync_always=True) as server:
            console.print(
                f"nats-server {server.version}, sync_interval always,"
                f" Python {platform.python_version()}, {platform.machine()}"
            )
            if "engine" in wanted:
                await _engine(server.url)
            if "checkout" in wanted:
                await _checkout(server.url)
            if "runs" in wanted:
                await _runs(server.url, server.pid)
            if "publish" in wanted:
                await _publish(server.url)
            if "size" in wanted:
                await _size(server.url)
            if "projection" in wanted:
                await _projection(server.url, Path(folder) / "projection")
            if "lists" in wanted:
                await _lists(server.url, Path(folder) / "lists")
            if "sql" in wanted:
                await _sql(Path(folder) / "sql")
            if "pages" in wanted:
                await _pages(server.url, Path(folder) / "pages")


async def _engine(url: str) -> None:
    table = Table(
        "raw loop /s", "engine /s", "ratio", title="engine alone, backlog of 20,000 events"
    )
    for _ in range(5):
        figures = await measure.engine_against_raw(url)
        table.add_row(
            f"{figures.raw_per_s:,.0f}", f"{figures.engine_per_s:,.0f}", f"{figures.ratio:.2f}"
        )
    console.print(table)


async def _checkout(url: str) -> None:
    table = Table(
        "in flight",
        "sagas /s",
        "p50 ms",
        "p99 ms",
        "broker alone ms",
        "p50 ratio",
        title="checkout: 4 transitions, 3 jobs",
    )
    for in_flight, total in ((1, 300), (16, 4_000), (128, 12_000)):
        floor_ms = await measure.broker_floor_ms(url)
        figures = await measure.checkouts(url, total, in_flight)
        table.add_row(
            str(in_flight),
            f"{figures.per_s:,.0f}",
            f"{figures.p50_ms:.1f}",
            f"{figures.p99_ms:.1f}",
            f"{floor_ms:.1f}",
            f"{figures.p50_ms / floor_ms:.2f}",
        )
    console.print(table)


async def _runs(url: str, broker_pid: int) -> None:
    table = Table(
        *("steps run in", "in flight", "runs /s", "p50 ms", "p99 ms"),
        *("CPU ms: ours", "broker", "client", "broker alone ms"),
        title="runs of three steps, one in ten undone",
    )
    for where, roles in (("engine", ("inline",)), ("workers", ("step-engine", "step-jobs"))):
        for in_flight, total in ((1, 500), (16, 5_000), (128, 10_000)):
            floor_ms = await measure.broker_floor_ms(url)
            figures = await step_runs(url, broker_pid, total, in_flight, roles)
            table.add_row(
                *(where, str(in_flight), f"{figures.per_s:,.0f}"),
                *(f"{figures.p50_ms:.1f}", f"{figures.p99_ms:.1f}", f"{figures.ours_ms:.2f}"),
                *(f"{figures.broker_ms:.2f}", f"{figures.client_ms:.2f}", f"{floor_ms:.1f}"),
            )
    console.print(table)


async def _publish(url: str) -> None:
    table = Table(
        *("clients", "HTTP /s", "p50 ms", "p99 ms", "API CPU µs", "raw /s", "ratio"),
        title="POST /publish, one each",
    )
    for clients, total in ((1, 1_000), (64, 15_000), (64, 15_000), (64, 15_000)):
        figures = await publishes(url, total, clients)
        table.add_row(
            str(clients),
            f"{figures.http_per_s:,.0f}",
            f"{figures.p50_ms:.1f}",
            f"{figures.p99_ms:.1f}",
            f"{figures.cpu_us:.0f}",
            f"{figures.raw_per_s:,.0f}",
            f"{figures.ratio:.2f}",
        )
    console.print(table)


async def _size(url: str) -> None:
    figures = await measure.many_instances(url, 200_000)
    console.print(
        f"{figures.instances:,} instances: engine peak {figures.peak_mb:.0f} MB,"
        f" start to first transition {figures.start_s:.2f} s"
    )


async def _projection(url: str, folder: Path) -> None:
    table = Table(
        *("transitions", "raw pull and decode /s", "projected /s", "ratio", "peak MB"),
        title="projections from nothing (with their events, commands and attempts)",
    )
    for number, orders in enumerate((25_000, 250_000)):
        figures = await projection(url, folder / str(number), orders)
        table.add_row(
            f"{figures.transitions:,}",
            f"{figures.raw_per_s:,.0f}",
            f"{figures.projected_per_s:,.0f}",
            f"{figures.ratio:.2f}",
            f"{figures.peak_mb:.0f}",
        )
    console.print(table)
    lag = await live_lag(url, folder / "live", 1_000, 20)
    console.print(
        f"live, {lag.per_s:,.0f} transitions /s: visible after p50 {lag.p50_ms:.0f} ms,"
        f" p99 {lag.p99_ms:.0f} ms"
    )


async def _lists(url: str, folder: Path) -> None:
    table = Table(
        "request", "p50 ms", "p95 ms", "rows", "complete", title="lists of 1,000,000 instances"
    )
    for figures in await lists(url, folder):
        table.add_row(
            figures.what,
            f"{figures.p50_ms:.1f}",
            f"{figures.p95_ms:.1f}",
            f"{figures.rows:.1f}",
            f"{figures.complete:.0%}",
        )
    console.print(table)


async def _sql(folder: Path) -> None:
    figures = await asking(folder)
    table = Table("", "p50 ms", "p95 ms", title="SQL over 1,000,000 instances, 1,000 changes /s")
    for what, (p50_ms, p95_ms) in {
        "bring a copy up to date": figures.renew_ms,
        "ask for a count": figures.ask_ms,
        "apply 100 changes, nobody asks": figures.apply_alone_ms,
        "apply 100 changes, somebody asks": figures.apply_asked_ms,
    }.items():
        table.add_row(what, f"{p50_ms:.0f}", f"{p95_ms:.0f}")
    console.print(table)
    console.print(
        f"file {figures.file_mb:,.0f} MB, first copy {figures.first_copy_ms:,.0f} ms,"
        f" what was read was {figures.age_s_max:.1f} s old at most"
    )


async def _pages(url: str, folder: Path) -> None:
    figures, paints = await pages(url, folder)
    table = Table(
        *("page", "p50 ms", "p95 ms", "CPU ms", "kB sent", "status"),
        title=f"pages of the dashboard, {INSTANCES:,} instances",
    )
    for one in figures:
        table.add_row(
            one.what,
            f"{one.p50_ms:.0f}",
            f"{one.p95_ms:.0f}",
            f"{one.cpu_ms:.0f}",
            f"{one.sent_kb:.1f}",
            str(one.status),
        )
    console.print(table)
    for paint in paints:
        console.print(f"{paint.path}: first paint within {paint.first_paint_ms:.0f} ms")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    tune()
    asyncio.run(main(sys.argv[1:]))
