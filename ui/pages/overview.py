"""The first page: is anything stuck, is anything failing in a new way, what did people do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from sagas.instance import Status
from store.cards import EngineCard, WorkerCard, engine_cards, worker_cards
from store.projection.failures import Group, failure_groups
from store.projection.overview import Queue, Totals, queues, standing
from store.projection.port import Progress
from store.projection.spans import grid
from store.projection.throughput import Minute
from ui.answered import answered
from ui.chart import Chart, Series, chart
from ui.desk import Desk, Who
from ui.format import number, span
from ui.render import page

STATUSES: tuple[Status, ...] = get_args(Status)
SPANS = 60
NEW_FAILURE = timedelta(hours=1)
GROUPS_MAX = 8
ACTIONS_MAX = 10
DAY = timedelta(days=1)
WINDOWS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": DAY,
    "7d": timedelta(days=7),
}

ACTIONS = """
SELECT saga, key, action, "by", reason, requested_at, outcome, version, refusal
FROM operator_actions WHERE requested_at >= $since ORDER BY requested_at DESC LIMIT $rows
"""


class Acted(Struct, frozen=True, kw_only=True):
    """Something a person did today."""

    saga: str
    key: str
    action: str
    by: str
    reason: str
    requested_at: datetime
    outcome: str
    version: int | None
    refusal: str | None


class OverviewPage(Struct, frozen=True, kw_only=True):
    """The context of ``overview.html``; ``trouble`` are sentences about what is unwell."""

    totals: Totals
    empty: bool
    trouble: tuple[str, ...]
    new: tuple[Group, ...]
    others: tuple[Group, ...]
    jobs: tuple[Queue, ...]
    acted: tuple[Acted, ...]
    counts: Mapping[str, Mapping[str, int]]
    throughput: Chart
    latency: Chart
    window: str
    statuses: tuple[Status, ...]  # those that instances have
    windows: tuple[str, ...] = tuple(WINDOWS)


@get("/", opt={"role": "viewer"})
async def overview(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    window: FromQuery[Literal["1h", "6h", "24h", "7d"]] = "1h",
) -> Response[str]:
    """What needs somebody now, and how much goes through."""
    now = desk.now()
    since, width = now - WINDOWS[window], WINDOWS[window] / SPANS
    drawn_since = grid(now, width, SPANS)
    (whole, counts), groups, spans, loads, acted, (cards, _) = await asyncio.gather(
        standing(desk.read, since),
        failure_groups(desk.read, since=now - DAY, limit=50),
        desk.throughput.spans(drawn_since, width),
        queues(desk.read, since),
        desk.read.fetch(ACTIONS, {"since": now - DAY, "rows": ACTIONS_MAX}, Acted),
        answered(_cards(desk)),
    )
    new = tuple(group for group in groups if group.first_at >= now - NEW_FAILURE)
    context = OverviewPage(
        totals=whole,
        empty=not counts,
        trouble=tuple(trouble(cards, loads, desk.read.progress, now))
        if request.user.via != "backup"  # nothing runs there, and nothing has to
        else (),
        new=new[:GROUPS_MAX],
        others=tuple(group for group in groups if group not in new and group.open)[:GROUPS_MAX],
        jobs=tuple(load for load in loads if load.open),
        acted=tuple(acted),
        counts=dict(sorted(counts.items())),
        throughput=_throughput(spans, drawn_since, WINDOWS[window]),
        latency=_latency(spans, drawn_since, WINDOWS[window]),
        window=window,
        statuses=tuple(one for one in STATUSES if any(by.get(one) for by in counts.values())),
    )
    return page(request, desk, "overview.html", context, title="Overview")


def trouble(
    cards: tuple[Sequence[EngineCard], Sequence[WorkerCard]] | None,
    loads: Sequence[Queue],
    progress: Progress,
    now: datetime,
) -> list[str]:
    """What is unwell, one sentence each, with the next step; commands stand in backticks.

    ``cards`` are those of the engines and workers that are alive, None when the broker is silent.
    """
    if cards is None:
        return [
            "The broker does not answer, so nothing moves, and lists are as they were: "
            "see System, or run `snorri doctor`."
        ]
    engines, workers = cards
    found = _engines(engines)
    served = {target for worker in workers for target in worker.targets}
    for load in loads:
        if load.open and load.oldest_at and load.target not in served:
            wait = "command waits" if load.open == 1 else "commands wait"
            found.append(
                f"{number(load.open)} {wait} for {load.target}, the oldest for "
                f"{span(now - load.oldest_at)}, and "
                f"no worker serves it: start one with `snorri jobs {load.target}`."
            )
        elif load.falls_behind:
            found.append(
                f"{load.target} falls behind: {number(load.open)} commands are open, "
                f"{number(load.sent)} were sent and {number(load.answered)} answered; "
                f"start more workers with `snorri jobs {load.target}`."
            )
    if progress.rebuilding is not None:
        part = round(progress.rebuilding * 100)
        found.append(f"The projections are being rebuilt, {part} % done; lists may be incomplete.")
    return found


def _engines(engines: Sequence[EngineCard]) -> list[str]:
    if not engines:
        return ["No engine is running, so no saga moves: start one with `snorri engine`."]
    held = {number for engine in engines for number in engine.partitions}
    alone = [str(n) for n in range(max(engine.of for engine in engines)) if n not in held]
    if not alone:
        return []
    which = f"partition {alone[0]}" if len(alone) == 1 else f"partitions {', '.join(alone)}"
    return [
        f"No engine works on {which}, so the sagas there stand still: see `snorri partitions`, "
        "or start another `snorri engine`."
    ]


async def _cards(desk: Desk) -> tuple[list[EngineCard], list[WorkerCard]]:
    engines, workers = await asyncio.gather(engine_cards(desk.meta), worker_cards(desk.meta))
    return engines, workers


def _places(
    spans: Sequence[Minute], since: datetime, window: timedelta
) -> tuple[list[str], list[Minute | None]]:
    """The names of all spans of the window, and what fell into each."""
    width = window / SPANS
    found = {round((one.from_at - since) / width): one for one in spans}
    form = "%a %H:%M" if window > DAY else "%H:%M"
    return [f"{since + width * i:{form}}" for i in range(SPANS)], [
        found.get(i) for i in range(SPANS)
    ]


def _throughput(spans: Sequence[Minute], since: datetime, window: timedelta) -> Chart:
    names, places = _places(spans, since, window)
    well = tuple(None if one is None else float(one.transitions - one.failed) for one in places)
    failed = tuple(None if one is None else float(one.failed) for one in places)
    rows = [Series("transitions", well), Series("failures", failed, tone="red")]
    return chart(f"Transitions per {span(window / SPANS)}, UTC", names, rows, number)


def _latency(spans: Sequence[Minute], since: datetime, window: timedelta) -> Chart:
    names, places = _places(spans, since, window)
    half = tuple(None if one is None else one.waited_p50_ms / 1000 for one in places)
    most = tuple(None if one is None else one.waited_p95_ms / 1000 for one in places)
    rows = [
        Series("p95", most, tone="amber", kind="line"),
        Series("p50", half, tone="accent", kind="line"),
    ]
    return chart("From a message to its transition, times in UTC", names, rows, span)


ROUTES = (overview,)
