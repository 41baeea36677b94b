"""Step lists: ``steps(name, [step(…), parallel(name, […]), …])`` becomes a saga like any other.

The program walks the tree of steps after each message and starts whatever may start. The state of
the instance is the context: the fields of the input, the initial data, and what the steps have
returned or set. Two steps that ran at the same time must not set one key to different values.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

import msgspec
from msgspec import Raw, structs

from sagas.definition import SagaDefinition, definition_hash
from sagas.errors import DefinitionError
from sagas.messages import NULL, Cause
from sagas.names import BadName, check_name
from sagas.programs.definition import program_definition
from sagas.programs.program import OnFailure, OnUndoFailure, TenantRule, tenant_of
from sagas.programs.run import Run
from sagas.programs.steps import (
    TIMEOUT,
    AnyStep,
    Duration,
    Group,
    Item,
    RunFunction,
    StepCall,
    StepFailure,
    StepResult,
    UndoFunction,
    bound,
    sequence,
    step,
    walk,
)
from sagas.programs.transactions import joined, whole
from sagas.programs.workflow_steps import hashed
from sagas.retry import RetryPolicy

I = TypeVar("I")  # noqa: E741 - the input of a run
O = TypeVar("O")  # noqa: E741 - its output

Callback: TypeAlias = Callable[..., Any]
CALLBACKS = ("step_completed", "compensating", "failed")


class StepList(SagaDefinition, Generic[I, O], frozen=True, kw_only=True):
    """The definition that ``steps`` gives; ``I`` is the type of its input, ``O`` what its last step
    gives.
    """

    input_type: object = Any
    output_type: object = Any


@dataclass(frozen=True, kw_only=True, eq=False)
class StepProgram:
    """What a step list may do next."""

    id: str
    root: Group
    steps: Mapping[str, AnyStep]
    data: Mapping[str, Any]
    callbacks: Mapping[str, str]
    callback_functions: Mapping[str, Callback]
    on_failure: OnFailure
    on_undo_failure: OnUndoFailure
    beside: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    errors: object = None
    tenant_rule: TenantRule | None = None

    @property
    def parts(self) -> Sequence[object]:
        """What its definition's hash covers."""
        shape: list[object] = [_shape(self.root), self.on_failure, self.on_undo_failure]
        return [*shape, *hashed(self.steps.values())]

    def begin(self, run: Run, cause: Cause) -> None:
        """The context: initial data, then the input's fields over it."""
        given: object = msgspec.json.decode(cause.payload)
        if not isinstance(given, dict):
            given = {} if given is None else {"input": given}
        run.state = {**self.data, **cast("dict[str, Any]", given)}

    def told(self, run: Run, cause: Cause) -> bool:
        """A list waits for nothing but its steps."""
        return False

    def completed(self, run: Run, id: str, result: StepResult) -> None:
        """Merge what a step has set into the context; a conflict fails the step after the fact."""
        added = result.added
        if not added:
            return
        state = run.state
        clash = self._clash(run, id, state, added)
        if clash:
            run.fail_step(id, StepFailure(reason=clash, data=result.data, code="MergeConflict"))
            return
        run.put(id, structs.replace(run.records[id], keys=tuple(sorted(added))))
        run.state = {**state, **added}

    def advance(self, run: Run) -> None:
        """Start what may start; end the run when all is done; undo it when a step has failed."""
        failure = run.failure
        if failure is not None:
            if not run.open:
                run.compensate(failure)
        elif self._through(self.root, run):
            run.finish(self._last_output(run))

    def undo_context(self, run: Run, id: str) -> Raw:
        """Undo functions read the context as it is now."""
        return run.draft.state

    def tenant(self, run: Run) -> str:
        """What the rule finds in the context as it is now."""
        return "" if self.tenant_rule is None else tenant_of(self.tenant_rule, run.state)

    def unpatchable(self, run: Run, state: Raw) -> str:
        """The context is the state, and steps that start later read it."""
        return ""

    def _through(self, item: Item, run: Run) -> bool:
        """Walk the tree: whether an item is done, having started what it was waiting for."""
        if isinstance(item, Group):
            if item.kind == "sequence":
                return all(self._through(part, run) for part in item.items)
            return all([self._through(part, run) for part in item.items])
        record = run.records.get(item.name)
        if record is None:
            if not run.has_room:
                return False
            run.start(item.name, item, StepCall(step=item.name, context=run.draft.state))
            return item.background
        return record.background or record.status in ("completed", "skipped")

    def _clash(self, run: Run, id: str, state: Mapping[str, Any], new: Mapping[str, Raw]) -> str:
        for other in self.beside.get(id, ()):
            record = run.records.get(other)
            for key in set(record.keys if record else ()) & set(new):
                if state.get(key) != msgspec.json.decode(new[key]):
                    return (
                        f"it sets {key!r}, which the step {other!r} of the same parallel group has"
                        " set to another value; let each set keys of its own"
                    )
        return ""

    def _last_output(self, run: Run) -> object:
        done = [r for r in run.records.values() if r.status == "completed" and not r.background]
        return max(done, key=lambda record: record.order).output if done else NULL


@dataclass(frozen=True, kw_only=True)
class _Options:
    input: object
    output: object
    data: Mapping[str, Any]
    on_failure: OnFailure
    on_undo_failure: OnUndoFailure
    callbacks: Mapping[str, Callback | None]
    errors: object
    transactional: object
    tenant: TenantRule | None
    description: str
    retention: str
    version: int


class StepsChain(Generic[I, O]):
    """A list of steps in the making; ends with ``.build()``."""

    def __init__(self, name: str, options: _Options, items: Sequence[Item] = ()) -> None:
        self._name = name
        self._options = options
        self._items = list(items)

    def step(
        self,
        name: str,
        run: RunFunction,
        compensate: UndoFunction | None = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = TIMEOUT,
        background: bool = False,
        strict: bool = True,
    ) -> Self:
        """Add a step; for its rarer options use ``.then(step(…))``."""
        return self.then(
            step(
                name,
                run,
                compensate,
                retry=retry,
                timeout=timeout,
                background=background,
                strict=strict,
            )
        )

    def then(self, item: Item) -> Self:
        """Add a step or a group."""
        self._items.append(item)
        return self

    def with_data(self, data: Mapping[str, Any]) -> Self:
        """The context that a run begins with; its input comes over it."""
        self._options = replace(self._options, data=dict(data))
        return self

    def transactional(self, provider: object = True) -> Self:
        """Run all steps in one database transaction: True, the name or type of a database, or
        ``transaction(…)``.
        """
        self._options = replace(self._options, transactional=provider)
        return self

    def build(self) -> StepList[I, O]:
        """The frozen definition; raises DefinitionError."""
        return _build(self._name, self._items, self._options)


class ListOptions(TypedDict, total=False):
    """What ``steps`` takes beside name, items and input."""

    data: Mapping[str, Any] | None
    on_failure: OnFailure
    on_undo_failure: OnUndoFailure
    on_step_completed: Callback | None
    on_compensating: Callback | None
    on_failed: Callback | None
    errors: object
    transactional: object
    tenant: TenantRule | None
    description: str
    retention: str
    version: int


@overload
def steps(
    name: str,
    items: Sequence[Item],
    *,
    input: type[I],
    output: type[O],
    **options: Unpack[ListOptions],
) -> StepList[I, O]: ...


@overload
def steps(
    name: str, items: Sequence[Item], *, input: type[I], **options: Unpack[ListOptions]
) -> StepList[I, Any]: ...


@overload
def steps(
    name: str, items: Sequence[Item], **options: Unpack[ListOptions]
) -> StepList[Any, Any]: ...


@overload
def steps(
    name: str, *, input: type[I], output: type[O], **options: Unpack[ListOptions]
) -> StepsChain[I, O]: ...


@overload
def steps(name: str, *, input: type[I], **options: Unpack[ListOptions]) -> StepsChain[I, Any]: ...


@overload
def steps(name: str, **options: Unpack[ListOptions]) -> StepsChain[Any, Any]: ...


def steps(
    name: str,
    items: Sequence[Item] | None = None,
    *,
    input: object = Any,
    output: object = Any,
    data: Mapping[str, Any] | None = None,
    on_failure: OnFailure = "compensate",
    on_undo_failure: OnUndoFailure = "park",
    on_step_completed: Callback | None = None,
    on_compensating: Callback | None = None,
    on_failed: Callback | None = None,
    errors: object = None,
    transactional: object = None,
    tenant: TenantRule | None = None,
    description: str = "",
    retention: str = "",
    version: int = 1,
) -> Any:
    """A saga from a list of steps, or without ``items`` a chain that ends with ``.build()``.

    A run starts with an event of type ``name``: its payload is the input, its ordering key the key
    of the run. ``input`` and ``output`` (of the last step) are types, ``data`` the initial
    context. ``on_failure`` "park" stops a run at a failed step for an operator, who lets it go on;
    ``on_undo_failure`` "park" does so for a failed undo, "continue" goes on with the others and
    ends as failed, "stop" ends at once. Callbacks are ``async def (ctx, payload)`` jobs that nobody
    waits for; ``errors`` is a ``jobs.ErrorPolicy`` for all steps; ``tenant`` is the field of the
    context, or a function of it, that says whose providers its steps get; ``transactional`` runs
    all of them in one database transaction. ``version`` is raised with each change that older
    code must not meddle with. Raises DefinitionError.
    """
    callbacks = (on_step_completed, on_compensating, on_failed)
    options = _Options(
        input=input,
        output=output,
        data=dict(data or {}),
        on_failure=on_failure,
        on_undo_failure=on_undo_failure,
        callbacks=dict(zip(CALLBACKS, callbacks, strict=True)),
        errors=errors,
        transactional=transactional,
        tenant=tenant,
        description=description,
        retention=retention,
        version=version,
    )
    chain = StepsChain[Any, Any](name, options, items or ())
    return chain if items is None else chain.build()


def _build(name: str, items: Sequence[Item], options: _Options) -> StepList[Any, Any]:
    try:
        check_name(name, "saga id")
    except BadName as error:
        raise DefinitionError(str(error)) from None
    root = bound(joined(sequence(name, whole(list(items), options.transactional))), name)
    if not isinstance(root, Group):  # a bound group is a group
        raise TypeError(name)
    program = StepProgram(
        id=name,
        root=root,
        steps=types.MappingProxyType(_by_name(name, root)),
        data=types.MappingProxyType(dict(options.data)),
        callbacks={key: f"{name}.on_{key}" for key, call in options.callbacks.items() if call},
        callback_functions={key: call for key, call in options.callbacks.items() if call},
        on_failure=options.on_failure,
        on_undo_failure=options.on_undo_failure,
        beside=_beside(root),
        errors=options.errors,
        tenant_rule=options.tenant,
    )
    definition = program_definition(
        *(StepList[Any, Any], name, program, options.input),
        *(options.description, options.retention),
        version=options.version,
    )
    made = structs.replace(definition, input_type=options.input, output_type=options.output)
    return structs.replace(made, hash=definition_hash(made))


def _by_name(name: str, root: Group) -> dict[str, AnyStep]:
    found: dict[str, AnyStep] = {}
    for one in walk(root):
        if one.name in found:
            raise DefinitionError(
                f"{name}: two steps are named {one.name!r}; each step needs a name of its own"
            )
        _checked_target(one)
        found[one.name] = one
    return found


def _checked_target(one: AnyStep) -> None:
    try:
        check_name(one.undo_target, "job target of a step")
    except BadName as error:
        raise DefinitionError(f"{error}; shorten the name of the list or of the step") from None


def _beside(item: Item) -> dict[str, frozenset[str]]:
    """For each step the steps that may run at the same time."""
    if not isinstance(item, Group):
        return {one.name: frozenset() for one in walk(item)}
    parts = [_beside(part) for part in item.items]
    found: dict[str, frozenset[str]] = {}
    everyone = frozenset(name for part in parts for name in part)
    for part in parts:
        others = everyone - part.keys() if item.kind == "parallel" else frozenset[str]()
        found |= {name: known | others for name, known in part.items()}
    return found


def _shape(item: Item) -> object:
    if not isinstance(item, Group):
        return (item.name, *(part.name for part in item.parts)) if item.parts else item.name
    return (item.kind, item.name, *(_shape(part) for part in item.items))
