"""What the function of a step holds while it runs: the context of its run beside its command.

A list gathers a context: ``data`` and ``get`` read it, ``set`` adds to it. The undo of a step gets
a context of the same kind that also says how the step had ended.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast, overload

import msgspec
from msgspec import Raw, Struct

from jobs.context import Command, Desk, JobContext
from jobs.database import DatabaseTransaction
from jobs.dependencies import Need
from jobs.outcome import PermanentFailure, describe
from jobs.step_calls import StepCalls
from sagas.messages import NULL
from sagas.programs.steps import Duration, StepCall

I = TypeVar("I")  # noqa: E741 - the input of a step
T = TypeVar("T")

NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class StepOrder(Struct, frozen=True, kw_only=True):
    """A step's command as it was decoded.

    ``second`` is the second argument of its function, ``read_input`` gives ``ctx.input``.
    """

    call: StepCall
    second: Any
    read_input: Callable[[StepCall], Any]


class StepContext(JobContext[StepCall], Generic[I]):
    """The first argument of every step and of every undo.

    ``step`` is the id of the step in its run. Beside it there is all that a JobContext has:
    ``command_id``, ``idempotency_key``, ``saga``, ``key``, ``attempt``, ``deadline``, ``log``,
    ``trace``, ``heartbeat``, ``publish`` and ``resolve``.
    """

    __slots__ = ("_calls", "_data", "_gathers", "_input", "_order", "_transaction", "added", "left")

    def __init__(
        self, command: Command, attempt: int, order: StepOrder, desk: Desk, *, gathers: bool
    ) -> None:
        """``gathers`` says that the run is a list's, whose context a step may add to."""
        super().__init__(command, attempt, order.call, desk)
        self._order = order
        self._gathers = gathers
        self._data: Mapping[str, Any] | None = None
        self._input: list[Any] = []
        self.added: dict[str, object] = {}
        self.left: object = None
        self._transaction: DatabaseTransaction | None = None
        self._calls: StepCalls | None = None

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        """Whether somebody provides what a parameter asks for, and its value. Raises
        DependencyError when nobody does and it can't be left out.
        """
        return await self._desk.resolve_need(need)

    @property
    def step(self) -> str:
        return self.payload.step

    @property
    def run_id(self) -> str:
        """The key of the run."""
        return self.key

    @property
    def tenant(self) -> str:
        """Whose run it is, where its definition says so with ``tenant=``; empty otherwise."""
        return self.payload.tenant

    @property
    def trace_id(self) -> str:
        """The trace that the run belongs to, 32 hex digits, or empty."""
        parts = self.trace.split("-")
        return parts[1] if len(parts) > 1 else ""

    @property
    def second(self) -> Any:
        """The second argument of the function, decoded."""
        return self._order.second

    @property
    def input(self) -> I:
        """The input of the step; in a list that of its run. Raises PermanentFailure when it does
        not fit its type.
        """
        if not self._input:
            try:
                self._input.append(self._order.read_input(self.payload))
            except Exception as error:  # also what a Struct's own __post_init__ raises
                raise PermanentFailure(
                    f"the input does not fit the step {self.step!r}: {describe(error)}; correct"
                    " what the run was started with, what its steps have set, or the annotation",
                    code="BadInput",
                ) from error
        return cast("I", self._input[0])

    @property
    def data(self) -> Mapping[str, Any]:
        """What the run has gathered so far, as the step was started with it; read only."""
        if self._data is None:
            found = msgspec.json.decode(self.payload.context)
            self._data = types.MappingProxyType(found) if isinstance(found, dict) else NOTHING
        return self._data

    def get(self, name: str, default: Any = None) -> Any:
        """A value of the context, one that this step has set before all others."""
        return self.added[name] if name in self.added else self.data.get(name, default)

    def set(self, name: str, value: object) -> None:
        """Add to the context of the list when the step ends well. Raises PermanentFailure in an
        undo, after which nobody reads it, and in a workflow, which has no such context.
        """
        if self.payload.undo:
            raise PermanentFailure(f"an undo can't set {name!r}: nothing runs after it to read it")
        if not self._gathers:
            raise PermanentFailure(
                f"a workflow has no context to set {name!r} in; return it, and have the workflow"
                " hand it to the steps that need it"
            )
        self.added[name] = value

    @property
    def transaction(self) -> DatabaseTransaction:
        """The database transaction it runs in. Raises PermanentFailure when it runs in none."""
        if self._transaction is None:
            raise PermanentFailure(
                f"the step {self.step!r} runs in no transaction; declare it with"
                " transactional=True, or put it into a sequence that is"
            )
        return self._transaction

    def enter(self, transaction: DatabaseTransaction) -> None:
        """Run in this transaction from now on; for who opens it."""
        self._transaction = transaction

    def leave(self, data: object) -> None:
        """Leave ``data`` for the undo, also if the step fails after this: what is half done."""
        self.left = data

    # --- other jobs

    @overload
    async def call(
        self,
        target: str,
        payload: object = None,
        *,
        timeout: Duration | None = None,
        name: str = "",
    ) -> Any: ...

    @overload
    async def call(
        self,
        target: str,
        payload: object = None,
        *,
        type: type[T],
        timeout: Duration | None = None,
        name: str = "",
    ) -> T: ...

    async def call(
        self,
        target: str,
        payload: object = None,
        *,
        type: Any = Any,
        timeout: Duration | None = None,
        name: str = "",
    ) -> Any:
        """Have a job run and wait for its answer, decoded to ``type``.

        The same call in another attempt at this step gives the answer of the first one. Calls are
        told apart by their target and their order, or by ``name``. Raises CallFailed when the job
        failed for good, CallTimedOut after ``timeout`` (default: as long as the step may take),
        UnknownTarget, PermanentFailure for a payload or an answer that can't be, and StoreError.
        """
        return await self._job_calls().call(target, payload, type, timeout, name)

    async def send(self, target: str, payload: object = None, *, name: str = "") -> str:
        """Have a job run, once for all attempts at this step, and wait for nothing but that it is
        stored; the id of its command. Raises what ``call`` does before it waits.
        """
        return await self._job_calls().send(target, payload, name)

    def _job_calls(self) -> StepCalls:
        if self._calls is None:
            self._calls = StepCalls(self._desk.calls, self._command)
        return self._calls

    # --- for undos

    @property
    def failed(self) -> bool:
        """Whether the step that is undone had failed (``strict=False``)."""
        return self.payload.failed

    @property
    def rolled_back(self) -> bool:
        """Whether the transaction that it was part of was rolled back: nothing of it is left in the
        database.
        """
        return self.payload.rolled_back

    @property
    def error(self) -> str:
        """Why it had failed, or empty."""
        return self.payload.error

    @property
    def output(self) -> Any:
        """What it had returned, plain data."""
        return msgspec.json.decode(self.payload.output)

    @property
    def undo_data(self) -> Any:
        """What it had left for its undo, or else its output; plain data."""
        return msgspec.json.decode(data_of(self.payload))


def data_of(call: StepCall) -> Raw:
    """The data of an undo: what the step gave for it, or else its output."""
    return call.output if bytes(call.data) == bytes(NULL) else call.data
