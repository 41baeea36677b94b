"""Parking: an instance that can't go on stops as it was and waits for an operator.

What the failed handler had done is dropped; the message, the error and its traceback are kept, so
that a retry can repeat exactly this.
"""

from __future__ import annotations

import traceback

import msgspec
from msgspec import structs

from sagas.decision import Decision, Snapshot, commit
from sagas.draft import Draft
from sagas.errors import HandlerFault, LimitExceeded
from sagas.instance import Failure, Parked, Status
from sagas.messages import Cause, to_raw

TRACEBACK_CHARS_MAX = 8000


def park(
    draft: Draft, snapshot: Snapshot, cause: Cause, error: Exception, backlog: tuple[Cause, ...]
) -> Decision:
    """The instance as it was, stopped with this message and the error, waiting for an operator."""
    parked = Draft(draft.definition, snapshot.key, snapshot.instance, cause, draft.now)
    remember(parked, cause)
    parked.backlog = backlog
    if parked.gate is not None and draft.gate is not None:
        parked.gate = draft.gate
    status: Status = parked.status if parked.parked is None else parked.parked.status
    parked.park(
        Failure(
            type=type(error).__name__, message=str(error)[:2000], traceback=traceback_of(error)
        ),
        Parked(cause=cause, status=status, attempts=attempts_of(draft)),
    )
    # The message is kept in ``parked``; a second copy in ``cause`` could make a large one too
    # large.
    parked.cause = (
        structs.replace(cause, payload=to_raw(None))
        if len(bytes(cause.payload)) > 10_000
        else cause
    )
    return commit(parked, snapshot)


def attempts_of(draft: Draft) -> int:
    """How often the message was tried, this time included."""
    return draft.parked.attempts + 1 if draft.parked else 1


def traceback_of(error: Exception) -> str:
    """The traceback from the author's handler on, with file names instead of a machine's paths."""
    if isinstance(error, (HandlerFault, LimitExceeded, msgspec.ValidationError)):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if frame.filename.endswith("sagas/handlers.py")]
    theirs = frames[own[-1] + 1 :] if own else frames
    lines = [
        f'  File "{file_name(frame.filename)}", line {frame.lineno}, in {frame.name}\n'
        f"    {frame.line}\n"
        for frame in theirs
    ]
    last = "".join(traceback.format_exception_only(error))
    return ("Traceback (most recent call last):\n" + "".join(lines) + last)[-TRACEBACK_CHARS_MAX:]


def remember(draft: Draft, cause: Cause) -> None:
    """Keep the ids that publishers and operators give; internal messages come once by their
    position.
    """
    if (
        cause.id
        and (cause.kind == "event" or cause.kind == "operator")
        and cause.id not in draft.seen
    ):
        draft.remember(cause.id)


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rpartition("/")[2]
