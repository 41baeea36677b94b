"""The jobs of transactional steps: functions that run in a database transaction, effective once.

One step, or one undo, has a transaction of its own; the steps of a list's transaction share one and
run one after the other. Functions find it as ``ctx.transaction``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
from msgspec import Raw, structs

from jobs.context import Command, Desk
from jobs.database import Database, DatabaseTransaction
from jobs.dependencies import Key, Need
from jobs.job import AnyJob
from jobs.manner import AnyContext, Arguments, Manner
from jobs.once import Attempted, RolledBack, once, settle
from jobs.outcome import Crash, Failure, Success, clip, describe
from jobs.step_context import StepContext, StepOrder
from jobs.step_functions import StepFunction
from jobs.threads import call_in_thread
from sagas.errors import DefinitionError
from sagas.programs.steps import RunFunction, StepCall, StepPart, StepResult
from sagas.programs.transactions import OUTCOME_UNKNOWN
from sagas.retry import RetryPolicy, may_retry

_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_read_call = msgspec.json.Decoder(StepCall).decode
_read_result = msgspec.json.Decoder(StepResult).decode


@dataclass(frozen=True, kw_only=True, eq=False)
class StepWork:
    """A function with all that it takes to call it for a step: how its command is read, how it is
    called and how its end is told. ``name`` is the step's, in its list.
    """

    name: str
    target: str
    function: RunFunction
    form: StepFunction
    read: Callable[[bytes], StepOrder]
    manner: Manner
    payload_type: object

    async def do(self, context: StepContext[Any]) -> Success:
        """Call it; raises RolledBack."""
        try:
            positional, named = await self.manner.arguments(context, self.form.takes_second)
            call = functools.partial(self.function, *positional, **named)
            returned = await (call_in_thread(call) if self.form.threaded else call())
        except Exception as error:
            raise RolledBack(self.manner.raised(context, error)) from error
        outcome = self.manner.returned(context, returned)
        if isinstance(outcome, Failure):
            raise RolledBack(outcome)
        return outcome


class TransactionContext(StepContext[Any]):
    """The context of a transactional job, which opens the transaction."""

    __slots__ = ()

    @property
    def command(self) -> Command:
        return self._command

    def part(self, work: StepWork, fields: Mapping[str, Raw]) -> StepContext[Any]:
        """The context of one of the steps that share the transaction; ``fields`` is what the run
        has gathered. Its command id is its own and the same in each attempt.
        """
        command = structs.replace(
            self._command,
            id=f"{self._command.id}.{work.name}",
            idempotency_key=f"{self._command.idempotency_key}.{work.name}",
            target=work.target,
        )
        call = structs.replace(self.payload, step=work.name, context=Raw(_encode(fields)))
        order = work.read(_encode(call))
        made = StepContext[Any](command, self.attempt, order, self._desk, gathers=True)
        made.enter(self.transaction)
        return made


@dataclass(frozen=True, kw_only=True, eq=False)
class TransactionManner:
    """How a transactional job is called and its end is read. ``works`` are the functions that run;
    those of a ``shared`` transaction are parts of its answer, else there is one, and the answer is
    its own.
    """

    key: Key
    works: tuple[StepWork, ...]
    shared: bool
    gathers: bool
    retry: RetryPolicy
    timeout_s: float | None
    answer_bytes_max: int

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the functions ask for, and the database itself."""
        asked = (need for work in self.works for need in work.form.needs)
        return (Need("database", (self.key,), False), *asked)

    def context(self, command: Command, attempt: int, payload: Any, desk: Desk) -> AnyContext:
        """See Manner."""
        return TransactionContext(command, attempt, payload, desk, gathers=self.gathers)

    async def arguments(self, context: AnyContext, takes_payload: bool) -> Arguments:
        """See Manner."""
        return (context,), {}

    def returned(self, context: AnyContext, value: object) -> Success | Failure:
        """See Manner."""
        return cast("Success | Failure", value)

    def raised(self, context: AnyContext, error: BaseException) -> Failure | Crash:
        """See Manner. What is raised before the database was asked says nothing about it: an
        earlier attempt may have been committed.
        """
        if isinstance(error, RolledBack):
            return error.outcome
        unknown = {"code": OUTCOME_UNKNOWN}
        return Crash(clip(describe(error)), type(error).__name__, data=unknown)

    async def run(self, context: TransactionContext) -> Success | Failure:
        """The function of the job."""
        attempt = self._attempted(context)

        async def work(transaction: DatabaseTransaction) -> Success:
            context.enter(transaction)
            return await (self._together(context) if self.shared else self.works[0].do(context))

        return await once(await self._database(context), attempt, work)

    async def given_up(self, context: AnyContext, failure: Failure) -> Success | Failure:
        """See Manner. The database knows whether an attempt was committed before its worker died;
        nobody commits after it was asked.
        """
        try:
            database = await self._database(context)
        except Exception as error:
            reason = clip(f"{failure.reason}; and its database can't be asked: {describe(error)}")
            return Failure(reason, {"code": OUTCOME_UNKNOWN}, failure.error, defect=True)
        return await settle(database, self._attempted(cast("TransactionContext", context)), failure)

    async def _database(self, context: AnyContext) -> Database:
        return cast("Database", await context.resolve(cast("Any", self.key)))

    def _attempted(self, context: TransactionContext) -> Attempted:
        command = context.command
        return Attempted(
            id=outcome_id(command, context.payload),
            sends=command.sends,
            last=not may_retry(command.retry or self.retry, context.attempt),
            timeout_s=self.timeout_s,
        )

    async def _together(self, context: TransactionContext) -> Success:
        """All steps, one after the other; raises RolledBack with those that had ended well."""
        fields = dict(_read_fields(context.payload.context))
        parts: list[StepPart] = []
        size = 0
        for work in self.works:
            try:
                success = await work.do(context.part(work, fields))
                size += len(success.data)
                self._check_size(size)
            except RolledBack as end:
                raise RolledBack(_at(end.outcome, work.name, parts)) from end
            result = _read_result(success.data)
            fields |= result.added
            parts.append(
                StepPart(step=work.name, output=result.output, data=result.data, set=result.added)
            )
        return Success(_encode(StepResult(parts=tuple(parts), attempts=context.attempt)))

    def _check_size(self, size: int) -> None:
        if size > self.answer_bytes_max:
            raise RolledBack(
                Failure(
                    f"the answers of the transaction have {size} bytes and at most"
                    f" {self.answer_bytes_max} are allowed; store the data elsewhere and return a"
                    " reference",
                    {"code": "OutputTooLarge", "done": True},
                    "OutputTooLarge",
                    defect=True,
                )
            )


def outcome_id(command: Command, call: StepCall) -> str:
    """What a command's outcome is recorded under: its id, and when its run began."""
    return f"{command.id}@{call.begun:%Y%m%dT%H%M%S.%f}" if call.begun else command.id


def in_transaction(
    job: AnyJob,
    provider: object,
    works: tuple[StepWork, ...],
    *,
    shared: bool = False,
    gathers: bool = True,
    answer_bytes_max: int,
) -> AnyJob:
    """The same job in a transaction of ``provider``, which limits its time itself; see
    TransactionManner. Raises DefinitionError.
    """
    manner = TransactionManner(
        key=database_key(provider),
        works=works,
        shared=shared,
        gathers=gathers,
        retry=job.retry,
        timeout_s=job.timeout_s,
        answer_bytes_max=answer_bytes_max,
    )
    return replace(
        job,
        function=manner.run,
        takes_payload=False,
        threaded=False,
        timeout_s=None,
        manner=manner,
        needs=manner.needs,
    )


def read_whole(data: bytes) -> StepOrder:
    """The command of several steps; each of them reads its own argument."""
    return StepOrder(call=_read_call(data), second=None, read_input=lambda call: None)


def database_key(provider: object) -> Key:
    """Under which key an app provides the database of ``transactional=``; raises
    DefinitionError.
    """
    if provider is True:
        return Database
    if isinstance(provider, (type, str)) and provider:
        return provider
    raise DefinitionError(
        f"transactional={provider!r:.60} names no database; give True, or the type or name under"
        " which the app provides one"
    )


def _at(outcome: Failure | Crash, step: str, parts: list[StepPart]) -> Failure | Crash:
    """The same outcome, told of the step at which it happened."""
    told = cast("dict[str, object]", outcome.data) if isinstance(outcome.data, dict) else {}
    return structs.replace(outcome, data={**told, "step": step, "parts": parts})


_encode = msgspec.json.Encoder().encode
