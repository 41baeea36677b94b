"""One action on many instances: choose, see what it would do, do it, watch how far it is.

The filter of the preview ends at the moment it was made, so an instance that changes afterwards is
left alone, and what ends or leaves out something asks for the number to be typed.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict, MultiDict, State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct, structs

from sagas.actions import InstanceAction
from sagas.messages import Address
from store.bulk import BulkJob
from store.projection.times import BadTime, parse_time
from ui.addresses import Addresses
from ui.asked import Asked, asked_in
from ui.bulk import BULK_ACTIONS, DESTRUCTIVE, BulkFault, Outlook, Wish
from ui.desk import Desk, Who
from ui.editing import BadField, parsed
from ui.origins import origin_of
from ui.pages.act import ABOUT
from ui.render import missing, page

Given: TypeAlias = MultiDict[str] | FormMultiDict
GOES_ON = {"running": ("cancel",), "interrupted": ("resume", "cancel")}
RESUMABLE = ("stopped", "cancelled")


class BulkForm(Struct, frozen=True, kw_only=True):
    """The context of ``bulk_new.html``; ``outlook`` once it has been previewed."""

    wish: Wish
    about: str
    destructive: bool
    compensations: tuple[str, ...]
    signals: tuple[str, ...]
    actions: tuple[str, ...] = BULK_ACTIONS
    outlook: Outlook | None = None
    fault: str = ""


class BulkPage(Struct, frozen=True, kw_only=True):
    """The context of ``bulk_job.html``: a job, and what can be done with it."""

    job: BulkJob
    can: tuple[str, ...]
    reasons: list[tuple[str, int]]
    fault: str

    @property
    def handled(self) -> int:
        """How many have had the action, whatever came of it."""
        return self.job.tally.done + self.job.tally.refused


class BulkJobs(Struct, frozen=True):
    """The context of ``bulk_jobs.html``."""

    jobs: list[BulkJob]


@get("/bulk", opt={"role": "viewer"})
async def bulk_jobs(
    request: Request[Who, Any, State], desk: NamedDependency[Desk]
) -> Response[str]:
    """The bulk actions of the last days."""
    context = BulkJobs(await desk.bulk.list())
    return page(request, desk, "bulk_jobs.html", context, title="Bulk actions")


@get("/bulk/new", opt={"role": "operator"})
async def bulk_form(
    request: Request[Who, Any, State], desk: NamedDependency[Desk]
) -> Response[str]:
    """What to do with the chosen (``pick``, or ``all`` of the filter in the address)."""
    try:
        wish = _wish(request.query_params)
    except BulkFault as error:
        return missing(request, desk, "Nothing is chosen", str(error), ("/instances", {}))
    return _form(request, desk, wish)


@post("/bulk/new", opt={"role": "operator"}, status_code=200)
async def bulk_begin(
    request: Request[Who, Any, State], desk: NamedDependency[Desk]
) -> Response[str]:
    """The preview, or with ``total`` (what the preview said) the job itself."""
    form = await request.form()
    try:
        wish = _wish(form)
    except BulkFault as error:
        return missing(request, desk, "Nothing is chosen", str(error), ("/instances", {}))
    try:
        wish = _settled(desk, wish)
        if form.get("total"):
            most = _confirmed(wish, str(form.get("total")), str(form.get("typed", "")))
            id = await desk.bulk.begin(wish, request.user.name, origin_of(request), most)
            to = Addresses(desk.base).page(f"/bulk/{id}")
            return Response("", status_code=303, headers={"Location": to})
        return await _preview(request, desk, wish)
    except BulkFault as error:
        return await _again(request, desk, wish, str(error), asked=bool(form.get("total")))


@get("/bulk/{id:str}", opt={"role": "viewer"})
async def bulk_job(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], id: FromPath[str]
) -> Response[str]:
    """How far a job is; at its end the report."""
    return await _job_page(request, desk, id, "")


@post("/bulk/{id:str}/{step:str}", opt={"role": "operator"}, status_code=200)
async def bulk_step(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    id: FromPath[str],
    step: FromPath[str],
) -> Response[str]:
    """Cancel or resume a job."""
    job = await desk.bulk.get(id)
    if job is None or step not in ("cancel", "resume"):
        return await _job_page(request, desk, id, "")
    try:
        await (desk.bulk.cancel(job) if step == "cancel" else desk.bulk.resume(job))
    except BulkFault as error:
        return await _job_page(request, desk, id, str(error))
    to = Addresses(desk.base).page(f"/bulk/{id}")
    return Response("", status_code=303, headers={"Location": to})


async def _job_page(
    request: Request[Who, Any, State], desk: Desk, id: str, fault: str
) -> Response[str]:
    job = await desk.bulk.get(id)
    if job is None:
        words = "Bulk actions are kept for seven days."
        return missing(request, desk, "There is no such bulk action", words, ("/bulk", {}))
    can = ("resume",) if job.status in RESUMABLE else GOES_ON.get(job.status, ())
    reasons = sorted(job.tally.reasons.items(), key=lambda pair: -pair[1])
    context = BulkPage(job=job, can=can, reasons=reasons, fault=fault)
    title = f"{job.action.capitalize()} {job.total} instances"
    code = 409 if fault else 200
    return page(request, desk, "bulk_job.html", context, title=title, status=code)


async def _preview(request: Request[Who, Any, State], desk: Desk, wish: Wish) -> Response[str]:
    outlook = await desk.bulk.preview(wish, request.user.name)
    hidden = [structs.replace(one, error=desk.mask_text(one.error, b"{}")) for one in outlook.plans]
    return _form(request, desk, wish, structs.replace(outlook, plans=hidden))


async def _again(
    request: Request[Who, Any, State], desk: Desk, wish: Wish, fault: str, *, asked: bool
) -> Response[str]:
    """The form with what is wrong, and a new preview when a job was asked for."""
    outlook = None
    if asked:
        try:
            outlook = await desk.bulk.preview(wish, request.user.name)
        except BulkFault as error:
            fault = str(error)
    return _form(request, desk, wish, outlook, fault)


def _form(
    request: Request[Who, Any, State],
    desk: Desk,
    wish: Wish,
    outlook: Outlook | None = None,
    fault: str = "",
) -> Response[str]:
    sagas = {one.saga for one in wish.picks} or ({wish.asked.saga} if wish.asked.saga else set())
    definitions = [one for one in desk.registry if not sagas or one.id in sagas]
    context = BulkForm(
        wish=wish,
        about=ABOUT[wish.action],
        destructive=wish.action in DESTRUCTIVE,
        compensations=tuple(sorted({type for one in definitions for type in one.compensations})),
        signals=tuple(sorted({name for one in definitions for name in one.signals})),
        outlook=outlook,
        fault=fault,
    )
    title = f"{wish.action.capitalize()} many"
    code = 409 if fault else 200
    return page(request, desk, "bulk_new.html", context, title=title, status=code)


def _wish(given: Given) -> Wish:
    """What the address or the form asks for; raises BulkFault when nothing is chosen."""

    def text(name: str) -> str:
        return str(given.get(name, "") or "").strip()

    action = _action(text("action"))
    everything = bool(text("all"))
    picks = () if everything else tuple(_address(str(one)) for one in given.getall("pick", []))
    asked = asked_in(MultiDict([(k, str(v)) for k, v in given.multi_items()]))
    if not picks and not (everything and asked.any):
        raise BulkFault(
            "Check rows of the list, or filter it and take all that match; all of everything can't"
            " be taken at once."
        )
    return Wish(
        action=action,
        reason=text("reason"),
        asked=asked,
        picks=picks,
        types=tuple(str(one) for one in given.getall("types", [])),
        name=text("name") if action == "signal" else "",
        payload=text("payload") if action in ("retry", "compensate", "signal") else "",
        by_hand=bool(text("by_hand")) and action == "skip",
    )


def _settled(desk: Desk, wish: Wish) -> Wish:
    """The wish with times as they are meant now, and its fields checked; raises BulkFault."""
    if not wish.reason:
        raise BulkFault("give a reason; it is kept in every history with your name")
    if wish.action == "compensate" and not wish.types:
        raise BulkFault("choose what to undo")
    try:
        if wish.payload:
            parsed(wish.payload)
        if wish.picks:
            return wish
        until = parse_time(wish.asked.until, desk.now()) if wish.asked.until else desk.now()
        since = parse_time(wish.asked.since, desk.now()) if wish.asked.since else None
    except (BadField, BadTime) as error:
        raise BulkFault(str(error)) from None
    fixed: Asked = structs.replace(
        wish.asked, until=until.isoformat(), since=since.isoformat() if since else ""
    )
    return structs.replace(wish, asked=fixed)


def _confirmed(wish: Wish, total: str, typed: str) -> int:
    """How many were seen and agreed to; raises BulkFault."""
    if not total.isascii() or not total.isdigit() or len(total) > 9:
        raise BulkFault("that is no number of instances; look at the preview again")
    if wish.action in DESTRUCTIVE and typed.strip().replace(",", "") != total:
        raise BulkFault(f"type {total}, the number of instances, to confirm")
    return int(total)


def _action(text: str) -> InstanceAction:
    return msgspec.convert(text, InstanceAction) if text in BULK_ACTIONS else "retry"


def _address(pick: str) -> Address:
    saga, _, key = pick.partition("/")
    return Address(saga, key)


ROUTES = (bulk_jobs, bulk_form, bulk_begin, bulk_job, bulk_step)
