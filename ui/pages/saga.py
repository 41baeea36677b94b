"""One definition: what it takes, how its instances go and where they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from sagas.cron_times import next_runs
from sagas.errors import DefinitionError
from sagas.instance import Status
from store.cards import SagaCard, engine_cards, saga_cards
from store.projection.instances import count_instances
from store.projection.jobs import at_steps
from store.projection.sagas import CodeInUse, SagaFigures, code_in_use, saga_figures
from ui.addresses import Query
from ui.copying import Line, sql_text
from ui.desk import Desk, Who
from ui.graph import FOLLOWS, Follow, Graph, Node, graph
from ui.pages.instance import FOLLOW_ROWS, STANDING, Standing
from ui.render import missing, page
from ui.sending_lines import saga_lines
from ui.steps import Flow, crowd
from ui.suggested import Suggestion, suggestions

STATUSES: tuple[Status, ...] = get_args(Status)
WINDOWS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "90d": timedelta(days=90),
}
RUNS = 5


class Box(Struct, frozen=True):
    """A node of the graph with the page that lists the instances at it, if it has one."""

    node: Node
    link: str


class Ask(Struct, frozen=True):
    """A question about this saga as SQL, with its page."""

    title: str
    sql: str
    query: Query


class SagaPage(Struct, frozen=True, kw_only=True):
    """The context of ``saga.html``; ``figures`` is None when none ended within the window."""

    card: SagaCard
    counts: Mapping[str, int]
    figures: SagaFigures | None
    code: tuple[CodeInUse, ...]
    suggested: Mapping[str, Suggestion]
    drawn: Graph | None
    boxes: tuple[Box, ...]
    flow: Flow | None
    runs: tuple[datetime, ...]
    engines: int
    loaded: str
    asks: tuple[Ask, ...]
    lines: tuple[Line, ...]
    window: str
    windows: tuple[str, ...] = tuple(WINDOWS)
    statuses: tuple[Status, ...] = STATUSES

    @property
    def total(self) -> int:
        """Instances in all."""
        return sum(self.counts.values())


@get("/sagas/{saga:str}", opt={"role": "viewer"})
async def saga(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    window: FromQuery[Literal["1h", "24h", "7d", "90d"]] = "7d",
) -> Response[str]:
    """A definition with everything that is known of it."""
    card = await card_of(desk, saga)
    if card is None:
        return no_saga(request, desk, saga)
    counts, figures, code, suggested, where, engines = await asyncio.gather(
        count_instances(desk.read, saga),
        saga_figures(desk.read, desk.now() - WINDOWS[window]),
        code_in_use(desk.read, saga),
        suggestions(desk, [card], card.types),
        _where(desk, card),
        engine_cards(desk.meta),
    )
    drawn, steps = where
    loaded = desk.registry.get(saga)
    context = SagaPage(
        card=card,
        counts=counts.get(saga, {}),
        figures=figures.get(saga),
        code=tuple(code),
        suggested=suggested,
        drawn=drawn,
        boxes=tuple(Box(node, _link(saga, node)) for node in drawn.nodes) if drawn else (),
        flow=steps,
        runs=runs_of(card, desk.now()),
        engines=sum(saga in engine.sagas for engine in engines),
        loaded=loaded.hash if loaded else "",
        asks=_asks(card),
        lines=saga_lines(desk.names, str(request.base_url).rstrip("/") + desk.base, saga),
        window=window,
    )
    return page(request, desk, "saga.html", context, title=card.name or saga)


async def card_of(desk: Desk, saga: str) -> SagaCard | None:
    """The card of a saga, None when no engine has registered it; raises Unreachable."""
    return next((one for one in await saga_cards(desk.meta) if one.id == saga), None)


def no_saga(request: Request[Who, Any, State], desk: Desk, saga: str) -> Response[str]:
    """The page for a saga that is not registered."""
    words = "An engine registers the sagas of its app when it starts. The list has those there are."
    return missing(request, desk, f"No saga {saga} is registered", words, ("/sagas", {}))


def runs_of(card: SagaCard, now: datetime, count: int = RUNS) -> tuple[datetime, ...]:
    """When a saga's schedule starts it next, as far as that can be told."""
    if not card.cron or not card.enabled:
        return ()
    try:
        return tuple(next_runs(card.cron, card.time_zone, now, count))
    except (DefinitionError, OSError, ValueError):  # a card of another release, an unknown zone
        return ()


async def _where(desk: Desk, card: SagaCard) -> tuple[Graph | None, Flow | None]:
    """Where instances stand: on the graph of messages, or of a program at its steps."""
    if card.made_of == "handlers":
        return await _graph(desk, card), None
    return None, crowd(card.parts, await at_steps(desk.read, card.id))


async def _graph(desk: Desk, card: SagaCard) -> Graph:
    about = {"saga": card.id}
    follows, standing = await asyncio.gather(
        desk.read.fetch(FOLLOWS, {**about, "rows": FOLLOW_ROWS}, Follow),
        desk.read.fetch(STANDING, about, Standing),
    )
    return graph(card.types, follows, {row.name: row.count for row in standing})


def _link(saga: str, node: Node) -> str:
    """The query of the instances at a node; empty where none stand."""
    if not node.standing:
        return ""
    where = f"saga = {sql_text(saga)} AND cause_type = {sql_text(node.label)}"
    return (
        f"SELECT saga, key, status, changed_at FROM instances\n"  # noqa: S608 - shown in an editor
        f"WHERE {where} AND ended_at IS NULL ORDER BY changed_at LIMIT 100"
    )


_SLOW_MESSAGES = """
SELECT cause_type, count(*) AS times,
    quantile_cont(since_previous_ms, 0.5) AS p50_ms,
    quantile_cont(since_previous_ms, 0.95) AS p95_ms
FROM transitions WHERE saga = {} AND since_previous_ms IS NOT NULL
GROUP BY cause_type ORDER BY p95_ms DESC""".strip()

_SLOW_STEPS = """
SELECT target, count(*) AS attempts, count(*) FILTER (outcome <> 'completed') AS not_done,
    quantile_cont(duration_ms, 0.5) AS p50_ms, quantile_cont(duration_ms, 0.95) AS p95_ms
FROM executions WHERE saga = {} GROUP BY target ORDER BY p95_ms DESC""".strip()


def _asks(card: SagaCard) -> tuple[Ask, ...]:
    """Questions to start from; each opens in the SQL page."""
    name = sql_text(card.id)
    texts = (
        (
            "How long do they take, by how they ended?",
            "SELECT status, count(*) AS instances,\n"
            "    quantile_cont(epoch_ms(ended_at) - epoch_ms(started_at), 0.95) AS p95_ms\n"
            f"FROM instances WHERE saga = {name} AND ended_at IS NOT NULL GROUP BY status",
        ),
        (
            "Which have not moved for longest?",
            "SELECT key, status, cause_type, changed_at, open_commands, open_timers\n"
            f"FROM instances WHERE saga = {name} AND ended_at IS NULL\n"
            "ORDER BY changed_at LIMIT 50",
        ),
        (
            "Which steps are slow?",
            _SLOW_MESSAGES.format(name) if card.made_of == "handlers" else _SLOW_STEPS.format(name),
        ),
    )
    return tuple(Ask(title, sql, {"sql": sql}) for title, sql in texts)


ROUTES = (saga,)
