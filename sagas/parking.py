"""Parking: an instance that can't go on stops as it was and waits for an operator.

What the failed handler had done is dropped; the message, the error and its traceback are kept, so
that a retry can repeat exactly this.
"""

from __future__ import annotations

import traceback

import msgspec
from msgspec import structs

from sagas.decision import Decision, Snapshot, Undeliverable, commit
from sagas.draft import Draft
from sagas.errors import HandlerFault, LimitExceeded, error_text, plain
from sagas.instance import PARKED_BYTES_MAX, Failure, Parked, Status
from sagas.messages import NULL, Cause

TRACEBACK_CHARS_MAX = 8000
CAUSE_BYTES_MAX = 10_000


def park(
    draft: Draft,
    snapshot: Snapshot,
    cause: Cause,
    error: Exception,
    backlog: tuple[Cause, ...],
    attempt: int = 1,
) -> Decision:
    """The instance as it was, stopped with this message and the error, waiting for an operator.

    Undeliverable when the instance is so full that the message can't be kept in it.
    """
    parked = Draft(draft.definition, snapshot.key, snapshot.instance, draft.cause, draft.now)
    parked.seen = draft.seen
    parked.backlog = backlog
    if parked.gate is not None and draft.gate is not None:
        parked.gate = draft.gate
    status: Status = parked.status if parked.parked is None else parked.parked.status
    failure = Failure(
        type=plain(type(error).__name__), message=error_text(error), traceback=_traceback(error)
    )
    parked.park(failure, Parked(cause=cause, status=status, attempts=attempt))
    # The message is kept in ``parked``; a second copy in ``cause`` could be too much.
    if len(bytes(parked.cause.payload)) > CAUSE_BYTES_MAX:
        parked.cause = structs.replace(parked.cause, payload=NULL)
    transition = commit(parked, snapshot)
    if len(transition.document) > PARKED_BYTES_MAX:
        return Undeliverable(
            f"its handler raised {failure.type}: {failure.message:.200}, and the instance is too"
            " full to park with it; make its state smaller, then redrive this"
        )
    return transition


def _traceback(error: Exception) -> str:
    """The traceback from the author's handler on, with file names instead of a machine's paths."""
    if isinstance(error, (HandlerFault, LimitExceeded, msgspec.MsgspecError)):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if frame.filename.endswith(_CALLERS)]
    theirs = frames[own[-1] + 1 :] if own else frames
    lines = [
        f'  File "{_file_name(frame.filename)}", line {frame.lineno}, in {frame.name}\n'
        f"    {frame.line}\n"
        for frame in theirs
    ]
    last = "".join(traceback.format_exception_only(error))
    text = "Traceback (most recent call last):\n" + "".join(lines) + last
    return plain(text)[-TRACEBACK_CHARS_MAX:]


# Our own frames end here, an author's begin.
_CALLERS = ("sagas/work.py", "sagas/handlers.py", "sagas\\work.py", "sagas\\handlers.py")


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def remember(draft: Draft, cause: Cause) -> None:
    """Keep the ids that publishers and operators give; internal messages come once by their
    position.
    """
    if cause.id and cause.from_outside and cause.id not in draft.seen:
        draft.remember(cause.id)
