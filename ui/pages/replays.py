"""What-if over a whole saga: begun by hand, followed while it runs, and what came out."""

from __future__ import annotations

import shlex
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from store.replay_jobs import ReplayJob
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.pages.saga import card_of, no_saga
from ui.render import missing, page
from ui.replays import ReplayFault


class SagaReplaysPage(Struct, frozen=True, kw_only=True):
    """The context of ``replays.html``; ``loaded`` is the hash of the code here, empty without."""

    saga: str
    loaded: str
    registered: str
    jobs: list[ReplayJob]
    fault: str
    command: str


class SagaReplayPage(Struct, frozen=True, kw_only=True):
    """The context of ``saga_replay.html``."""

    job: ReplayJob
    fault: str


@get("/sagas/{saga:str}/replay", opt={"role": "viewer"})
async def saga_replays(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], saga: FromPath[str]
) -> Response[str]:
    """Where a replay is begun, with those there were."""
    return await _overview(request, desk, saga)


@post("/sagas/{saga:str}/replay", opt={"role": "operator"}, status_code=303)
async def saga_replay_begin(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], saga: FromPath[str]
) -> Response[str]:
    """Begin one, or look at the one that runs."""
    try:
        id = await desk.replays.begin(saga, request.user.name)
    except ReplayFault as fault:
        return await _overview(request, desk, saga, str(fault))
    return _to(desk, id)


@get("/replays/{id:str}", opt={"role": "viewer"})
async def saga_replay(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], id: FromPath[str]
) -> Response[str]:
    """How far a replay is, and what came out."""
    return await _one(request, desk, id)


@post("/replays/{id:str}/cancel", opt={"role": "operator"}, status_code=303)
async def saga_replay_cancel(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], id: FromPath[str]
) -> Response[str]:
    """Have it end; what has come out so far is kept."""
    job = await desk.replays.get(id)
    try:
        if job is not None:
            await desk.replays.cancel(job)
    except ReplayFault as fault:
        return await _one(request, desk, id, str(fault))
    return _to(desk, id)


async def _overview(
    request: Request[Who, Any, State], desk: Desk, saga: str, fault: str = ""
) -> Response[str]:
    card = await card_of(desk, saga)
    if card is None:
        return no_saga(request, desk, saga)
    definition = desk.registry.get(saga)
    context = SagaReplaysPage(
        saga=saga,
        loaded=definition.hash if definition else "",
        registered=card.hash,
        jobs=await desk.replays.list(saga),
        fault=fault,
        command=f"snorri replay --all --saga {shlex.quote(saga)} --app MODULE",
    )
    title = f"What if · {saga}"
    code = 409 if fault else 200
    return page(request, desk, "replays.html", context, title=title, status=code)


async def _one(
    request: Request[Who, Any, State], desk: Desk, id: str, fault: str = ""
) -> Response[str]:
    job = await desk.replays.get(id)
    if job is None:
        words = "Replays are kept for seven days; a saga's page begins new ones."
        return missing(request, desk, "There is no such replay", words, ("/sagas", {}))
    context = SagaReplayPage(job=job, fault=fault)
    title = f"What if · {job.saga}"
    code = 409 if fault else 200
    return page(request, desk, "saga_replay.html", context, title=title, status=code)


def _to(desk: Desk, id: str) -> Response[str]:
    to = Addresses(desk.base).page(f"/replays/{id}")
    return Response("", status_code=303, headers={"Location": to})


ROUTES = (saga_replays, saga_replay_begin, saga_replay, saga_replay_cancel)
