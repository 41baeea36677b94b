"""Work in a database transaction that is effective once, however often its command is delivered.

The outcome is a row in the same database, claimed before the work and written in its transaction:
a second delivery, after a crash at whatever moment, answers from that row. A failure is recorded
too before it is told, in a transaction of its own: nobody commits after the run was told that the
work has failed. When the database can't say, the failure's code is OUTCOME_UNKNOWN, and the run is
parked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from jobs.database import Database, DatabaseTransaction
from jobs.outcome import Crash, Failure, Success, clip, describe
from sagas.messages import NULL
from sagas.programs.transactions import OUTCOME_UNKNOWN

log = logging.getLogger("snorri.jobs")

RECORD_S = 30.0  # how long recording a failure may take

Work: TypeAlias = Callable[[DatabaseTransaction], Awaitable[Success]]


class RolledBack(Exception):
    """Raised by work that has failed; ``outcome`` says how."""

    def __init__(self, outcome: Failure | Crash) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Attempted(Struct, frozen=True, kw_only=True):
    """Which try of which command this is.

    ``sends`` counts how often the command was sent: an operator who sends it again wants more than
    the failure that is on record. After the ``last`` try a crash is a failure.
    """

    id: str
    sends: int
    last: bool
    timeout_s: float | None


class _Recorded(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An outcome as it stands in the database: an answer, or why there is none."""

    answer: Raw = NULL
    reason: str = ""
    error: str = ""
    data: Any = None
    sends: int = 1


async def once(database: Database, attempt: Attempted, work: Work) -> Success | Failure:
    """Do the work, unless its outcome is on record; raises RolledBack, with a Crash, when another
    try may follow.
    """
    try:
        async with asyncio.timeout(attempt.timeout_s), database.transaction() as transaction:
            known = await _known(transaction, attempt)
            if known is not None:
                return known
            success = await work(transaction)
            answer = msgspec.json.encode(_Recorded(answer=Raw(success.data)))
            await transaction.record(attempt.id, answer)
        return success
    except RolledBack as end:
        outcome = end.outcome
    except TimeoutError:
        limit = f"TimeoutError: no answer within {attempt.timeout_s or 0:g} s"
        outcome = Crash(limit, "TimeoutError", timed_out=True)
    except Exception as error:  # the database's own, also of a commit that may have been done
        outcome = Crash(clip(describe(error)), type(error).__name__)
    if isinstance(outcome, Crash) and not attempt.last:
        raise RolledBack(outcome)
    return await settle(database, attempt, outcome)


async def settle(
    database: Database, attempt: Attempted, outcome: Failure | Crash
) -> Success | Failure:
    """Record a failure, or find that somebody else has recorded an outcome. Never raises."""
    failure = (
        Failure(outcome.reason, outcome.data, outcome.error, timed_out=outcome.timed_out)
        if isinstance(outcome, Crash)
        else outcome
    )
    try:
        async with asyncio.timeout(RECORD_S), database.transaction() as transaction:
            known = await _known(transaction, attempt)
            if known is not None:
                return known
            recorded = _Recorded(
                reason=failure.reason,
                error=failure.error,
                data=failure.data,
                sends=attempt.sends,
            )
            await transaction.record(attempt.id, msgspec.json.encode(recorded))
        return failure
    except Exception as error:
        log.warning("the outcome of %s can't be recorded: %s", attempt.id, describe(error))
        return Failure(
            clip(
                f"{failure.reason}; and the database can't tell whether an attempt was committed:"
                f" {describe(error)}; retry when it is back, which finds out"
            ),
            {"code": OUTCOME_UNKNOWN},
            failure.error,
            defect=True,
        )


async def _known(transaction: DatabaseTransaction, attempt: Attempted) -> Success | Failure | None:
    """What is on record, unless that is the failure of an earlier sending."""
    stored = await transaction.claim(attempt.id)
    if stored is None:
        return None
    recorded = msgspec.json.decode(stored, type=_Recorded)
    if not recorded.reason:
        return Success(bytes(recorded.answer))
    if recorded.sends < attempt.sends:
        return None
    return Failure(recorded.reason, recorded.data, recorded.error)
