"""What a workflow function is given: steps, time, signals, children, all of it on record.

Everything here is safe to repeat: the function runs again from its start after each answer, and
whatever it asked for before is answered from history.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

import msgspec
from msgspec import structs

from sagas.durations import seconds
from sagas.effects import Publish, Send, Spawn, publish, send, spawn
from sagas.errors import HandlerFault
from sagas.instance import StepRecord
from sagas.messages import to_raw
from sagas.names import check_key
from sagas.programs.steps import AnyStep, Duration, StepCall
from sagas.programs.workflow_errors import StepFailed
from sagas.programs.workflow_execution import MARKER, Execution
from sagas.programs.workflow_loop import Future, shield
from sagas.programs.workflow_signals import EntityCall, ReplyTo, arrive, signal_id
from sagas.retry import RetryPolicy

if TYPE_CHECKING:
    from sagas.programs.step_list import StepList
    from sagas.programs.workflow import Workflow

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741
T = TypeVar("T")

Decode: TypeAlias = Callable[[bytes], Any]
plain: Decode = msgspec.json.Decoder().decode


class CallOptions(TypedDict, total=False):
    """What a call of a job takes beside its payload, as for ``sagas.send``."""

    retry: RetryPolicy | None
    timeout: Duration | None
    idempotency_key: str
    concurrency_key: str


class WorkflowSaga:
    """The saga in the hands of a workflow function; ``state`` is the author's, any JSON value.

    ``state`` begins as an empty dict; queries and the dashboard read what the function left there.
    """

    def __init__(
        self,
        execution: Execution,
        steps: Mapping[str, AnyStep],
        outputs: Callable[[AnyStep], Decode],
        signals: Mapping[str, object],
    ) -> None:
        self.state: Any = {}
        self._execution = execution
        self._steps = steps
        self._outputs = outputs
        self._signals = signals
        self._versions: dict[str, int] = {}
        self._promises: dict[str, Future[Any]] = {}
        self._draws = 0

    # --- who and when

    @property
    def key(self) -> str:
        """The key of the run."""
        return self._execution.run.draft.key

    @property
    def run_id(self) -> str:
        """Saga and key in one text."""
        return str(self._execution.run.draft.address)

    def now(self) -> datetime:
        """The time (UTC) of the last answer, or of the start; the same in every replay."""
        return self._execution.now

    def random(self) -> float:
        """A number from 0 up to 1, made from the run and the place where it is asked for."""
        return int.from_bytes(self._drawn(7)) / 2**56

    def uuid(self) -> uuid.UUID:
        """A UUID (version 4 in form), made from the run and the place where it is asked for."""
        return uuid.UUID(bytes=self._drawn(16), version=4)

    def _drawn(self, size: int) -> bytes:
        self._draws += 1
        execution = self._execution
        began = execution.began.isoformat()
        parts = (self.run_id, execution.seed, began, execution.asked, self._draws)
        seed = "\0".join(map(str, parts)).encode()
        return hashlib.blake2b(seed, digest_size=size).digest()

    # --- steps and jobs

    async def call_step(self, step: AnyStep, input: object) -> Any:
        """Run a step, or answer from history; what ``await reserve(saga, input)`` calls.

        Raises StepFailed when it failed for good. A background step gives None at once, one that
        an operator skipped gives None, too.
        """
        if self._steps.get(step.name) is not step:
            raise HandlerFault(
                f"the workflow does not know the step {step.name!r}; name it in steps=[…] of"
                " @workflow, or call it where the function can see it at the top of its module"
            )
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            run.start(id, step, StepCall(step=id, input=to_raw(input)), place=place)

        id = self._execution.ask("step", step.name, begin)
        if step.background:
            return None
        return await self._answer(id, self._outputs(step))

    @overload
    async def call(
        self, target: str, payload: object = None, **options: Unpack[CallOptions]
    ) -> Any: ...

    @overload
    async def call(
        self, target: str, payload: object = None, *, type: type[T], **options: Unpack[CallOptions]
    ) -> T: ...

    async def call(
        self,
        target: str,
        payload: object = None,
        *,
        type: Any = Any,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Have a job run and wait for its answer, decoded to ``type``; raises StepFailed."""
        effect = send(target, payload, **options)
        return await self._answer(self._sent(effect, "call"), _decoder(type))

    def send(self, target: str, payload: object = None, **options: Unpack[CallOptions]) -> None:
        """Have a job run; nobody waits for it and nothing of it is undone."""
        self._sent(send(target, payload, **options), "send")

    def _sent(self, effect: Send, kind: str) -> str:
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            run.send(id, effect, kind, place=place)

        return self._execution.ask(kind, effect.target, begin)

    def publish(self, type: str, payload: object = None, *, key: str = "") -> None:
        """Publish an event that any saga and any subscriber may take; ``key`` orders it."""
        event: Publish = publish(type, payload, key=key)

        def begin(id: str, place: int) -> None:
            self._execution.run.emit([event])
            self._note(id, "publish", type, place)

        self._execution.ask("publish", type, begin)

    # --- time and signals

    async def sleep(self, delay: Duration | datetime) -> None:
        """Wait for a time: seconds, "5m", a timedelta, or until a datetime with a time zone."""
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            run.sleep(id, _until(delay, run.draft.now), place=place)

        await self._execution.answer(self._execution.ask("sleep", "sleep", begin))

    @overload
    async def wait_for_signal(self, name: str, *, timeout: Duration | None = None) -> Any: ...

    @overload
    async def wait_for_signal(
        self, name: str, type: type[T], *, timeout: Duration | None = None
    ) -> T: ...

    async def wait_for_signal(
        self, name: str, type: Any = None, *, timeout: Duration | None = None
    ) -> Any:
        """The next signal or event of this name, also one that came before; each is taken once.

        It is decoded to ``type``, or to the type it was declared with. Raises WaitTimedOut.
        """
        return await self._signal(name, type, timeout)

    @overload
    def promise(self, name: str, *, timeout: Duration | None = None) -> Awaitable[Any]: ...

    @overload
    def promise(
        self, name: str, type: type[T], *, timeout: Duration | None = None
    ) -> Awaitable[T]: ...

    def promise(
        self, name: str, type: Any = None, *, timeout: Duration | None = None
    ) -> Awaitable[Any]:
        """A value that somebody gives once, as the signal or event of this name; whoever awaits it
        again gets it again. Raises WaitTimedOut.
        """
        known = self._promises.get(name)
        if known is None or (known.done() and (known.cancelled() or known.exception())):
            waiting = self._signal(name, type, timeout)
            known = self._promises[name] = self._execution.loop.create_task(waiting)
        return shield(known)

    def resolve(self, name: str, payload: object = None) -> None:
        """Give a promise its value, from a handler of a signal."""
        if not self._execution.handling:
            raise HandlerFault("resolve() is for handlers of signals; others send a signal")
        if name not in self._signals:
            raise HandlerFault(_undeclared(name, self._signals))
        if not self._execution.replaying:
            arrive(self._execution.run, name, to_raw(payload))

    async def _signal(self, name: str, type: Any, timeout: Duration | None) -> Any:
        if name not in self._signals:
            raise HandlerFault(_undeclared(name, self._signals))
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            there = run.records.get(id)
            if there is not None:  # it came before anybody waited for it
                run.put(id, structs.replace(there, place=place))
                return
            run.put(id, run.record(name, kind="signal", place=place))
            if timeout is not None:
                run.wake(id, seconds(timeout))

        id = self._execution.ask("signal", name, begin, name=signal_id(name))
        return await self._answer(id, _decoder(self._signals[name] if type is None else type))

    # --- other runs

    @overload
    async def child(self, saga: Workflow[I, O], input: I, *, key: str = "") -> O: ...

    @overload
    async def child(self, saga: StepList[I, O], input: I, *, key: str = "") -> O: ...

    @overload
    async def child(self, saga: str, input: object = None, *, key: str = "") -> Any: ...

    async def child(self, saga: Any, input: Any = None, *, key: str = "") -> Any:
        """Start a run of its own and wait for its result; raises StepFailed when it ends otherwise.

        It undoes what it did itself when it fails; it is not undone with this run.
        """
        id = self._spawned(saga, input, key, wait=True)
        return await self._answer(id, _decoder(getattr(saga, "output_type", Any)))

    @overload
    def spawn(self, saga: Workflow[I, Any], input: I, *, key: str = "") -> None: ...

    @overload
    def spawn(self, saga: StepList[I, Any], input: I, *, key: str = "") -> None: ...

    @overload
    def spawn(self, saga: str, input: object = None, *, key: str = "") -> None: ...

    def spawn(self, saga: Any, input: Any = None, *, key: str = "") -> None:
        """Start a run of its own that nobody waits for."""
        self._spawned(saga, input, key, wait=False)

    def _spawned(self, saga: Any, input: object, key: str, *, wait: bool) -> str:
        child: Spawn = spawn(saga, input, key=check_key(key) if key else "")
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            run.spawn(id, child, wait=wait, place=place)

        return self._execution.ask("child", child.saga, begin)

    async def call_entity(self, entity: str, handler: str, key: str, input: object) -> Any:
        """Have an entity handle a call and wait for its result, plain; raises StepFailed.

        What ``await transfer.call(saga, key, input)`` does, by names.
        """
        called = f"{entity}/{key}"
        if called in self._execution.waiting:
            raise StepFailed(
                entity,
                f"{called} can't be called from {self.run_id}: it waits itself for this call to"
                " end, so neither would; tell it, or do the work in the handler",
                code="CallsItself",
            )
        id = self._asked_of(entity, handler, key, input, answer=True)
        return await self._answer(id, plain)

    def tell_entity(self, entity: str, handler: str, key: str, input: object) -> None:
        """Have an entity handle a call that nobody waits for."""
        self._asked_of(entity, handler, key, input, answer=False)

    def _asked_of(self, entity: str, handler: str, key: str, input: object, *, answer: bool) -> str:
        run = self._execution.run

        def begin(id: str, place: int) -> None:
            if not answer:
                run.emit([publish(entity, EntityCall(handler, to_raw(input)), key=key)])
                self._note(id, "tell", entity, place)
                return
            reply = ReplyTo(run.draft.address, id, run.draft.version)
            callers = tuple(dict.fromkeys((*self._execution.waiting, *self._execution.in_line)))
            call = EntityCall(handler, to_raw(input), reply, callers)
            run.emit([publish(entity, call, key=key)])
            record = run.record(entity, kind="entity", place=place)
            known = structs.replace(record, output=to_raw(reply.version), data=to_raw(key))
            run.put(id, known)

        return self._execution.ask("entity" if answer else "tell", entity, begin)

    async def run_nested(
        self, function: Callable[[WorkflowSaga, I], Coroutine[Any, Any, O]], input: I
    ) -> O:
        """Run another function as part of this one: its steps and their undos join this run."""
        return await function(self, input)

    # --- changing a workflow while runs are on their way

    def version(self, change: str, latest: int) -> int:
        """Which version of a changed part this run takes: ``latest``, or 0 when it had passed here
        before the change. It stays so for the whole run; ask at the place that was changed.
        """
        if change not in self._versions:
            self._versions[change] = self._chosen(change, latest)
        return self._versions[change]

    def patched(self, change: str) -> bool:
        """Whether this run takes the new way of a change with this name."""
        return self.version(change, 1) > 0

    def _chosen(self, change: str, latest: int) -> int:
        execution = self._execution
        known = execution.marker(change)
        if known is None and not execution.at_frontier:
            return 0

        def begin(id: str, place: int) -> None:
            self._note(id, MARKER, change, place, latest)

        execution.ask(MARKER, change, begin, name=f"version:{change}", always=True)
        return latest if known is None else int(plain(bytes(known.output)))

    # --- inside

    async def _answer(self, id: str, decode: Decode) -> Any:
        output = await self._execution.answer(id)
        if self._execution.run.records[id].status == "skipped":
            return None
        try:
            return decode(output)
        except msgspec.ValidationError as error:
            raise HandlerFault(
                f"the answer of {id!r} is not of the type the workflow expects: {error}; correct"
                " the annotation or what it returns"
            ) from None

    def _note(self, id: str, kind: str, step: str, place: int, output: object = None) -> None:
        """Put something that is done at once on record."""
        run = self._execution.run
        record: StepRecord = run.record(step, kind=kind, place=place)
        done = structs.replace(record, status="completed", ended=run.draft.now)
        run.put(id, structs.replace(done, output=to_raw(output)))


def _until(delay: Duration | datetime, now: datetime) -> float:
    if not isinstance(delay, datetime):
        return seconds(delay)
    if delay.tzinfo is None:
        raise HandlerFault(f"the time {delay.isoformat()} has no time zone; add one, e.g. UTC")
    return max(0.0, (delay.astimezone(UTC) - now) / timedelta(seconds=1))


def _decoder(type: Any) -> Decode:
    return plain if type is Any else msgspec.json.Decoder(type).decode


def _undeclared(name: str, known: Mapping[str, object]) -> str:
    names = ", ".join(sorted(known)) or "none"
    return (
        f"the signal {name!r} is not declared (declared: {names}); name it with the type of its"
        f" payload: @workflow(…, signals={{{name!r}: dict}})"
    )
