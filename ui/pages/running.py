"""Running a job by hand: a payload, its run, and back to the job with the result."""

from __future__ import annotations

import uuid
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from sagas.names import BadName
from store.port import MessageTooLarge, Refused
from store.projection.jobs import last_payload
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.editing import to_edit
from ui.json_place import Place, json_of
from ui.origins import origin_of
from ui.pages.jobs import JobEntry, entry_of, no_job
from ui.render import page

PATIENCE_S = 3.0  # with a run; a longer one goes on and its page can be looked at again


class RunFields(Struct, frozen=True, kw_only=True):
    """What was filled in; ``once`` makes sending the same form twice harmless."""

    payload: str = ""
    key: str = ""
    reason: str = ""
    once: str = ""


class RunPage(Struct, frozen=True, kw_only=True):
    """The context of ``run.html``; ``place`` is where the payload is wrong."""

    entry: JobEntry
    fields: RunFields
    place: Place | None
    fault: str


@get("/jobs/{target:str}/run", opt={"role": "operator"})
async def run_form(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], target: FromPath[str]
) -> Response[str]:
    """The form, filled with what the job was sent last."""
    entry = await entry_of(desk, target)
    if entry is None:
        return no_job(request, desk, target)
    last = await last_payload(desk.read, target)
    text = to_edit(bytes(last), desk.mask) if last is not None else "{}"
    fields = RunFields(payload=text, once=uuid.uuid4().hex)
    return _answer(request, desk, entry, fields)


@post("/jobs/{target:str}/run", opt={"role": "operator"}, status_code=200)
async def run(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], target: FromPath[str]
) -> Response[str]:
    """Send the job one command that belongs to no saga; no instance hears of its result."""
    entry = await entry_of(desk, target)
    if entry is None:
        return no_job(request, desk, target)
    form = await request.form()
    fields = RunFields(
        payload=str(form.get("payload", "")),
        key=str(form.get("key", "")).strip(),
        reason=str(form.get("reason", "")).strip(),
        once=str(form.get("once", "")) or uuid.uuid4().hex,
    )
    payload = json_of(fields.payload)
    if isinstance(payload, Place):
        return _answer(request, desk, entry, fields, place=payload, status=400)
    try:
        with desk.sending.traced(target) as trace:
            sent = await desk.sending.runs.send(
                target,
                payload,
                token=fields.once,
                key=fields.key or None,
                by=request.user.name,
                reason=fields.reason,
                origin=origin_of(request),
                traceparent=trace,
            )
    except (BadName, Refused, MessageTooLarge) as error:
        return _answer(request, desk, entry, fields, fault=str(error), status=400)
    result = await desk.sending.runs.result(sent, PATIENCE_S) if entry.workers else None
    query = {"ran": sent.command, "answer": result.seq if result else None}
    to = Addresses(desk.base).job(target, "", query)
    return Response("", status_code=303, headers={"Location": to})


def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    entry: JobEntry,
    fields: RunFields,
    *,
    place: Place | None = None,
    fault: str = "",
    status: int = 200,
) -> Response[str]:
    context = RunPage(entry=entry, fields=fields, place=place, fault=fault)
    title = f"Run {entry.card.target}"
    return page(request, desk, "run.html", context, title=title, status=status)


ROUTES = (run_form, run)
