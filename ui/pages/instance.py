"""The page of one instance: its history under one cursor, the version in the address.

Every document is read from the log, so the page is never behind; attempts of jobs, the family and
the shape of the saga's graph come from the projections.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Raw, Struct, structs

from sagas.actions import ACTION_STATUSES, allowed
from sagas.instance import Failure, Instance, encode
from store.cards import MadeOf, SagaCard, saga_cards
from store.diagnosis import Wait
from store.differences import Difference, differences
from store.lookup import HistoryElsewhere, Revision
from store.projection.events import headers_of
from ui.copying import Line, instance_lines
from ui.desk import Desk, Who
from ui.graph import FOLLOWS, Follow, Graph, graph
from ui.render import missing, page
from ui.sequence import Diagram, sequence
from ui.steps import Flow, flow
from ui.stretch import Mask, Stretch, elsewhere, masked, stretch_around
from ui.timeline import Attempt, Scale, Timeline, timeline
from ui.told import Commands, Told, came, commands_of, told

View: TypeAlias = Literal["story", "graph", "sequence", "messages", "raw"]
VIEWS: tuple[tuple[View, str], ...] = (
    ("story", "Story"),
    ("graph", "Graph"),
    ("sequence", "Sequence"),
    ("messages", "Messages"),
    ("raw", "Raw"),
)
FOLLOW_ROWS = 5_000
Speed: TypeAlias = Literal["even", "1", "10", "100"]
SPEEDS: tuple[tuple[Speed, str], ...] = (
    ("even", "a version a second"),
    ("1", "as fast as it was"),
    ("10", "10 times as fast"),
    ("100", "100 times as fast"),
)

ATTEMPTS = """
SELECT command, attempt, worker, started_at, ended_at, outcome, error FROM executions
WHERE saga = $saga AND key = $key ORDER BY started_at LIMIT 2000
"""
STANDING = """
SELECT cause_type AS name, count(*)::BIGINT AS count FROM instances
WHERE saga = $saga AND ended_at IS NULL GROUP BY ALL
"""


FAMILY = """
SELECT g.parent_saga || '/' || g.parent_key AS parent, g.saga, g.key, g.status
FROM instances AS c JOIN instances AS g ON g.parent_saga = c.saga AND g.parent_key = c.key
WHERE c.parent_saga = $saga AND c.parent_key = $key
ORDER BY parent, g.saga, g.key LIMIT 200
"""


class Relative(Struct, frozen=True):
    """A child of a child (``parent``, as "saga/key") and how it stands."""

    parent: str
    saga: str
    key: str
    status: str


class Standing(Struct, frozen=True):
    """How many open instances were last changed by a type of message."""

    name: str
    count: int


class Chapter(Struct, frozen=True):
    """One version of the story; ``came`` is what made it, in words."""

    revision: Revision
    came: str
    since_s: float | None
    effects: tuple[Told, ...]
    status_before: str

    @property
    def instance(self) -> Instance:
        return self.revision.instance


class Cursor(Struct, frozen=True):
    """The version that is looked at: its state, what it changed, and its neighbours."""

    chapter: Chapter
    state: Raw
    changes: list[Difference]
    more_changes: bool
    first: int
    last: int
    next_s: float | None  # until the version after it came

    @property
    def version(self) -> int:
        return self.chapter.instance.version


class InstancePage(Struct, frozen=True, kw_only=True):
    """The context of ``instance.html``."""

    saga: str
    key: str
    name: str
    now: Instance
    archived: int  # versions up to this one are in the archive
    seq: int
    error: Failure | None
    waits: list[Wait]
    actions: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    headers: dict[int, dict[str, str]]  # of the events that were taken in, by their sequence
    hidden: int
    cursor: Cursor
    view: View
    views: tuple[tuple[View, str], ...]
    scale: Scale
    speed: Speed
    speeds: tuple[tuple[Speed, str], ...]
    diff: bool
    done: str
    timeline: Timeline
    drawn: Graph | None
    flow: Flow | None
    made_of: MadeOf
    diagram: Diagram | None
    document: Raw
    unmask: bool
    family: list[Relative]
    lines: tuple[Line, ...]

    @property
    def trace(self) -> str:
        """The id of its trace, without what a W3C header has around it."""
        parts = self.now.trace.split("-")
        return parts[1] if len(parts) == 4 else self.now.trace


@get("/instances/{saga:str}/{key:str}", opt={"role": "viewer"})
async def instance(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
    version: Annotated[int | None, QueryParameter(ge=1)] = None,
    view: FromQuery[View] = "story",
    scale: FromQuery[Scale] = "short",
    show: FromQuery[Literal["diff", "state"]] = "diff",
    speed: FromQuery[Speed] = "even",
    done: FromQuery[str] = "",
    unmask: FromQuery[bool] = False,
) -> Response[str]:
    """An instance as it stands, and at the version asked for."""
    mask = desk.shower(request, unmask, f"the page of {saga}/{key}")
    try:
        stretch = await stretch_around(desk, saga, key, version, mask)
    except HistoryElsewhere as error:
        return elsewhere(request, desk, error)
    if stretch is None:
        return missing(
            request,
            desk,
            f"{saga} has no instance {key}",
            "Check the key, or search for a part of it.",
            desk_link=("/instances", {"saga": saga}),
        )
    if version is None or version > stretch.last:
        version = stretch.last
    origin = str(request.base_url).rstrip("/") + desk.base
    look = _Look(version, view, scale, speed, show == "diff", done, unmask)
    context = await _context(desk, stretch, look, mask, origin)
    return page(request, desk, "instance.html", context, title=f"{key} · {saga}")


class _Look(Struct, frozen=True):
    """What the address asks for."""

    version: int
    view: View
    scale: Scale
    speed: Speed
    diff: bool
    done: str
    unmask: bool


async def _context(
    desk: Desk, stretch: Stretch, look: _Look, mask: Mask, origin: str
) -> InstancePage:
    shown, last = stretch.shown, await _last(desk, stretch, mask)
    now = last.instance
    about = {"saga": now.saga, "key": now.key}
    attempts = await desk.read.fetch(ATTEMPTS, about, Attempt)
    card = next((one for one in await saga_cards(desk.meta) if one.id == now.saga), None)
    history = [one.instance for one in stretch.revisions]
    commands = commands_of(history)
    cursor = _cursor(stretch, look.version, commands)
    made_of = card.made_of if card else "handlers"
    declared = card.parts if card and card.made_of == "steps" else ()
    graph_of = "" if look.view != "graph" else "messages" if made_of == "handlers" else "steps"
    document = Raw(encode(cursor.chapter.instance))
    taken = [one.instance.cause.seq for one in shown if one.instance.cause.kind == "event"]
    headers = await headers_of(desk.read, taken) if look.view == "messages" else {}
    family = await desk.read.fetch(FAMILY, about, Relative) if now.children else []
    # What is open at the end of a stretch of the past did not stay so until now.
    until = desk.now() if history[-1].version == stretch.last else stretch.revisions[-1].at
    return InstancePage(
        saga=now.saga,
        key=now.key,
        name=card.name if card and card.name else now.saga,
        now=now,
        archived=await desk.client.archived(now.saga, now.key),
        seq=last.seq,
        error=now.error,
        waits=[_hidden(wait, mask, document) for wait in await desk.diagnosis.waits(now)],
        actions=allowed(now.status),
        chapters=tuple(_chapter(stretch, one, commands) for one in shown),
        headers=headers,
        hidden=stretch.last - len(shown),
        cursor=cursor,
        view=look.view,
        views=VIEWS,
        scale=look.scale,
        speed=look.speed,
        speeds=SPEEDS,
        diff=look.diff,
        done=look.done.replace("_", " ") if look.done in ACTION_STATUSES else "",
        timeline=timeline(shown, attempts, until, look.scale),
        drawn=await _graph(desk, card, shown, look.version) if graph_of == "messages" else None,
        flow=flow(declared, history, look.version, attempts) if graph_of == "steps" else None,
        made_of=made_of,
        diagram=sequence([one.instance for one in shown]) if look.view == "sequence" else None,
        document=document,
        unmask=look.unmask,
        family=family,
        lines=instance_lines(desk.names, now.saga, now.key, origin),
    )


async def _last(desk: Desk, stretch: Stretch, mask: Mask) -> Revision:
    """The instance as it stands now; a stretch of the past has not got it."""
    if stretch.revisions[-1].instance.version == stretch.last:
        return stretch.revisions[-1]
    instance = stretch.revisions[-1].instance
    now = await desk.client.latest(instance.saga, instance.key)
    return stretch.revisions[-1] if now is None else masked(now, mask)


class _Quoted(Struct):
    words: str


def _hidden(wait: Wait, mask: Mask, document: Raw) -> Wait:
    """A wait whose words quote no secret value of the document."""
    quoted = mask(msgspec.json.encode({"source": document, "words": wait.words}))
    return structs.replace(wait, words=msgspec.json.decode(quoted, type=_Quoted).words)


def _chapter(stretch: Stretch, revision: Revision, commands: Commands) -> Chapter:
    before = stretch.at(revision.instance.version - 1)
    return Chapter(
        revision=revision,
        came=came(revision.instance, commands),
        since_s=(revision.at - before.at).total_seconds() if before else None,
        effects=tuple(told(effect) for effect in revision.instance.effects),
        status_before=before.instance.status if before else "",
    )


def _cursor(stretch: Stretch, version: int, commands: Commands) -> Cursor:
    revision = stretch.at(version) or stretch.revisions[-1]
    before, following = stretch.at(version - 1), stretch.at(version + 1)
    state = revision.instance.state
    changes, more = differences(bytes(before.instance.state) if before else b"{}", bytes(state))
    return Cursor(
        chapter=_chapter(stretch, revision, commands),
        state=state,
        changes=changes,
        more_changes=more,
        first=1,
        last=stretch.last,
        next_s=(following.at - revision.at).total_seconds() if following else None,
    )


async def _graph(desk: Desk, card: SagaCard | None, shown: list[Revision], version: int) -> Graph:
    about = {"saga": shown[0].instance.saga}
    follows, rows = await asyncio.gather(
        desk.read.fetch(FOLLOWS, {**about, "rows": FOLLOW_ROWS}, Follow),
        desk.read.fetch(STANDING, about, Standing),
    )
    standing = {row.name: row.count for row in rows}
    types = card.types if card else ()
    upto = version - shown[0].instance.version + 1
    return graph(types, follows, standing, [one.instance for one in shown], upto)


ROUTES = (instance,)
