"""Bulk actions for the dashboard, by the same checks and jobs as the routes of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import UNSET, Raw

from sagas.actions import ActionRequest
from sagas.names import BadName
from server.api.bulk import BulkBody, cancel_job, make_job, resume_job
from server.api.bulk_preview import preview
from server.api.bulk_targets import BulkFilter, BulkTarget, targets_of
from server.api.deps import Deps
from server.api.problems import Problem
from store.bulk import BulkJob
from ui.bulk import BulkFault, Outlook, Wish

PLANS = 5


class DeskBulk:
    """``ui.bulk.Bulk`` over the parts of the API."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def preview(self, wish: Wish, by: str) -> Outlook:
        """See Bulk."""
        with _faults():
            body, request = _body(wish)
            targets = await targets_of(self._deps, body.filter, body.keys, None)
            found = await preview(
                self._deps, targets, wish.action, request, by=by, reason=wish.reason, plans=PLANS
            )
        return msgspec.convert(found, Outlook, from_attributes=True)

    async def begin(self, wish: Wish, by: str, origin: str, most: int) -> str:
        """See Bulk."""
        with _faults():
            body, request = _body(wish)
            targets = await targets_of(self._deps, body.filter, body.keys, None)
            if len(targets) > most:
                raise BulkFault(
                    f"{len(targets)} instances match now, more than the {most} you have seen:"
                    " look at the new preview and confirm that"
                )
            job = await make_job(self._deps, body, request, targets, by=by, origin=origin)
        return job.id

    async def get(self, id: str) -> BulkJob | None:
        """See Bulk."""
        return await self._deps.bulk_jobs.get(id) if id.isalnum() and id.isascii() else None

    async def list(self) -> list[BulkJob]:
        """See Bulk."""
        return await self._deps.bulk_jobs.list()

    async def cancel(self, job: BulkJob) -> None:
        """See Bulk."""
        with _faults():
            await cancel_job(self._deps, job)

    async def resume(self, job: BulkJob) -> None:
        """See Bulk."""
        with _faults():
            await resume_job(self._deps, job)


def _body(wish: Wish) -> tuple[BulkBody, ActionRequest]:
    asked = wish.asked
    filter = BulkFilter(
        saga=(asked.saga,) if asked.saga else (),
        status=asked.status,
        key=asked.key,
        q=asked.q,
        since=asked.since,
        until=asked.until,
        where=asked.where,
    )
    picks = tuple(BulkTarget(saga=one.saga, key=one.key) for one in wish.picks)
    body = BulkBody(
        action=wish.action,
        filter=UNSET if picks else filter,
        keys=picks or UNSET,
        reason=wish.reason,
        types=wish.types,
        name=wish.name,
        payload=Raw(wish.payload.encode()) if wish.payload else UNSET,
        by_hand=wish.by_hand,
    )
    return body, body.request()


@contextmanager
def _faults() -> Iterator[None]:
    """What the API refuses with a problem document, as words for the page."""
    try:
        yield
    except Problem as problem:
        raise BulkFault(f"{problem} {problem.next}") from None
    except BadName as error:
        raise BulkFault(str(error)) from None
