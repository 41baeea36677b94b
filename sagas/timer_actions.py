"""What operators do to one timer: fire it now, move it, cancel it.

A timer stays set until its message is handled, so one that has fired while its instance was paused
or parked is still here: moving or cancelling it makes the message that waits moot.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import structs

from sagas.decision import Decision, Snapshot
from sagas.draft import Draft
from sagas.durations import DELAY_S_MAX
from sagas.effects import Schedule
from sagas.errors import HandlerFault
from sagas.instance import Timer
from sagas.messages import Cause
from sagas.work import conclude


def fire(draft: Draft, snapshot: Snapshot, id: str) -> Decision | None:
    """Handle a timer's message in this transition; where messages wait, have it fire at once.

    Raises HandlerFault when it is not set, or has fired already and its message waits.
    """
    timer = _chosen(draft, id)
    if any(_is_of(cause, id, timer) for cause in draft.backlog):
        raise HandlerFault(
            f"the timer {id!r} has fired and its message waits in the backlog; resume or retry the"
            " instance"
        )
    waits = draft.gate is not None and not draft.gate.held
    if draft.backlog or waits or draft.status in ("paused", "parked"):
        _move(draft, id, timer, draft.now)
        return None
    draft.unschedule(id)
    cause = structs.replace(
        draft.cause,
        kind="timer",
        type=timer.type,
        id=f"{id}@{timer.version}",
        payload=timer.payload,
        epoch=timer.version,
    )
    return conclude(draft, snapshot, cause)


def postpone(draft: Draft, id: str, to: datetime | float | None) -> None:
    """Have a timer fire at another time, or so many seconds from now; raises HandlerFault."""
    timer = _chosen(draft, id)
    if to is None:
        raise HandlerFault("say when it shall fire: a time, or a delay from now")
    if not isinstance(to, datetime):
        if not 0 <= to <= DELAY_S_MAX:
            raise HandlerFault(f"a delay of {to:g} s is outside 0 s to ten years; give another")
        to = draft.now + timedelta(seconds=to)
    if to.tzinfo is None:
        raise HandlerFault(f"the time {to.isoformat()} has no time zone; add one, for example Z")
    if to <= draft.now:
        raise HandlerFault(f"{to:%Y-%m-%d %H:%M:%S %Z} is past; give a later time, or fire it now")
    if to > draft.now + timedelta(seconds=DELAY_S_MAX):
        raise HandlerFault(f"{to:%Y-%m-%d} is more than ten years away; give an earlier time")
    _move(draft, id, timer, to.astimezone(UTC))


def cancel(draft: Draft, id: str) -> None:
    """Have a timer not fire at all; raises HandlerFault when it is not set."""
    _chosen(draft, id)
    draft.unschedule(id)


def _chosen(draft: Draft, id: str) -> Timer:
    """The timer that is meant, unless the instance is parked with what it said."""
    timer = draft.timers.get(id)
    if timer is None:
        known = ", ".join(sorted(draft.timers)) or "none"
        asked = f"the timer {id!r} is not set, it may have fired" if id else "say which timer"
        raise HandlerFault(f"{asked}; set: {known}")
    parked = draft.parked.cause if draft.parked is not None else None
    if parked is not None and _is_of(parked, id, timer):
        raise HandlerFault(
            f"the timer {id!r} has fired and the instance is parked with its message;"
            " retry or skip that"
        )
    return timer


def _is_of(cause: Cause, id: str, timer: Timer) -> bool:
    """Whether a message is what this timer said when it fired."""
    return (
        cause.kind == "timer" and cause.epoch == timer.version and cause.id == f"{id}@{cause.epoch}"
    )


def _move(draft: Draft, id: str, timer: Timer, at: datetime) -> None:
    """Set the timer anew; the version makes what the old one may have said moot."""
    draft.timers = {**draft.timers, id: structs.replace(timer, at=at, version=draft.version)}
    draft.effects.append(Schedule(type=timer.type, id=id, payload=timer.payload, at=at))
