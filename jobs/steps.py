"""The jobs of steps: one for each step's run, one for each undo, one for each callback.

A definition with steps says what runs when; here its functions become jobs like all others, with
the same retries, limits, threads and records. What a function returns or raises becomes the
StepResult or StepFailure that its run takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import Raw

from jobs.context import Command, Desk
from jobs.job import RETRY, AnyJob, Job, job
from jobs.manner import AnyContext, Arguments
from jobs.outcome import (
    Answer,
    Crash,
    Failure,
    PermanentFailure,
    Success,
    clip,
    describe,
    outcome_of_error,
)
from jobs.step_context import StepContext, StepOrder
from jobs.step_errors import ErrorPolicy, opinion
from jobs.step_functions import (
    Read,
    StepFunction,
    read_function,
    reads_argument,
    reads_context,
    reads_data,
)
from jobs.step_transactions import StepWork, in_transaction, read_whole
from sagas import SagaDefinition, StepList
from sagas.errors import DefinitionError
from sagas.messages import to_raw
from sagas.programs.steps import AnyStep, StepCall, StepResponse, StepResult

CONCURRENCY = 16  # of each step in one worker
ANSWER_BYTES_MAX = 300_000

NOTHING_KEPT = Success(msgspec.json.encode(StepResult()))

_read_call = msgspec.json.Decoder(StepCall).decode
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def step_jobs(definition: SagaDefinition, errors: ErrorPolicy | None = None) -> list[AnyJob]:
    """The jobs of a definition of steps; none for one of handlers. ``errors`` holds for all whose
    definition or step has no opinion. Raises DefinitionError.
    """
    return all_step_jobs([definition], errors)


def all_step_jobs(
    definitions: Iterable[SagaDefinition], errors: ErrorPolicy | None = None
) -> list[AnyJob]:
    """The jobs of several definitions, which may share steps; raises DefinitionError."""
    found: dict[str, tuple[AnyStep, list[AnyJob], SagaDefinition]] = {}
    callbacks: list[AnyJob] = []
    for definition in definitions:
        program = definition.program
        if program is None:
            continue
        inside = {part.name for step in program.steps.values() for part in step.parts}
        for step in program.steps.values():
            known = found.get(step.target)
            if known is None:
                jobs = _jobs_of(step, definition, errors, part=step.name in inside)
                found[step.target] = (step, jobs, definition)
            else:
                _check_shared(step, definition, known[0], known[2])
        functions = getattr(program, "callback_functions", {})
        callbacks += [
            job(target, description=f"Callback of {definition.id}: {name}")(functions[name])
            for name, target in program.callbacks.items()
        ]
    return [*(one for _, jobs, _ in found.values() for one in jobs), *callbacks]


def _check_shared(
    step: AnyStep, definition: SagaDefinition, known: AnyStep, owner: SagaDefinition
) -> None:
    """A target has one job, so what calls it must agree on it; raises DefinitionError."""
    if known is not step:
        raise DefinitionError(
            f"two steps have the job target {step.target!r}; give one another name"
        )
    if step.errors is None and _policy(owner.program) != _policy(definition.program):
        raise DefinitionError(
            f"the step {step.name!r} is called by {owner.id!r} and {definition.id!r}, whose errors="
            " differ; give the step its own errors="
        )


def _jobs_of(
    step: AnyStep, definition: SagaDefinition, errors: ErrorPolicy | None, *, part: bool
) -> list[AnyJob]:
    """The jobs of a step; of one that is ``part`` of a transaction only its undo is one."""
    if step.parts:
        works = tuple(_works(one, definition, errors)[0] for one in step.parts)
        return [_transaction_job(step, works, definition)]
    run, undo = _works(step, definition, errors)
    made = [] if part else [_job(step, run, definition)]
    return made if undo is None else [*made, _job(step, undo, definition, undo=True)]


def _works(
    step: AnyStep, definition: SagaDefinition, errors: ErrorPolicy | None
) -> tuple[StepWork, StepWork | None]:
    """What a step does and what its undo does."""
    policies = tuple(p for p in (_policy(step), _policy(definition.program), errors) if p)
    in_list = isinstance(definition, StepList)
    what = f"the step {step.name!r} of {definition.id!r}"
    run = read_function(step.run, what)
    reads = reads_context if in_list else reads_argument
    of_list = definition.input_type if isinstance(definition, StepList) else Any
    input_type = run.second_type if run.takes_second else run.input_type or of_list
    read_input = reads(input_type, what)
    does = StepWork(
        name=step.name,
        target=step.target,
        function=step.run,
        form=run,
        read=_reader(run, read_input, read_input),
        manner=StepManner(run=run, policies=policies, merges=in_list),
        payload_type=input_type,
    )
    if step.compensate is None:
        return does, None
    what = f"the undo of {what}"
    undo = read_function(step.compensate, what)
    read_data = reads_data(undo.second_type if undo.takes_second else Any, what)
    own = reads(undo.input_type or input_type, what)
    undoes = StepWork(
        name=step.name,
        target=step.undo_target,
        function=step.compensate,
        form=undo,
        read=_reader(undo, read_data, own),
        manner=StepManner(run=undo, policies=policies, merges=False),
        payload_type=undo.second_type,
    )
    return does, undoes


def _policy(owner: object) -> ErrorPolicy | None:
    errors = getattr(owner, "errors", None)
    if errors is None or isinstance(errors, ErrorPolicy):
        return errors
    raise DefinitionError(f"errors={errors!r:.80} is no ErrorPolicy; give jobs.ErrorPolicy(…)")


def _reader(function: StepFunction, second: Read, read_input: Read) -> Any:
    """Decodes a command of a step, its second argument at once, ``ctx.input`` when asked for."""

    def read(data: bytes) -> StepOrder:
        call = _read_call(data)
        argument = second(call) if function.takes_second else None
        return StepOrder(call=call, second=argument, read_input=read_input)

    return read


def _job(
    step: AnyStep, work: StepWork, definition: SagaDefinition, *, undo: bool = False
) -> AnyJob:
    timeout_s = step.undo_timeout_s if undo else step.timeout_s
    made = Job(
        target=work.target,
        function=work.function,
        payload_type=work.payload_type,
        decode=work.read,
        takes_payload=work.form.takes_second,
        threaded=work.form.threaded,
        retry=(step.undo_retry if undo else step.retry) or RETRY,
        timeout_s=timeout_s,
        heartbeat_s=None,
        concurrency=CONCURRENCY,
        concurrency_total=None,
        on_success=None,
        on_failure=None,
        description=f"Undo of {step.target}" if undo else step.description,
        enabled=True,
        manner=work.manner,
        needs=work.form.needs,
        letters=step.background,
    )
    if step.transactional is None:
        return made
    gathers = isinstance(definition, StepList) and not undo
    return in_transaction(
        made, step.transactional, (work,), gathers=gathers, answer_bytes_max=ANSWER_BYTES_MAX
    )


def _transaction_job(
    step: AnyStep, works: tuple[StepWork, ...], definition: SagaDefinition
) -> AnyJob:
    """The job of a step that is a transaction of several."""
    made = Job(
        target=step.target,
        function=step.run,
        payload_type=Any,
        decode=read_whole,
        takes_payload=False,
        threaded=False,
        retry=step.retry or RETRY,
        timeout_s=step.timeout_s,
        heartbeat_s=None,
        concurrency=CONCURRENCY,
        concurrency_total=None,
        on_success=None,
        on_failure=None,
        description=step.description,
        enabled=True,
        letters=False,
    )
    return in_transaction(
        made, step.transactional, works, shared=True, answer_bytes_max=ANSWER_BYTES_MAX
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StepManner:
    """How steps are called and their ends are read; ``merges`` says that returned fields go into
    the context of a list.
    """

    run: StepFunction
    policies: tuple[ErrorPolicy, ...]
    merges: bool

    def context(self, command: Command, attempt: int, payload: Any, desk: Desk) -> AnyContext:
        """See Manner."""
        return StepContext[Any](command, attempt, payload, desk, gathers=self.merges)

    async def arguments(self, context: AnyContext, takes_payload: bool) -> Arguments:
        """See Manner."""
        step = cast("StepContext[Any]", context)
        named: dict[str, object] = {}
        for need in self.run.needs:
            is_there, value = await step.resolve_need(need)
            if is_there:
                named[need.name] = value
        return ((step, step.second) if takes_payload else (step,)), named

    def returned(self, context: AnyContext, value: object) -> Success | Failure:
        """See Manner."""
        step = cast("StepContext[Any]", context)
        data = step.left
        if isinstance(value, Answer):
            if value.reason is not None:
                return _failed(value.reason, _or(value.data, data))
            value = value.data
        elif isinstance(value, StepResponse):
            response = cast("StepResponse[Any]", value)
            data = _or(response.compensation_data, data)
            if response.reason is not None:
                return _failed(response.reason, data, response.code)
            value = response.output
        try:
            outcome = _answer(step, value, data, self.merges)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            outcome = Failure(
                clip(
                    f"the step's work is done, but its answer can't be written as JSON: {error};"
                    " return Structs, dicts, lists, texts and numbers"
                ),
                _payload(data if _is_json(data) else None, "BadOutput", done=True),
                type(error).__name__,
                defect=True,
            )
        # Nobody reads what an undo returns, so it is through also when that can't be kept.
        return NOTHING_KEPT if step.payload.undo and isinstance(outcome, Failure) else outcome

    def raised(self, context: AnyContext, error: BaseException) -> Failure | Crash:
        """See Manner."""
        left = cast("StepContext[Any]", context).left
        if isinstance(error, PermanentFailure):
            return _failed(error.reason, _or(error.data, left), error.code, error)
        if isinstance(error, Exception):
            try:
                mapped = opinion(self.policies, error)
            except Exception as fault:
                text = f"{describe(error)}; the error mapper failed at it: {describe(fault)}"
                return Crash(clip(text), type(error).__name__, data=_payload(left))
            if isinstance(mapped, PermanentFailure):
                return _failed(mapped.reason, _or(mapped.data, left), mapped.code, error)
            if isinstance(mapped, StepResponse) and mapped.reason is not None:
                data = _or(mapped.compensation_data, left)
                return _failed(mapped.reason, data, mapped.code, error)
        outcome = outcome_of_error(error)
        return Crash(outcome.reason, outcome.error, data=_payload(left))

    async def given_up(self, context: AnyContext, failure: Failure) -> Success | Failure:
        """See Manner."""
        return failure


def _or(data: object, left: object) -> object:
    return left if data is None else data


def _failed(
    reason: str, data: object, code: str = "", error: BaseException | None = None
) -> Failure:
    name = type(error).__name__ if error else ""
    return Failure(clip(reason), _payload(data, code), name)


def _payload(data: object, code: str = "", *, done: bool = False) -> dict[str, object]:
    """What a StepFailure holds beside its reason."""
    fields = {"data": data, "code": code, "done": done or None}
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _is_json(data: object) -> bool:
    try:
        to_raw(data)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return False
    return True


def _answer(step: StepContext[Any], value: object, data: object, merges: bool) -> Success | Failure:
    """The StepResult of a step; raises what msgspec raises for data that are no JSON."""
    if value is step or value is step.data:  # the context handed on as it came
        value = None
    output, merged = to_raw(value), False
    added = {name: to_raw(one) for name, one in step.added.items()} if merges else {}
    if merges and isinstance(value, dict):
        output, changed = _merged(step, output)
        merged = bool(changed) and changed.keys() == _read_fields(output).keys()
        added = added if merged else {**changed, **added}
    result = StepResult(
        output=output, data=to_raw(data), set=added, merged=merged, attempts=step.attempt
    )
    body = msgspec.json.encode(result)
    if len(body) <= ANSWER_BYTES_MAX:
        return Success(body)
    return Failure(
        f"the step's work is done, but its answer has {len(body)} bytes and at most"
        f" {ANSWER_BYTES_MAX} are allowed; store the data elsewhere and return a reference",
        _payload(
            data if len(to_raw(data)) <= ANSWER_BYTES_MAX else None, "OutputTooLarge", done=True
        ),
        "OutputTooLarge",
        defect=True,
    )


def _merged(step: StepContext[Any], output: Raw) -> tuple[Raw, Mapping[str, Raw]]:
    """The output of a list's step and what it changes in the context.

    Who returns the whole context with more in it (``{**ctx.data, "paid": True}``) has for output
    only what is new.
    """
    fields, before = _read_fields(output), _read_fields(step.payload.context)
    changed = {name: raw for name, raw in fields.items() if not _same(before.get(name), raw)}
    if before and changed and before.keys() <= fields.keys():
        output = to_raw(changed)
    return output, changed


def _same(before: Raw | None, after: Raw) -> bool:
    return before is not None and bytes(before) == bytes(after)
