"""Steps as authors declare them, and what travels between a run and the functions of its steps.

A step is a function with, perhaps, an undo. The functions are kept here and never called: they run
as jobs, with their own retries and time-outs. ``step`` serves lists and workflows alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import (
    Any,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import msgspec
from msgspec import Raw, Struct

from sagas.durations import seconds
from sagas.errors import DefinitionError
from sagas.messages import NULL
from sagas.names import BadName, check_name
from sagas.retry import RetryPolicy

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741

Duration: TypeAlias = float | str | timedelta
# The context of a step is of the room that runs it, so it is Any here.
RunFunction: TypeAlias = Callable[..., Any]
UndoFunction: TypeAlias = Callable[..., Any]

UNDO = ".undo"
TIMEOUT = "5m"
LEVELS_MAX = 100  # of groups in groups


class StepResponse(Struct, Generic[O], frozen=True):
    """What a step may return in place of its plain output: ``compensation_data`` is for its undo.

    ``permanent_failure`` makes one that says no for good, with data for an undo that runs anyway.
    """

    output: O
    compensation_data: object = None
    reason: str | None = None
    code: str = ""

    @staticmethod
    def permanent_failure(
        reason: str, compensation_data: object = None, *, code: str = ""
    ) -> StepResponse[Any]:
        """The step has failed and trying again will not change it."""
        return StepResponse(None, compensation_data, reason, code)


class StepCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a step's command: run it, or ``undo`` it.

    ``input`` is the argument of a workflow's step, ``context`` what a list has gathered so far.
    For an undo: the step's ``output``, its own ``data``, whether it had ``failed``, with what, and
    whether the transaction that it was part of was ``rolled_back``.
    ``tenant`` is whose run it is, where its definition says so; ``begun`` is when the run of a
    transactional step began (UTC).
    """

    step: str
    input: Raw = NULL
    context: Raw = NULL
    undo: bool = False
    output: Raw = NULL
    data: Raw = NULL
    failed: bool = False
    error: str = ""
    rolled_back: bool = False
    tenant: str = ""
    begun: datetime | None = None


class StepPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one step of a transaction ended well; the fields are those of a StepResult."""

    step: str
    output: Raw = NULL
    data: Raw = NULL
    set: dict[str, Raw] = {}


class StepResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a step's good answer: ``set`` is what it adds to the context of a list, beside
    the fields of its output when that is ``merged``; ``parts`` are the steps of a transaction;
    ``attempts`` is how often its function was tried.
    """

    output: Raw = NULL
    data: Raw = NULL
    set: dict[str, Raw] = {}
    merged: bool = False
    parts: tuple[StepPart, ...] = ()
    attempts: int = 1

    @property
    def added(self) -> dict[str, Raw]:
        """All that it adds to the context."""
        if not self.merged:
            return self.set
        return {**msgspec.json.decode(self.output, type=dict[str, Raw]), **self.set}


class StepFailure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a step's failure: ``data`` is what it left for its undo.

    ``done`` says that its work was done and only its answer is of no use, so it is undone. Of a
    transaction: the ``step`` that failed and the ``parts`` that had ended well before.
    """

    reason: str = ""
    data: Raw = NULL
    code: str = ""
    done: bool = False
    step: str = ""
    parts: tuple[StepPart, ...] = ()


class Caller(Protocol):
    """Where a workflow function asks for steps."""

    def call_step(self, step: Step[Any, Any], input: object) -> Coroutine[Any, Any, Any]:
        """Run a step, or answer from history."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Generic[I, O]):
    """A declared step; times are seconds. In a workflow, call it: ``await reserve(saga, input)``.

    ``strict``: its undo runs only after it has ended well; otherwise also after it failed, told so.
    ``background``: nobody waits for it, nothing of it is merged or undone. ``pivot``: once it is
    through, the run only goes forward. ``nothing_to_undo`` says so on purpose. ``errors`` is the
    ErrorPolicy of the room that runs it. ``transactional`` names the database in whose transactions
    it runs and is undone; ``data_only``: a rollback undoes all of it. A step with ``parts`` is a
    transaction of several steps.
    """

    name: str
    run: RunFunction
    compensate: UndoFunction | None = None
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    undo_retry: RetryPolicy | None = None
    undo_timeout_s: float | None = None
    background: bool = False
    strict: bool = True
    pivot: bool = False
    nothing_to_undo: bool = False
    errors: object = None
    transactional: object = None
    data_only: bool = False
    parts: tuple[AnyStep, ...] = ()
    description: str = ""
    target: str = ""

    @property
    def undo_target(self) -> str:
        """The job target of its undo."""
        return f"{self.target}{UNDO}"

    def __call__(self, saga: Caller, input: I = None) -> Coroutine[Any, Any, O]:  # type: ignore[assignment]
        """Run it as a step of a workflow."""
        return saga.call_step(self, input)


AnyStep: TypeAlias = Step[Any, Any]


class StepMaker(Protocol):
    """What ``step(name)`` without a function gives: a decorator."""

    @overload
    def __call__(self, run: Callable[[Any, I], Awaitable[StepResponse[O]]], /) -> Step[I, O]: ...

    @overload
    def __call__(self, run: Callable[[Any, I], Awaitable[O]], /) -> Step[I, O]: ...

    @overload
    def __call__(self, run: Callable[[Any], Awaitable[O]], /) -> Step[None, O]: ...

    @overload
    def __call__(self, run: RunFunction, /) -> AnyStep: ...


class _RarerOptions(TypedDict, total=False):
    retry: RetryPolicy | None
    timeout: Duration | None
    undo_retry: RetryPolicy | None
    undo_timeout: Duration | None
    background: bool
    strict: bool
    pivot: bool
    nothing_to_undo: bool
    errors: object
    transactional: object
    data_only: bool
    description: str


class StepOptions(_RarerOptions, total=False):
    """What ``step`` takes beside its name and its run."""

    compensate: UndoFunction | None


@overload
def step(name: str, **options: Unpack[StepOptions]) -> StepMaker: ...


@overload
def step(name: str, run: RunFunction, **options: Unpack[StepOptions]) -> AnyStep: ...


@overload
def step(
    name: str,
    run: RunFunction,
    compensate: UndoFunction | None,
    **options: Unpack[_RarerOptions],
) -> AnyStep: ...


def step(
    name: str,
    run: RunFunction | None = None,
    compensate: UndoFunction | None = None,
    *,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
    undo_retry: RetryPolicy | None = None,
    undo_timeout: Duration | None = TIMEOUT,
    background: bool = False,
    strict: bool = True,
    pivot: bool = False,
    nothing_to_undo: bool = False,
    errors: object = None,
    transactional: object = None,
    data_only: bool = False,
    description: str = "",
) -> Any:
    """Declare a step, or decorate its function: ``async def (ctx)`` or ``(ctx, input)``.

    ``compensate`` is ``(ctx)`` or ``(ctx, data)``: data is what the step gave for it, or its
    output. ``retry`` and ``timeout`` are for the run, ``undo_retry`` and ``undo_timeout`` for the
    undo, each for one attempt; retries default to five attempts from one second on. ``errors`` is
    a ``jobs.ErrorPolicy``: which errors end it without another attempt. ``transactional`` (True, or
    the name or type of a database) runs it and its undo each in a transaction whose outcome is
    recorded with it; ``data_only`` says that nothing is left to undo after a rollback. Raises
    DefinitionError.
    """
    try:
        check_name(f"{name}{UNDO}", "step name")
    except BadName as error:
        raise DefinitionError(str(error)) from None
    if "#" in name:
        raise DefinitionError(f"the step name {name!r} has a '#', which counts repeated steps")
    if background and compensate is not None:
        raise DefinitionError(
            f"the step {name!r} runs in the background, so it is never undone; drop one of the two"
        )
    if nothing_to_undo and compensate is not None:
        raise DefinitionError(f"the step {name!r} has an undo and says it needs none")

    def bind(function: RunFunction) -> AnyStep:
        return Step(
            name=name,
            run=_callable(function, name, "run"),
            compensate=None if compensate is None else _callable(compensate, name, "compensate"),
            retry=retry,
            timeout_s=_limit(timeout, name),
            undo_retry=undo_retry,
            undo_timeout_s=_limit(undo_timeout, name),
            background=background,
            strict=strict,
            pivot=pivot,
            nothing_to_undo=nothing_to_undo,
            errors=errors,
            transactional=transactional,
            data_only=data_only,
            description=description or (function.__doc__ or "").strip().partition("\n")[0],
            target=name,
        )

    return bind if run is None else bind(run)


def _callable(function: object, name: str, what: str) -> RunFunction:
    if not callable(function):
        raise DefinitionError(f"the {what} of the step {name!r} is no function: {function!r:.60}")
    return function


def _limit(duration: Duration | None, name: str) -> float | None:
    if duration is None:
        return None
    value = seconds(duration)
    if value <= 0:
        raise DefinitionError(f"the timeout of the step {name!r} must be over 0, or None")
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Steps that belong together: one after the other, or all at the same time."""

    name: str
    kind: Literal["parallel", "sequence"]
    items: tuple[Item, ...]
    transactional: object = None


Item: TypeAlias = AnyStep | Group


def parallel(name: str, items: list[Item]) -> Group:
    """Steps and groups that run at the same time; what follows waits for all of them."""
    return _group(name, "parallel", items)


def sequence(name: str, items: list[Item], *, transactional: object = None) -> Group:
    """Steps and groups one after the other, as one part of a parallel group or, with
    ``transactional`` (True, the name or type of a database, or ``transaction(…)``), in one
    database transaction.
    """
    return _group(name, "sequence", items, transactional)


def _group(
    name: str,
    kind: Literal["parallel", "sequence"],
    items: list[Item],
    transactional: object = None,
) -> Group:
    given = cast("list[object]", items)  # callers without a type checker pass anything
    wrong = next((item for item in given if not isinstance(item, (Step, Group))), None)
    if wrong is not None:
        raise DefinitionError(
            f"{kind} {name!r}: {wrong!r:.80} is no step; give step(…), parallel(…) or sequence(…)"
        )
    if not items:
        raise DefinitionError(f"{kind} {name!r} has no steps; give it at least one")
    if 1 + max(_levels(item) for item in items) > LEVELS_MAX:
        raise DefinitionError(
            f"{kind} {name!r} is nested over {LEVELS_MAX} levels deep; make a saga of its own of"
            " the inner ones"
        )
    return Group(name=name, kind=kind, items=tuple(items), transactional=transactional)


def _levels(item: Item) -> int:
    return 1 + max(map(_levels, item.items)) if isinstance(item, Group) else 0


def walk(item: Item) -> Iterator[AnyStep]:
    """All steps of an item, in the order in which they are declared; a transaction before its
    parts.
    """
    if isinstance(item, Step):
        yield item
        yield from item.parts
    else:
        for part in item.items:
            yield from walk(part)


def bound(item: Item, prefix: str) -> Item:
    """The same with a job target for each step that belongs to one list alone."""
    if isinstance(item, Step):
        parts = tuple(replace(part, target=f"{prefix}.{part.name}") for part in item.parts)
        return replace(item, target=f"{prefix}.{item.name}", parts=parts)
    return replace(item, items=tuple(bound(part, prefix) for part in item.items))
