"""The page of one instance: its whole history under one cursor, the version in the address.

Everything is read from the log, so the page is never behind; only attempts of jobs and the shape of
the saga's graph come from the projections.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Raw, Struct, structs

from sagas.actions import ACTION_STATUSES, allowed
from sagas.effects import Effect, Publish, Schedule, Send, Signal, Spawn, Unschedule
from sagas.instance import FINISHED, Failure, Instance, encode
from store.cards import SagaCard, saga_cards
from store.diagnosis import Wait
from store.differences import Difference, differences
from store.lookup import Revision
from ui.copying import Line, instance_lines
from ui.desk import Desk, Who
from ui.graph import FOLLOWS, Follow, Graph, graph
from ui.render import missing, page
from ui.sequence import Diagram, sequence
from ui.timeline import Attempt, Scale, Timeline, timeline

View: TypeAlias = Literal["story", "graph", "sequence", "messages", "raw"]
VIEWS: tuple[tuple[View, str], ...] = (
    ("story", "Story"),
    ("graph", "Graph"),
    ("sequence", "Sequence"),
    ("messages", "Messages"),
    ("raw", "Raw"),
)
VERSIONS_MAX = 500  # drawn at once; the address of a version reaches every older one
FOLLOW_ROWS = 20_000
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


class Standing(Struct, frozen=True):
    """How many open instances were last changed by a type of message."""

    name: str
    count: int


class Told(Struct, frozen=True):
    """One effect in words: what kind, of what, and its payload where there is one."""

    kind: str
    name: str
    note: str
    payload: Raw | None


class Chapter(Struct, frozen=True):
    """One version of the story."""

    revision: Revision
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
    seq: int
    error: Failure | None
    waits: list[Wait]
    actions: tuple[str, ...]
    chapters: tuple[Chapter, ...]
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
    diagram: Diagram | None
    document: Raw
    lines: tuple[Line, ...]


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
) -> Response[str]:
    """An instance as it stands, and at the version asked for."""
    history = [_masked(one, desk) async for one in desk.client.history(saga, key)]
    if not history:
        return missing(
            request,
            desk,
            f"{saga} has no instance {key}",
            "Check the key, or search for a part of it.",
            desk_link=("/instances", {"saga": saga}),
        )
    if version is not None and version > len(history):
        version = None
    origin = str(request.base_url).rstrip("/") + desk.base
    look = _Look(version or len(history), view, scale, speed, show == "diff", done)
    context = await _context(desk, history, look, origin)
    return page(request, desk, "instance.html", context, title=f"{key} · {saga}")


class _Look(Struct, frozen=True):
    """What the address asks for."""

    version: int
    view: View
    scale: Scale
    speed: Speed
    diff: bool
    done: str


async def _context(desk: Desk, history: list[Revision], look: _Look, origin: str) -> InstancePage:
    last = history[-1]
    now = last.instance
    start = max(0, min(len(history) - VERSIONS_MAX, look.version - VERSIONS_MAX // 2))
    shown = history[start : start + VERSIONS_MAX]
    about = {"saga": now.saga, "key": now.key}
    attempts = await desk.read.fetch(ATTEMPTS, about, Attempt)
    card = next((one for one in await saga_cards(desk.meta) if one.id == now.saga), None)
    document = Raw(encode(history[look.version - 1].instance))
    return InstancePage(
        saga=now.saga,
        key=now.key,
        name=card.name if card and card.name else now.saga,
        now=now,
        seq=last.seq,
        error=now.error,
        waits=[_hidden(wait, desk, document) for wait in await desk.diagnosis.waits(now)],
        actions=allowed(now.status),
        chapters=tuple(_chapters(history, start, start + len(shown))),
        hidden=len(history) - len(shown),
        cursor=_cursor(history, look.version),
        view=look.view,
        views=VIEWS,
        scale=look.scale,
        speed=look.speed,
        speeds=SPEEDS,
        diff=look.diff,
        done=look.done.replace("_", " ") if look.done in ACTION_STATUSES else "",
        timeline=timeline(shown, attempts, desk.now(), look.scale),
        drawn=await _graph(desk, card, history, look.version) if look.view == "graph" else None,
        diagram=sequence([one.instance for one in shown]) if look.view == "sequence" else None,
        document=document,
        lines=instance_lines(desk.names, now.saga, now.key, origin),
    )


def _masked(revision: Revision, desk: Desk) -> Revision:
    """The revision with secret fields replaced; its hash stays the stored one."""
    document = msgspec.json.decode(desk.mask(encode(revision.instance)), type=Instance)
    return structs.replace(revision, instance=document)


class _Quoted(Struct):
    words: str


def _hidden(wait: Wait, desk: Desk, document: Raw) -> Wait:
    """A wait whose words quote no secret value of the document."""
    quoted = desk.mask(msgspec.json.encode({"source": document, "words": wait.words}))
    return structs.replace(wait, words=msgspec.json.decode(quoted, type=_Quoted).words)


def _chapters(history: list[Revision], start: int, stop: int) -> list[Chapter]:
    return [_chapter(history, index) for index in range(start, stop)]


def _chapter(history: list[Revision], index: int) -> Chapter:
    revision = history[index]
    before = history[index - 1] if index else None
    return Chapter(
        revision=revision,
        since_s=(revision.at - before.at).total_seconds() if before else None,
        effects=tuple(told(effect, revision.at) for effect in revision.instance.effects),
        status_before=before.instance.status if before else "",
    )


def _cursor(history: list[Revision], version: int) -> Cursor:
    state = history[version - 1].instance.state
    before = history[version - 2].instance.state if version > 1 else Raw(b"{}")
    changes, more = differences(bytes(before), bytes(state))
    following = history[version : version + 1]
    return Cursor(
        chapter=_chapter(history, version - 1),
        state=state,
        changes=changes,
        more_changes=more,
        first=1,
        last=len(history),
        next_s=(following[0].at - history[version - 1].at).total_seconds() if following else None,
    )


async def _graph(desk: Desk, card: SagaCard | None, history: list[Revision], version: int) -> Graph:
    about = {"saga": history[0].instance.saga}
    follows = await desk.read.fetch(FOLLOWS, {**about, "rows": FOLLOW_ROWS}, Follow)
    rows = await desk.read.fetch(STANDING, about, Standing)
    standing = {row.name: row.count for row in rows}
    types = card.types if card else ()
    return graph(types, follows, standing, [one.instance for one in history], version)


def told(effect: Effect, at: datetime) -> Told:
    """An effect as the story tells it."""
    match effect:
        case Send():
            note = "waits for its concurrency key" if effect.gated else effect.id
            return Told("command", effect.target, note, effect.payload)
        case Publish():
            return Told("event", effect.type, f"key {effect.key}", effect.payload)
        case Schedule():
            return Told(
                "timer",
                effect.type,
                f"{effect.id}, due {effect.at:%Y-%m-%d %H:%M:%S} UTC",
                effect.payload,
            )
        case Unschedule():
            return Told("timer off", effect.id, "", None)
        case Spawn():
            return Told("child", effect.saga, effect.key, effect.payload)
        case Signal():
            return Told("signal", effect.cause.type, str(effect.to), None)
        case _:
            return _ending(effect)


def _ending(effect: Effect) -> Told:
    fields = structs.asdict(effect)
    kind = type(effect).__name__.lower()
    name = str(fields.get("type") or "")
    result = fields.get("result") or fields.get("payload")
    return Told(
        kind, name, str(fields.get("reason") or ""), result if name or kind == "complete" else None
    )


def ended(status: str) -> bool:
    """Whether an instance in this status is over."""
    return status in FINISHED


ROUTES = (instance,)
