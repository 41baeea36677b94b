"""Steps in one database transaction: what authors declare, and how the end of one is put on record.

The steps of a transaction run as one job: they have one command, one retry policy, one time-out.
Each has a record of its own all the same: its output and its undo when the transaction was
committed; when it was not, that it was rolled back, and what it may have to undo elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from sagas.durations import seconds
from sagas.errors import DefinitionError
from sagas.instance import StepRecord
from sagas.programs.steps import (
    TIMEOUT,
    AnyStep,
    Duration,
    Item,
    Step,
    StepFailure,
    StepPart,
    StepResult,
    sequence,
)
from sagas.retry import RetryPolicy

if TYPE_CHECKING:
    from sagas.programs.run import Run

TRANSACTION = "transaction"  # the kind of record; the name of the step where a whole list is one
OUTCOME_UNKNOWN = "OutcomeUnknown"  # the code of a failure after which data may be committed


class Transaction(Struct, frozen=True, kw_only=True):
    """How steps share a transaction: of which database, how often and for how long it is tried."""

    provider: object = True
    retry: RetryPolicy | None = None
    timeout_s: float | None = None


def transaction(
    provider: object = True,
    *,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
) -> Transaction:
    """For ``transactional=`` of a list or a sequence. ``provider`` is the type or name under which
    the app provides the database, True the one that goes without a name; ``retry`` and ``timeout``
    are for all steps together, five attempts from one second on unless given. Raises
    DefinitionError.
    """
    limit_s = None if timeout is None else seconds(timeout)
    if limit_s is not None and limit_s <= 0:
        raise DefinitionError("the timeout of a transaction must be over 0, or None")
    return Transaction(provider=provider, retry=retry, timeout_s=limit_s)


def joined(item: Item) -> Item:
    """The same with each transactional sequence as one step of many parts; raises
    DefinitionError.
    """
    if isinstance(item, Step):
        return item
    if item.transactional is None:
        return replace(item, items=tuple(joined(part) for part in item.items))
    declared = item.transactional
    options = declared if isinstance(declared, Transaction) else transaction(declared)
    return Step(
        name=item.name,
        run=_runs_as_parts,
        retry=options.retry,
        timeout_s=options.timeout_s,
        transactional=options.provider,
        parts=tuple(_parts(item.name, item.items, options.provider)),
        description=f"Transaction of {item.name}",
    )


def whole(items: list[Item], transactional: object) -> list[Item]:
    """The items of a list that is one transaction, if it is."""
    if transactional is None:
        return items
    return [sequence(TRANSACTION, items, transactional=transactional)]


def _runs_as_parts() -> None:
    raise AssertionError("a transaction runs the functions of its parts")


def _parts(name: str, items: Iterable[Item], provider: object) -> Iterator[AnyStep]:
    for item in items:
        if isinstance(item, Step):
            yield replace(_checked(name, item, provider), transactional=provider)
        elif item.kind == "parallel" or item.transactional is not None:
            raise DefinitionError(
                f"the transaction {name!r} holds the {item.kind} {item.name!r}, but its steps run"
                " one after the other on one connection; take it out, or make it a plain sequence"
            )
        else:
            yield from _parts(name, item.items, provider)


def _checked(name: str, step: AnyStep, provider: object) -> AnyStep:
    """A step that can be part of a transaction; raises DefinitionError."""
    if step.background:
        raise DefinitionError(
            f"the transaction {name!r} can't wait for {step.name!r}, which runs in the background;"
            " put it after the transaction"
        )
    if step.retry is not None:
        raise DefinitionError(
            f"the step {step.name!r} has a retry, but a transaction is tried again as a whole;"
            f" drop it and give {name!r} transactional=transaction(retry=…)"
        )
    if step.transactional not in (None, True, provider):
        raise DefinitionError(
            f"the step {step.name!r} is for another database than the transaction {name!r}; take"
            " it out"
        )
    return step


def commit_parts(run: Run, id: str, parts: Iterable[StepPart]) -> Iterator[tuple[str, StepResult]]:
    """Put the parts of a committed transaction on record, in order; each with what it gave."""
    for part in _known(run, id, parts):
        yield part.step, _complete(run, id, part)


def roll_back_parts(run: Run, id: str, parts: Iterable[StepPart]) -> None:
    """Put the parts on record that had ended well before their transaction was rolled back; their
    undos, if they have any, read what they had set.
    """
    for part in _known(run, id, parts):
        run.program.completed(run, part.step, _complete(run, id, part, rolled_back=True))


def fail_step(run: Run, id: str, failure: StepFailure) -> None:
    """Put a step on record that has failed for good; of a transaction also the part at fault."""
    roll_back_parts(run, id, failure.parts)
    if failure.step in _names(run, id):
        _begin(run, id, failure.step, rolled_back=True)
        run.fail_step(failure.step, failure)
        text = f"{failure.step}: {failure.reason}"
        failure = StepFailure(reason=text, code=failure.code)
    run.fail_step(id, failure)


def failed_step(records: Mapping[str, StepRecord]) -> str:
    """The id of the first step of a run that has failed, or empty; a part, not its transaction."""
    failed = [
        (record.kind == TRANSACTION, place, id)
        for place, (id, record) in enumerate(records.items())
        if record.status == "failed" and not record.background
    ]
    return min(failed)[2] if failed else ""


def _complete(run: Run, id: str, part: StepPart, *, rolled_back: bool = False) -> StepResult:
    _begin(run, id, part.step, rolled_back=rolled_back)
    result = StepResult(output=part.output, data=part.data, set=part.set)
    run.complete_step(part.step, result)
    return result


def _begin(run: Run, id: str, part: str, *, rolled_back: bool) -> None:
    """A part has begun when its transaction had, and was tried as often."""
    whole = run.records[id]
    begun = StepRecord(step=part, status="running", started=whole.started, attempts=whole.attempts)
    run.put(part, structs.replace(begun, rolled_back=rolled_back))


def _known(run: Run, id: str, parts: Iterable[StepPart]) -> list[StepPart]:
    """The parts that the transaction declares: an answer may be written by anybody."""
    names = _names(run, id)
    return [part for part in parts if part.step in names]


def _names(run: Run, id: str) -> frozenset[str]:
    step = run.program.steps.get(run.records[id].step)
    return frozenset(part.name for part in step.parts) if step else frozenset()
