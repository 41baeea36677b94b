"""The next document in the making: applies effects, ends, parks; one Draft for each transition.

A Draft lives inside one call of the kernel and is the only mutable thing there. It never reads a
clock: ``now`` comes in. Whatever it puts into ``effects`` is all that the outside will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, get_origin

import msgspec
from msgspec import Raw, structs

from sagas.definition import SagaDefinition
from sagas.effects import (
    EFFECTS_MAX,
    Cancel,
    Compensate,
    Complete,
    Effect,
    Fail,
    Publish,
    Schedule,
    Send,
    Signal,
    Spawn,
    Unschedule,
)
from sagas.errors import HandlerFault, LimitExceeded
from sagas.instance import (
    COMMANDS_MAX,
    FINISHED,
    SCHEMA_VERSION,
    SEEN_MAX,
    STATE_BYTES_MAX,
    TIMERS_MAX,
    Failure,
    Gate,
    Instance,
    OpenCommand,
    Parked,
    Status,
    StepRecord,
    Timer,
    Undo,
)
from sagas.messages import NULL, Address, Cause, to_raw
from sagas.names import child_key, command_gate, command_id, trace_for
from sagas.programs.standing import Standing

GATE_SAGA = "Snorri-Gate"
DRAIN = "Snorri-Drain"
GRANTED = "Snorri-Granted"
ACQUIRE = "Snorri-Acquire"
RELEASE = "Snorri-Release"
KEEPS_ERROR = FINISHED | {"parked", "compensating"}


class Draft:
    """A document in the making; ``effects`` grow as applied, ``finish`` gives the document."""

    __slots__ = (
        "attempts",
        "backlog",
        "before",
        "cause",
        "children",
        "commands",
        "compensation",
        "definition",
        "definition_version",
        "dropped",
        "effects",
        "ended",
        "error",
        "gate",
        "key",
        "now",
        "parent",
        "parked",
        "paused",
        "result",
        "seen",
        "standing",
        "started",
        "state",
        "status",
        "steps",
        "timers",
        "trace",
        "undo",
        "undoing",
        "version",
    )

    def __init__(
        self,
        definition: SagaDefinition,
        key: str,
        before: Instance | None,
        cause: Cause,
        now: datetime,
    ) -> None:
        self.definition = definition
        self.key = key
        self.before = before
        self.cause = cause
        self.now = now
        self.effects: list[Effect] = []
        self.error: Failure | None = None
        self.dropped: list[tuple[Cause, Literal["finished", "moot"], str]] = []
        self.ended = False  # in this transition, not before
        self.compensation = ""  # the undo that commands sent now belong to
        self.undoing = False  # while a .compensate handler runs
        self.standing: Standing | None = None  # the function of a workflow where it waits
        again = cause.kind == "operator" and cause.type == "retry"
        self.attempts = before.attempts + again if before else 1
        if before is None:
            self.version = 1
            self.status: Status = "running"
            self.state: Raw = definition.initial
            self.definition_version = definition.version
            self.started = now
            self.timers: dict[str, Timer] = {}
            self.backlog: tuple[Cause, ...] = ()
            self.steps: dict[str, StepRecord] = {}
            self.commands: dict[str, OpenCommand] = {}
            self.children: dict[str, str] = {}
            self.parent: Address | None = cause.parent
            self.undo: tuple[Undo, ...] = ()
            self.result: Raw = NULL
            self.parked: Parked | None = None
            self.paused: Status | None = None
            self.gate: Gate | None = None
            self.seen: tuple[str, ...] = ()
            self.trace = trace_for(definition.id, key, cause.trace, cause.seq)
        else:
            self.version = before.version + 1
            self.status = before.status
            self.state = before.state
            self.definition_version = before.definition_version
            self.started = before.started
            self.timers = before.timers
            self.backlog = before.backlog
            self.steps = before.steps
            self.commands = before.commands
            self.children = before.children
            self.parent = before.parent
            self.undo = before.undo
            self.result = before.result
            self.parked = before.parked
            self.paused = before.paused
            self.gate = before.gate
            self.seen = before.seen
            self.trace = before.trace
            if before.status in KEEPS_ERROR:
                self.error = before.error

    @property
    def address(self) -> Address:
        """Saga and key of the instance."""
        return Address(self.definition.id, self.key)

    def next_id(self) -> str:
        """The id of the effect that is added next."""
        return command_id(self.definition.id, self.key, self.version, len(self.effects))

    def set_state(self, state: object) -> None:
        """Take the author's state; raises LimitExceeded, HandlerFault, or TypeError for no JSON."""
        raw = to_raw(state)
        if len(raw) > STATE_BYTES_MAX:
            raise LimitExceeded(
                f"the state has {len(raw)} bytes, at most {STATE_BYTES_MAX} are"
                " allowed; keep large data elsewhere and a reference here"
            )
        if not (type(state) is dict and get_origin(self.definition.state_type) is dict):
            # Fields of a Struct are not checked when they are set; a state that the next message
            # can't read must not be stored.
            try:
                self.definition.decode_state(raw)
            except msgspec.ValidationError as error:
                raise HandlerFault(f"the state can't be read back: {error}") from None
        self.state = raw
        self.definition_version = self.definition.version

    # --- effects of handlers

    def apply(self, effects: Iterable[Effect]) -> list[Compensate]:
        """Carry out a handler's effects in order and return the compensations it asked for; raises
        HandlerFault.
        """
        wanted: list[Compensate] = []
        for effect in effects:
            if type(effect) is Send:  # by far the most frequent
                self._send(effect)
            elif isinstance(effect, Compensate):
                wanted.append(effect)
                self.effects.append(effect)
            else:
                self._apply_one(effect)
            if len(self.effects) > EFFECTS_MAX:
                raise LimitExceeded(
                    f"a transition may have {EFFECTS_MAX} effects; send the rest from a later"
                    " message or a job"
                )
        return wanted

    def _apply_one(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case Publish():
                self.effects.append(
                    structs.replace(effect, id=self.next_id(), key=effect.key or self.key)
                )
            case Schedule():
                self._schedule(effect)
            case Unschedule():
                self.unschedule(effect.id)
            case Spawn():
                self._spawn(effect)
            case Complete():
                self._end_once(
                    effect, "compensated" if self.status == "compensating" else "completed"
                )
                self.result = effect.result
            case Fail():
                self._end_once(effect, "failed")
                self.error = Failure(type="failed", message=effect.reason)
            case Cancel():
                self._end_once(effect, "cancelled")
                self.error = Failure(type="cancelled", message=effect.reason)
            case _:
                raise HandlerFault(f"{type(effect).__name__} is no effect a handler may return")

    def _end_once(self, effect: Effect, status: Status) -> None:
        if self.ended:
            raise HandlerFault(
                f"the handler ends its instance twice ({self.status}, then {status}); return"
                " one end"
            )
        self.effects.append(effect)
        self.status = status
        self.ended = True

    def _send(self, effect: Send) -> None:
        if len(self.commands) >= COMMANDS_MAX:
            raise LimitExceeded(
                f"an instance may have {COMMANDS_MAX} commands without an answer; wait for some or"
                " spawn children"
            )
        id = self.next_id()
        gated = bool(effect.concurrency_key)
        inline = self._inline(effect)
        self.effects.append(structs.replace(effect, id=id, gated=gated, inline=inline))
        self.commands = {
            **self.commands,
            id: OpenCommand(
                target=effect.target,
                at=self.now,
                payload=effect.payload,
                concurrency_key=effect.concurrency_key,
                idempotency_key=effect.idempotency_key,
                retry=effect.retry,
                timeout_s=effect.timeout_s,
                gated=gated,
                undo=self.compensation,
                step=effect.step,
                inline=inline,
            ),
        }
        if gated:
            self.ask_gate(ACQUIRE, command_gate(effect.target, effect.concurrency_key), id)

    def resend(self, id: str, *, inline: bool = True) -> None:
        """Send an open command again under its own id; ``inline`` says whether the engine may carry
        it out itself.
        """
        send = self.commands[id].sent_as(id)
        inline = inline and self._inline(send)
        command = structs.replace(self.commands[id], gated=False, at=self.now, inline=inline)
        self.commands = {**self.commands, id: command}
        self.effects.append(structs.replace(send, inline=inline))

    def _inline(self, send: Send) -> bool:
        """Whether the engine carries a command out itself: a step whose code it has."""
        inline = bool(send.step) and send.target in self.definition.inline
        return inline and not send.concurrency_key

    def _schedule(self, effect: Schedule) -> None:
        if len(self.timers) >= TIMERS_MAX:
            raise LimitExceeded(f"an instance may have {TIMERS_MAX} timers; unschedule some first")
        id = effect.id or f"t{self.version}-{len(self.effects)}"
        at = effect.at if effect.delay_s is None else self.now + timedelta(seconds=effect.delay_s)
        self.effects.append(structs.replace(effect, id=id, at=at, delay_s=None))
        timer = Timer(at=at, version=self.version, type=effect.type, payload=effect.payload)
        self.timers = {**self.timers, id: timer}

    def unschedule(self, id: str) -> None:
        """Cancel a timer if it is set."""
        if id in self.timers:
            self.timers = {name: timer for name, timer in self.timers.items() if name != id}
            self.effects.append(Unschedule(id=id))

    def _spawn(self, effect: Spawn) -> None:
        key = effect.key or child_key(self.key, self.version, len(self.effects))
        self.effects.append(structs.replace(effect, id=self.next_id(), key=key))
        self.children = {**self.children, str(Address(effect.saga, key)): "running"}

    def signal(
        self, to: Address, type: str, payload: object = None, *, kind: str = "signal"
    ) -> None:
        """Add an internal message to another instance or to this one."""
        cause = Cause(
            kind="child" if kind == "child" else "signal",
            type=type,
            id=self.next_id(),
            seq=0,
            at=self.now,
            payload=to_raw(payload),
            trace=self.trace,
        )
        self.effects.append(Signal(to=to, cause=cause))

    def ask_gate(self, type: str, gate: str, holder: str, limit: int = 1) -> None:
        """Ask the gate of a concurrency key for a slot or give one back."""
        self.signal(
            Address(GATE_SAGA, gate),
            type,
            {"saga": self.definition.id, "key": self.key, "holder": holder, "limit": limit},
        )

    # --- ends

    def park(self, failure: Failure, parked: Parked) -> None:
        """Stop here and wait for an operator; what the handler did must have been dropped."""
        self.status = "parked"
        self.error = failure
        self.parked = parked

    def end(self) -> None:
        """What an end takes with it: timers, the slot of a gate, and the news for the parent."""
        for id in tuple(self.timers):
            self.unschedule(id)
        if self.gate is not None:
            self.ask_gate(RELEASE, self.gate.key, "")
            self.gate = None
        if self.parent is not None:
            reason = self.error.message if self.error else ""
            self.signal(
                self.parent,
                f"{self.definition.id}.{self.status}",
                {
                    "saga": self.definition.id,
                    "key": self.key,
                    "result": self.result,
                    "reason": reason,
                },
                kind="child",
            )

    def remember(self, id: str) -> None:
        """Keep a publisher's message id, so that the same id changes this instance once."""
        if id:
            self.seen = (*self.seen, id)[-SEEN_MAX:]

    def finish(self, prev: str) -> Instance:
        """The document; ``prev`` is the hash of the one before it, or empty."""
        return Instance(
            v=SCHEMA_VERSION,
            saga=self.definition.id,
            key=self.key,
            version=self.version,
            status=self.status,
            state=self.state,
            started=self.started,
            at=self.now,
            cause=self.cause,
            effects=tuple(self.effects),
            error=self.error,
            definition=self.definition.hash,
            trace=self.trace,
            prev=prev,
            timers=self.timers,
            backlog=self.backlog,
            steps=self.steps,
            commands=self.commands,
            children=self.children,
            parent=self.parent,
            undo=self.undo,
            result=self.result,
            parked=self.parked,
            paused=self.paused,
            gate=self.gate,
            seen=self.seen,
            attempts=self.attempts,
            definition_version=self.definition_version,
        )
