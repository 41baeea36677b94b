"""Ticks: what the broker sends when a saga's schedule fires, and which of its runs it was. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from sagas.cron_times import run_before
from sagas.definition import Cron
from sagas.errors import DefinitionError
from sagas.messages import Cause, to_raw
from store.port import Headers, Stored
from store.schedules import NEXT

CRON = "cron"  # the id of the cause, and the key it is sent to
EXPRESSION, ZONE = "Snorri-Cron", "Snorri-Cron-Zone"  # what a tick tells of its schedule


def read_tick(stored: Stored, cause: Cause, schedule: Cron | None) -> tuple[str, Cause]:
    """The key of the instance that a tick starts, and its cause: the second it was due in, so that
    a tick told twice starts it once.

    ``schedule`` is the definition's, for ticks that do not tell their own as they once did not.
    """
    due = _due(stored.headers, schedule) or cause.at
    key = due.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return key, structs.replace(cause, id=f"{CRON}@{key}", payload=to_raw({"at": key}))


def _due(headers: Headers, schedule: Cron | None) -> datetime | None:
    """When a tick was due: the run before the one that the broker names as its next, which is the
    same however often and late it tells the tick. None when that can't be known.
    """
    if EXPRESSION in headers:
        schedule = Cron(expression=headers[EXPRESSION], time_zone=headers.get(ZONE, ""))
    try:
        following = datetime.fromisoformat(headers.get(NEXT, ""))
        if schedule is None or following.tzinfo is None:
            return None
        return run_before(schedule.expression, schedule.time_zone, following)
    except (ValueError, LookupError, OverflowError, OSError, DefinitionError):
        return None  # anybody may send what looks like a tick
