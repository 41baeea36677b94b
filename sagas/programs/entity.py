"""Keyed entities: one instance for each key, with state, whose handlers run one at a time.

    wallet = entity("Wallet", state=Wallet)

    @wallet.handler("transfer")
    async def transfer(saga: WorkflowSaga, input: Transfer) -> Receipt:
        saga.state.balance -= input.amount
        ...

A handler is a workflow function on ``saga.state``. When a failure leaves it, its steps are undone
and the state stays as it was before the call. Calls wait in the instance for their turn.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast

import msgspec
from msgspec import Raw, structs

from sagas.definition import Query, SagaDefinition
from sagas.draft import Draft
from sagas.errors import DefinitionError
from sagas.messages import NULL, Cause, to_raw
from sagas.names import BadName, check_name
from sagas.programs import entity_end
from sagas.programs.definition import program_definition
from sagas.programs.entity_state import (
    Call,
    CallResult,
    EntityState,
    answer,
    state_of,
    with_result,
)
from sagas.programs.entity_waits import DEADLOCK, WAITS, Waits, circle, joined, pass_on
from sagas.programs.program import OnFailure, OnUndoFailure, TenantRule, tenant_of
from sagas.programs.queries import QueryHandler
from sagas.programs.run import Run
from sagas.programs.steps import AnyStep, RunFunction, StepFailure, StepResult
from sagas.programs.workflow import failure_of
from sagas.programs.workflow_execution import Execution
from sagas.programs.workflow_saga import Decode, WorkflowSaga
from sagas.programs.workflow_signals import EntityCall, replied
from sagas.programs.workflow_steps import (
    find_steps,
    hashed,
    input_type,
    output_decoder,
    returned,
)

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")
R = TypeVar("R")

WAITING_MAX = 256


@dataclass(frozen=True, eq=False)
class EntityHandler(Generic[I, O]):
    """An exclusive handler of an entity; call it from a workflow, or publish its ``request``."""

    entity: str
    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    decode_input: Decode
    decode_output: Decode

    async def call(self, saga: WorkflowSaga, key: str, input: I) -> O:
        """Have the entity with this key handle it and wait for the result; raises StepFailed."""
        output = await saga.call_entity(self.entity, self.name, key, input)
        return cast("O", self.decode_output(bytes(to_raw(output))))

    def tell(self, saga: WorkflowSaga, key: str, input: I) -> None:
        """Have the entity with this key handle it; nobody waits."""
        saga.tell_entity(self.entity, self.name, key, input)

    def request(self, input: I) -> EntityCall:
        """The payload of an event that calls it: type the entity's id, ordering key the key."""
        return EntityCall(self.name, to_raw(input))


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityProgram:
    """What an entity may do next: handle the first of its calls."""

    id: str
    initial: Raw
    decode_state: Decode
    explicit: tuple[AnyStep, ...]
    on_undo_failure: OnUndoFailure
    errors: object = None
    tenant_rule: TenantRule | None = None
    on_failure: OnFailure = "compensate"
    functions: dict[str, EntityHandler[Any, Any]] = field(
        default_factory=dict[str, EntityHandler[Any, Any]]
    )
    queries: dict[str, Query] = field(default_factory=dict[str, Query])
    callbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    callback_functions: Mapping[str, RunFunction] = field(default_factory=dict[str, RunFunction])
    found: dict[str, AnyStep] = field(default_factory=dict[str, AnyStep])

    @property
    def steps(self) -> Mapping[str, AnyStep]:
        """The steps that its handlers may call; looked up when they are asked for first."""
        if not self.found:
            functions = [one.function for one in self.functions.values()]
            self.found.update(find_steps(self.id, functions, self.explicit))
        return self.found

    @property
    def parts(self) -> Sequence[object]:
        """What its definition's hash covers; whole only when its module is loaded."""
        handlers = [part for one in self.functions.values() for part in (one.name, one.function)]
        own = [bytes(self.initial), self.on_undo_failure, *handlers]
        return [*own, *hashed(self.steps.values())]

    def begin(self, run: Run, cause: Cause) -> None:
        """The first call makes the instance."""
        self._keep(run, EntityState(state=self.initial))
        self._take(run, cause)

    def told(self, run: Run, cause: Cause) -> bool:
        """Another call, or the reply of an entity that a handler has called."""
        if cause.kind == "timer" or replied(run, cause):
            return True
        if cause.kind == "signal" and cause.type == WAITS:
            self._more_wait(run, msgspec.json.decode(cause.payload, type=Waits))
            return True
        if cause.kind not in ("event", "spawn") or cause.type != self.id:
            return False
        self._take(run, cause)
        return True

    def completed(self, run: Run, id: str, result: StepResult) -> None:
        """The handler is told when it runs on."""

    def undo_context(self, run: Run, id: str) -> Raw:
        """Undos have what their step left for them."""
        return NULL

    def tenant(self, run: Run) -> str:
        """What the rule finds in the input of the call that is handled."""
        call = state_of(run).calls[0]
        handler = self.functions[call.handler]
        return tenant_of(self.tenant_rule, handler.decode_input(bytes(call.input)))

    def unpatchable(self, run: Run, state: Raw) -> str:
        """The author's state may be changed while no call works on it."""
        try:
            kept = msgspec.json.decode(state, type=EntityState)
            self.decode_state(bytes(kept.state))
        except msgspec.ValidationError as error:
            return f"the state would not fit {self.id}: {error}; correct that field"
        if kept.calls != state_of(run).calls:
            return "calls are not changed by a patch; it may change `state` alone"
        if kept.calls:
            return (
                f"{self.id}/{run.draft.key} handles a call, which began with the state as it is;"
                " patch it when no call is left"
            )
        return ""

    def give_up(self, draft: Draft) -> None:
        """See Called."""
        entity_end.give_up(draft)

    def turn_away(self, draft: Draft, cause: Cause) -> bool:
        """See Called."""
        return entity_end.turn_away(draft, cause)

    def advance(self, run: Run) -> None:
        """Handle calls, the first first, until one waits or none is left."""
        kept = state_of(run)
        while kept.calls:
            call = kept.calls[0]
            if self.tenant_rule is not None:
                self._keep(run, kept)  # its steps ask whose call it is
            if call.failure is None:
                after = self._handle(run, kept, call)
                if after is None:
                    return
                kept = after
            elif run.undo_next():
                break
            else:
                kept = self._ended(
                    run, kept, CallResult(error=call.failure.reason, code=call.failure.code)
                )
        self._keep(run, kept)

    def _handle(self, run: Run, kept: EntityState, call: Call) -> EntityState | None:
        """Run the handler of a call as far as it comes; None when it waits."""
        in_line = tuple(caller for one in kept.calls[1:] for caller in one.callers)
        execution = Execution(run, lambda _: None, call.at, call.id, call.callers, in_line)
        saga = WorkflowSaga(execution, self.steps, output_decoder, {})
        saga.state = self.decode_state(bytes(kept.state))
        handler = self.functions[call.handler]
        given = handler.decode_input(bytes(call.input))
        task = execution.go(lambda: handler.function(saga, given), lambda: saga.state)
        execution.come_back()
        if task is None:
            self._keep(run, kept)
            return None
        failure = failure_of(task.exception())
        if failure is None:
            after = structs.replace(kept, state=execution.left)
            return self._ended(run, after, CallResult(output=to_raw(task.result())))
        run.stop_waiting()
        told = StepFailure(reason=failure.message, code=failure.type)
        failed = structs.replace(call, failure=told)
        return structs.replace(kept, calls=(failed, *kept.calls[1:]))

    def _take(self, run: Run, cause: Cause) -> None:
        """Put a call in line; one that can't be handled fails at once."""
        kept = state_of(run)
        asked = msgspec.json.decode(cause.payload, type=EntityCall)
        id = cause.id or f"{run.draft.key}-{run.draft.version}"
        call = Call(
            id=id,
            handler=asked.handler,
            input=asked.input,
            at=run.draft.now,
            reply=asked.reply,
            callers=asked.callers,
        )
        fault, code = self._fault(kept, call), "Refused"
        if not fault and kept.calls:
            fault, code = circle(run, call.callers), DEADLOCK
        if fault:
            self._keep(run, self._refused(run, kept, call, CallResult(error=fault, code=code)))
            return
        self._keep(run, structs.replace(kept, calls=(*kept.calls, call)))
        if kept.calls and call.callers:
            pass_on(run, call.callers)

    def _more_wait(self, run: Run, waits: Waits) -> None:
        """Others wait now for the end of a call that is here."""
        kept = state_of(run)
        place = next((n for n, one in enumerate(kept.calls) if one.reply == waits.call), None)
        if place is None:
            return
        calls, call = list(kept.calls), kept.calls[place]
        callers = joined(call.callers, waits.callers)
        if callers == call.callers:
            return
        fault = circle(run, callers) if place > 0 else ""
        if fault:
            del calls[place]
            kept = structs.replace(kept, calls=tuple(calls))
            kept = self._refused(run, kept, call, CallResult(error=fault, code=DEADLOCK))
        else:
            calls[place] = structs.replace(call, callers=callers)
            kept = structs.replace(kept, calls=tuple(calls))
            pass_on(run, callers)
        self._keep(run, kept)

    def _refused(self, run: Run, kept: EntityState, call: Call, result: CallResult) -> EntityState:
        """A call is answered without being handled."""
        answer(run, call, result)
        return with_result(kept, call.id, result)

    def _fault(self, kept: EntityState, call: Call) -> str:
        handler = self.functions.get(call.handler)
        if handler is None:
            known = ", ".join(sorted(self.functions)) or "none"
            return f"{self.id} has no handler {call.handler!r}; it has: {known}"
        if len(kept.calls) >= WAITING_MAX:
            return f"{WAITING_MAX} calls wait for {self.id} already; call again later"
        try:
            handler.decode_input(bytes(call.input))
        except msgspec.ValidationError as error:
            return f"the input does not fit {call.handler!r}: {error}; correct it and call again"
        return ""

    def _ended(self, run: Run, kept: EntityState, result: CallResult) -> EntityState:
        """The first call has ended: its records go, its result stays and is told."""
        call = kept.calls[0]
        run.forget()
        answer(run, call, result)
        return with_result(structs.replace(kept, calls=kept.calls[1:]), call.id, result)

    def _keep(self, run: Run, kept: EntityState) -> None:
        run.state = kept


class Entity(SagaDefinition, frozen=True, kw_only=True):
    """The definition that ``entity`` gives; its decorators add handlers while its module loads."""

    input_type: object = EntityCall

    def handler(
        self, name: str
    ) -> Callable[[Callable[[WorkflowSaga, I], Coroutine[Any, Any, O]]], EntityHandler[I, O]]:
        """Decorate an exclusive handler: ``async def (saga, input)``, one at a time for a key."""

        def bind(
            function: Callable[[WorkflowSaga, I], Coroutine[Any, Any, O]],
        ) -> EntityHandler[I, O]:
            if not inspect.iscoroutinefunction(function):
                raise DefinitionError(f"the handler {name!r} must be an `async def (saga, input)`")
            if name in self._program.functions:
                raise DefinitionError(f"{self.id} has two handlers {name!r}; rename one")
            arguments, input = input_type(cast("types.FunctionType", function))
            if arguments != 2:
                raise DefinitionError(f"the handler {name!r} must take (saga, input)")
            made = EntityHandler[I, O](
                self.id,
                name,
                function,
                msgspec.json.Decoder(input).decode,
                msgspec.json.Decoder(returned(function)).decode,
            )
            self._program.functions[name] = made
            return made

        return bind

    def shared(self, name: str) -> Callable[[Callable[Concatenate[Any, P], R]], QueryHandler[P, R]]:
        """Decorate a handler that only reads: ``(state, …)``, at any time; asked as a query."""

        def bind(function: Callable[Concatenate[Any, P], R]) -> QueryHandler[P, R]:
            self._program.queries[name] = function
            return QueryHandler(self.id, name, function, self.query)

        return bind

    async def call(self, saga: WorkflowSaga, key: str, handler: str, input: object = None) -> Any:
        """Have the entity with this key handle a call and wait; raises StepFailed."""
        return await saga.call_entity(self.id, handler, key, input)

    def query(self, name: str, state: Raw, arguments: Mapping[str, object]) -> object:
        """The answer of a shared handler about the state."""
        program = self._program
        kept = msgspec.json.decode(state, type=EntityState | None) or EntityState()
        if name in program.queries:
            value = program.decode_state(bytes(kept.state or program.initial))
            return program.queries[name](value, **arguments)
        return super().query(name, kept.state, arguments)

    @property
    def _program(self) -> EntityProgram:
        return cast("EntityProgram", self.program)


def entity(
    name: str,
    *,
    state: Any = None,
    initial: object = None,
    steps: Sequence[AnyStep] = (),
    on_undo_failure: Literal["park", "continue"] = "park",
    errors: object = None,
    tenant: TenantRule | None = None,
    description: str = "",
    retention: str = "",
    version: int = 1,
) -> Entity:
    """An entity whose state has the type ``state`` (default: a dict) and begins as ``initial``, or
    as ``state()``; ``steps`` are those its handlers call and can't see, ``errors`` is a
    ``jobs.ErrorPolicy`` for all of them, ``tenant`` says where the input of a call names whose
    providers they get; ``version`` is as for ``steps``. Raises DefinitionError.
    """
    try:
        check_name(name, "saga id")
    except BadName as error:
        raise DefinitionError(str(error)) from None
    type_ = dict[str, Any] if state is None else state
    value = initial if initial is not None else type_()
    program = EntityProgram(
        id=name,
        initial=to_raw(value),
        decode_state=msgspec.json.Decoder(type_).decode,
        explicit=tuple(steps),
        on_undo_failure=on_undo_failure,
        errors=errors,
        tenant_rule=tenant,
    )
    made = program_definition(
        Entity, name, program, EntityCall, description, retention, version=version
    )
    return structs.replace(made, queries=types.MappingProxyType(program.queries))
