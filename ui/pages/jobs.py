"""Jobs: what waits for workers, how attempts go, and one job with all its attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Raw, Struct, structs

from store.cards import JobCard, WorkerCard, job_cards, worker_cards
from store.codec import CAUSE, EXECUTION, Execution
from store.port import QueueState
from store.projection.attempts import JobSpan
from store.projection.jobs import (
    WaitingCommand,
    answer_to,
    waiting_commands,
)
from store.projection.overview import Queue, queues
from store.projection.records import EXECUTIONS, ExecutionRow, JobStats, job_stats
from store.projection.spans import grid
from store.projection.where import Where
from ui.addresses import Query
from ui.chart import Chart, Series, chart
from ui.copying import Line
from ui.desk import Desk, Who
from ui.format import number, span
from ui.paging import read_place, write_place
from ui.render import missing, page
from ui.sending_lines import job_lines

ROWS = 50
SPANS = 48
SEQ_MAX = 2**53
OUTCOMES = ("completed", "failed", "retried", "timed_out", "returned")
WINDOWS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}


class JobEntry(Struct, frozen=True, kw_only=True):
    """A job in the list: ``queue`` is None when no worker ever served it, ``load`` and ``stats``
    when nothing happened within the window, which has so many ``minutes``.
    """

    card: JobCard
    queue: QueueState | None
    workers: tuple[WorkerCard, ...]
    load: Queue | None
    stats: JobStats | None
    minutes: float

    @property
    def rate(self) -> float:
        """Attempts that ended for each minute."""
        return self.stats.attempts / self.minutes if self.stats else 0.0

    @property
    def open(self) -> int:
        """Commands without an answer, those at work included."""
        return self.queue.waiting + self.queue.in_flight if self.queue else 0

    @property
    def bad(self) -> int:
        """Attempts that failed for good, or ran out of time."""
        return self.stats.failed + self.stats.timed_out if self.stats else 0


class JobsPage(Struct, frozen=True, kw_only=True):
    """The context of ``jobs.html``; ``orphans`` have commands and no worker."""

    entries: tuple[JobEntry, ...]
    orphans: tuple[JobEntry, ...]
    workers: tuple[WorkerCard, ...]
    window: str
    windows: tuple[str, ...] = tuple(WINDOWS)


class Ran(Struct, frozen=True, kw_only=True):
    """A run by hand: its attempts on record, and how it ended, None while it has not."""

    command: str
    attempts: list[ExecutionRow]
    seq: int | None
    execution: Execution | None
    payload: Raw | None
    error: str


class JobPage(Struct, frozen=True, kw_only=True):
    """The context of ``job.html``."""

    entry: JobEntry
    waiting: list[WaitingCommand]
    rows: list[ExecutionRow]
    next: Query | None
    first: Query | None
    asked: dict[str, str]
    attempts: Chart
    times: Chart
    ran: Ran | None
    lines: tuple[Line, ...]
    window: str
    windows: tuple[str, ...] = tuple(WINDOWS)
    outcomes: tuple[str, ...] = OUTCOMES


@get("/jobs", opt={"role": "viewer"})
async def jobs(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    window: FromQuery[Literal["1h", "6h", "24h", "7d"]] = "1h",
) -> Response[str]:
    """All jobs that workers have registered."""
    (found, workers), stats = await asyncio.gather(
        _entries(desk, window), job_stats(desk.read, desk.now() - WINDOWS[window])
    )
    entries = tuple(structs.replace(one, stats=stats.get(one.card.target)) for one in found)
    context = JobsPage(
        entries=entries,
        orphans=tuple(one for one in entries if one.open and not one.workers),
        workers=workers,
        window=window,
    )
    return page(request, desk, "jobs.html", context, title="Jobs")


@get("/jobs/{target:str}", opt={"role": "viewer"})
async def job(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    target: FromPath[str],
    window: FromQuery[Literal["1h", "6h", "24h", "7d"]] = "1h",
    outcome: FromQuery[str] = "",
    command: FromQuery[str] = "",
    ran: FromQuery[str] = "",
    answer: FromQuery[int] = 0,
    after: FromQuery[str] = "",
) -> Response[str]:
    """One job: its queue, attempts and settings; ``ran`` is a command sent by hand, ``answer`` the
    event of its result.
    """
    asked = {"outcome": outcome, "command": command.strip()}
    where = Where()
    where.equal("target", target)
    for name, value in asked.items():
        where.equal(name, value or None)
    width = WINDOWS[window] / SPANS
    since = grid(desk.now(), width, SPANS)
    entry, waiting, (spans, stats), listed, run = await asyncio.gather(
        entry_of(desk, target, window),
        waiting_commands(desk.read, target),
        desk.attempts.of(target, since, width),
        EXECUTIONS.page(desk.read, where, read_place(EXECUTIONS, after), ROWS),
        _ran(desk, target, ran, answer),
    )
    if entry is None:
        return no_job(request, desk, target)
    rows, place = listed
    query: Query = {**asked, "window": window if window != "1h" else ""}
    context = JobPage(
        entry=structs.replace(entry, stats=stats),
        waiting=waiting,
        rows=rows,
        next={**query, "after": write_place(place)} if place else None,
        first=query if after else None,
        asked=asked,
        attempts=_attempts(spans, since, WINDOWS[window]),
        times=_times(spans, since, WINDOWS[window]),
        ran=run,
        lines=job_lines(desk.names, str(request.base_url).rstrip("/") + desk.base, target),
        window=window,
    )
    return page(request, desk, "job.html", context, title=target)


async def entry_of(desk: Desk, target: str, window: str = "1h") -> JobEntry | None:
    """A job as it stands, without its stats; None when no worker has registered it. Raises
    Unreachable.
    """
    entries, _ = await _entries(desk, window, target)
    return entries[0] if entries else None


def no_job(request: Request[Who, Any, State], desk: Desk, target: str) -> Response[str]:
    """The page for a job that is not registered."""
    words = "A worker registers its jobs when it starts. The list has those there are."
    return missing(request, desk, f"No worker has registered a job {target}", words, ("/jobs", {}))


async def _entries(
    desk: Desk, window: str, only: str = ""
) -> tuple[tuple[JobEntry, ...], tuple[WorkerCard, ...]]:
    """The jobs, or one of them, without their stats, and all workers alive."""
    since = desk.now() - WINDOWS[window]
    cards, workers, loads = await asyncio.gather(
        job_cards(desk.meta), worker_cards(desk.meta), queues(desk.read, since, only)
    )
    cards = [card for card in cards if not only or card.target == only]
    states = await asyncio.gather(*(desk.sending.queues.state(card.target) for card in cards))
    by_target = {load.target: load for load in loads}
    entries = (
        JobEntry(
            card=card,
            queue=queue,
            workers=tuple(worker for worker in workers if card.target in worker.targets),
            load=by_target.get(card.target),
            stats=None,
            minutes=WINDOWS[window] / timedelta(minutes=1),
        )
        for card, queue in zip(cards, states, strict=True)
    )
    return tuple(entries), tuple(workers)


async def _ran(desk: Desk, target: str, command: str, answer: int) -> Ran | None:
    """A run by hand as far as it came; ``answer`` is the event of its result when that is known."""
    if not command:
        return None
    where = Where()
    where.equal("target", target)
    where.equal("command", command)
    attempts, _ = await EXECUTIONS.page(desk.read, where, None, ROWS)
    seq = answer or await answer_to(desk.read, command)
    stored = await desk.client.event(seq) if seq and seq <= SEQ_MAX else None
    if stored is None or stored.headers.get(CAUSE) != command or EXECUTION not in stored.headers:
        return Ran(
            command=command, attempts=attempts, seq=None, execution=None, payload=None, error=""
        )
    execution = msgspec.json.decode(stored.headers[EXECUTION], type=Execution)
    return Ran(
        command=command,
        attempts=attempts,
        seq=seq,
        execution=execution,
        payload=Raw(desk.mask(stored.data or b"null")),
        error=desk.mask_text(execution.error, stored.data or b"null"),
    )


def _places(
    spans: Sequence[JobSpan], since: datetime, window: timedelta
) -> tuple[list[str], list[JobSpan | None]]:
    """The names of all spans of the window, and what fell into each."""
    width = window / SPANS
    found = {round((one.from_at - since) / width): one for one in spans}
    form = "%a %H:%M" if window > timedelta(days=1) else "%H:%M"
    return [f"{since + width * i:{form}}" for i in range(SPANS)], [
        found.get(i) for i in range(SPANS)
    ]


def _attempts(spans: Sequence[JobSpan], since: datetime, window: timedelta) -> Chart:
    names, places = _places(spans, since, window)
    rows = [
        Series("completed", tuple(None if one is None else float(one.completed) for one in places)),
        Series(
            "failed, retried or timed out",
            tuple(None if one is None else float(one.failed) for one in places),
            tone="red",
        ),
    ]
    return chart(f"Attempts that ended, per {span(window / SPANS)}, UTC", names, rows, number)


def _times(spans: Sequence[JobSpan], since: datetime, window: timedelta) -> Chart:
    names, places = _places(spans, since, window)
    half = tuple(None if one is None else one.p50_ms / 1000 for one in places)
    most = tuple(None if one is None else one.p95_ms / 1000 for one in places)
    rows = [
        Series("p95", most, tone="amber", kind="line"),
        Series("p50", half, tone="accent", kind="line"),
    ]
    return chart("How long an attempt takes, times in UTC", names, rows, span)


ROUTES = (jobs, job)
