"""Workflow functions: ``@workflow("Checkout")`` on an async function makes a saga of it.

    @workflow("Checkout")
    async def checkout(saga: WorkflowSaga, order: Order) -> Receipt:
        reservation = await reserve(saga, order)
        ...

The function runs from its start after each answer, and history answers what it asked for before
(``sagas.programs.workflow_execution``), unless it was kept where it waits. When a failure leaves
it, its steps are undone in reverse order; any other exception is a fault in its code and parks the
run, which a retry continues.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import msgspec
from msgspec import Raw, Struct, structs

from sagas.definition import Query, SagaDefinition
from sagas.errors import DefinitionError, error_text
from sagas.handlers import Handler
from sagas.instance import Failure, StepRecord
from sagas.messages import NULL, Cause
from sagas.names import BadName, check_name
from sagas.programs.definition import program_definition, taken
from sagas.programs.program import OnFailure, OnUndoFailure, TenantRule, tenant_of
from sagas.programs.queries import QueryHandler
from sagas.programs.run import Run
from sagas.programs.standing import Standing
from sagas.programs.steps import AnyStep, RunFunction, StepResult
from sagas.programs.workflow_errors import StepFailed, WorkflowFailed
from sagas.programs.workflow_execution import Execution
from sagas.programs.workflow_loop import Task
from sagas.programs.workflow_saga import Decode, WorkflowSaga
from sagas.programs.workflow_signals import arrive, hand_over, replied
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

Function: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
# Handlers and queries are the author's; their second argument is of any type.
SignalHandler: TypeAlias = Callable[..., object]


class RunState(Struct, frozen=True):
    """The state of a run as it is kept: its input, and what its function left in ``saga.state``."""

    input: Raw = NULL
    state: Raw = Raw(b"{}")


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkflowProgram:
    """What a workflow may do next: run its function on."""

    id: str
    function: Function
    arguments: int
    decode_input: Decode
    explicit: tuple[AnyStep, ...]
    on_failure: OnFailure
    on_undo_failure: OnUndoFailure
    errors: object = None
    tenant_rule: TenantRule | None = None
    signals: dict[str, Handler] = field(default_factory=dict[str, Handler])
    handlers: dict[str, SignalHandler] = field(default_factory=dict[str, SignalHandler])
    queries: dict[str, Query] = field(default_factory=dict[str, Query])
    events: Mapping[str, object] = field(default_factory=dict[str, object])
    callbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    callback_functions: Mapping[str, RunFunction] = field(default_factory=dict[str, RunFunction])

    @property
    def steps(self) -> Mapping[str, AnyStep]:
        """The steps it may call; looked up late, since they may stand below it in its module."""
        return self._steps

    @cached_property
    def _steps(self) -> Mapping[str, AnyStep]:
        return types.MappingProxyType(find_steps(self.id, (self.function,), self.explicit))

    @cached_property
    def decoders(self) -> dict[str, Decode]:
        """What reads the answers of its steps, by name."""
        return {name: output_decoder(step) for name, step in self.steps.items()}

    @property
    def parts(self) -> Sequence[object]:
        """What its definition's hash covers; whole only when its module is loaded."""
        own = [self.function, self.on_failure, self.on_undo_failure, *self.handlers.values()]
        return [*own, *hashed(self.steps.values())]

    def begin(self, run: Run, cause: Cause) -> None:
        """Keep the input."""
        run.state = RunState(input=cause.payload)

    def told(self, run: Run, cause: Cause) -> bool:
        """A signal or a declared event: for its handler, or for whoever waits for its name."""
        name = cause.type
        if cause.kind == "timer" or replied(run, cause):
            return True  # there is room again, or an entity has answered
        if cause.kind not in ("signal", "event") or not (
            name in self.signals or name in self.events
        ):
            return False
        deliver = hand_over if name in self.handlers else arrive
        deliver(run, name, cause.payload)
        return True

    def completed(self, run: Run, id: str, result: StepResult) -> None:
        """The function is told when it runs on."""

    def undo_context(self, run: Run, id: str) -> Raw:
        """Undos of a workflow's steps have what their step left for them."""
        return NULL

    def tenant(self, run: Run) -> str:
        """What the rule finds in the input."""
        if self.tenant_rule is None:
            return ""
        kept = msgspec.json.decode(run.draft.state, type=RunState)
        return tenant_of(self.tenant_rule, self.decode_input(bytes(kept.input)))

    def unpatchable(self, run: Run, state: Raw) -> str:
        """Its state is what the function makes of history, each time anew."""
        return (
            f"the state of the workflow {self.id} is made anew by its function at each answer, so a"
            " patch would not last; send it a signal, or mend its code and retry"
        )

    def advance(self, run: Run) -> None:
        """Run the function as far as it comes; its end is the end of the run."""
        kept = msgspec.json.decode(run.draft.state, type=RunState)
        standing, run.draft.standing = run.draft.standing, None
        execution = standing.take(self) if standing is not None else None
        if execution is not None:
            task = execution.go_on(run)
        else:
            execution, task = self._run(run, kept)
        if execution.stands:
            run.draft.standing = Standing(execution, self)
        if bytes(execution.left) != bytes(kept.state):
            run.state = structs.replace(kept, state=execution.left)
        execution.come_back()
        if task is None:
            return
        failure = failure_of(task.exception())
        if failure is None:
            run.finish(task.result())
        else:
            run.compensate(failure)

    def _run(self, run: Run, kept: RunState) -> tuple[Execution, Task[Any] | None]:
        """Run the function from its start."""
        execution = Execution(run, lambda record: self._handle(saga, record))
        types_ = {name: handler.payload_type for name, handler in self.signals.items()}
        saga = WorkflowSaga(execution, self.steps, self._output, {**self.events, **types_})
        given = (self.decode_input(bytes(kept.input)),) if self.arguments > 1 else ()
        return execution, execution.go(lambda: self.function(saga, *given), lambda: saga.state)

    def _output(self, step: AnyStep) -> Decode:
        return self.decoders[step.name]

    def _handle(self, saga: WorkflowSaga, record: StepRecord) -> None:
        payload = self.signals[record.step].decode(record.output)
        self.handlers[record.step](saga, payload)


class Workflow(SagaDefinition, Generic[I, O], frozen=True, kw_only=True):
    """The definition that ``@workflow`` gives; ``I`` is what it takes, ``O`` what it returns."""

    input_type: object = Any
    output_type: object = Any

    async def run_as_step(self, saga: WorkflowSaga, input: I = None) -> O:  # type: ignore[assignment]
        """Run it as part of another workflow: its steps and their undos join that run."""
        program = self._program
        given = (input,) if program.arguments > 1 else ()
        return await program.function(saga, *given)

    def on_query(
        self, name: str
    ) -> Callable[[Callable[Concatenate[Any, P], R]], QueryHandler[P, R]]:
        """Decorate the answer to a question: ``(state, …)``, given what ``saga.state`` is."""

        def bind(function: Callable[Concatenate[Any, P], R]) -> QueryHandler[P, R]:
            self._program.queries[name] = function
            return QueryHandler(self.id, name, function, self.query)

        return bind

    def on_signal(self, name: str) -> Callable[[SignalHandler], SignalHandler]:
        """Decorate the handler of a signal: ``(saga, payload)``, a plain function that may change
        ``saga.state`` and ``saga.resolve()`` a promise.
        """

        def bind(function: SignalHandler) -> SignalHandler:
            if inspect.iscoroutinefunction(function):
                raise DefinitionError(
                    f"the handler of the signal {name!r} is async; let it resolve a promise that"
                    " the workflow awaits"
                )
            _, payload = input_type(cast("types.FunctionType", function))
            self._program.signals[name] = taken(name, payload)
            self._program.handlers[name] = function
            return function

        return bind

    def query(self, name: str, state: Raw, arguments: Mapping[str, object]) -> object:
        """The answer of a declared query about what ``saga.state`` was left as."""
        kept = msgspec.json.decode(state, type=RunState | None) or RunState()
        return super().query(name, kept.state, arguments)

    @property
    def _program(self) -> WorkflowProgram:
        return cast("WorkflowProgram", self.program)


class WorkflowMaker(Protocol):
    """What ``workflow(name)`` gives: a decorator."""

    @overload
    def __call__(
        self, function: Callable[[WorkflowSaga, I], Awaitable[O]], /
    ) -> Workflow[I, O]: ...

    @overload
    def __call__(
        self, function: Callable[[WorkflowSaga], Awaitable[O]], /
    ) -> Workflow[None, O]: ...


class WorkflowOptions(TypedDict, total=False):
    """What ``workflow`` takes beside its name."""

    steps: Sequence[AnyStep]
    signals: Mapping[str, object] | None
    events: Mapping[str, object] | None
    on_failure: OnFailure
    on_undo_failure: OnUndoFailure
    errors: object
    tenant: TenantRule | None
    description: str
    retention: str
    version: int


def workflow(name: str, **options: Unpack[WorkflowOptions]) -> WorkflowMaker:
    """Make a saga of ``async def (saga, input) -> result``; raises DefinitionError.

    A run starts with an event of type ``name`` (payload: the input, ordering key: the key of the
    run). ``steps`` names what the function calls and can't see at the top of its module,
    ``signals`` and ``events`` what it waits for, with the types of their payloads. ``on_failure``
    and ``on_undo_failure``, ``errors``, ``tenant`` (of the input) and ``version`` are as for
    ``steps``.
    """
    try:
        check_name(name, "saga id")
    except BadName as error:
        raise DefinitionError(str(error)) from None

    def bind(function: Any) -> Any:
        return _define(name, function, options)

    return cast("WorkflowMaker", bind)


def _define(name: str, function: Any, options: WorkflowOptions) -> Workflow[Any, Any]:
    if not inspect.iscoroutinefunction(function) or not isinstance(function, types.FunctionType):
        raise DefinitionError(f"the workflow {name!r} must be an `async def (saga, input)`")
    arguments, input = input_type(function)
    if arguments not in (1, 2):
        raise DefinitionError(f"the workflow {name!r} must take (saga) or (saga, input)")
    signals, events = dict(options.get("signals") or {}), dict(options.get("events") or {})
    program = WorkflowProgram(
        id=name,
        function=function,
        arguments=arguments,
        decode_input=msgspec.json.Decoder(Any if arguments == 1 else input).decode,
        explicit=tuple(options.get("steps", ())),
        on_failure=options.get("on_failure", "compensate"),
        on_undo_failure=options.get("on_undo_failure", "park"),
        errors=options.get("errors"),
        tenant_rule=options.get("tenant"),
        signals={signal: taken(signal, type) for signal, type in signals.items()},
        events=events,
    )
    description = options.get("description") or (function.__doc__ or "").strip().partition("\n")[0]
    made = program_definition(
        Workflow[Any, Any],
        name,
        program,
        Any if arguments == 1 else input,
        description,
        options.get("retention", ""),
        signals=signals,
        events=events,
        version=options.get("version", 1),
    )
    # The decorators of a workflow add to these while its module is loaded.
    live: Workflow[Any, Any] = structs.replace(
        made,
        input_type=input,
        output_type=returned(function),
        signals=types.MappingProxyType(program.signals),
        queries=types.MappingProxyType(program.queries),
        decode_state=msgspec.json.Decoder().decode,
    )
    return live


def failure_of(error: BaseException | None) -> Failure | None:
    """Why all is to be undone, None for a good end; raises what is a fault of the code."""
    if error is None:
        return None
    causes = list(_leaves(error))
    failed = [cause for cause in causes if isinstance(cause, WorkflowFailed)]
    if len(failed) < len(causes):
        raise error
    first = failed[0]
    usual = "StepFailed" if isinstance(first, StepFailed) else "WorkflowFailed"
    return Failure(type=first.code or usual, message=error_text(first))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group of groups, or the one itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(one)
    else:
        yield error
