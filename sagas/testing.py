"""Given, when, expect: try a saga out without a broker, an event loop or a clock.

    given(checkout).when("OrderCreated", {"orderId": "o-1"}).expect(send("process-payment", …))

A Scenario is one instance. Each step goes through the same kernel as in production, duplicates,
gates, backlog and parking included; time stands still until ``advance``. Jobs and children don't
run: a test says what they answer. Every ``expect`` raises AssertionError with what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

import msgspec
from msgspec import UNSET, Raw, structs

from sagas.actions import Action, ActionRequest, Plan, act, plan
from sagas.bookkeeping import COMPLETED, FAILED, ChildEnd
from sagas.definition import Registry, SagaDefinition
from sagas.draft import GATE_SAGA
from sagas.durations import seconds
from sagas.effects import Signal
from sagas.expecting import Expectations
from sagas.gate import gate_definition
from sagas.instance import Instance, decode, document_hash, encode, evolve
from sagas.kernel import (
    Decision,
    Ignored,
    Snapshot,
    Transition,
    Undeliverable,
    decide,
)
from sagas.messages import Address, Cause, to_raw
from sagas.programs.steps import StepFailure, StepResult
from sagas.routing import route

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
KEY = "k-1"
SIGNALS_MAX = 10_000

ChildStatus = Literal["completed", "failed", "compensated", "cancelled"]


def given(definition: SagaDefinition, *, key: str = "", now: datetime = NOON) -> Scenario:
    """A scenario for one instance that does not exist yet.

    Without a ``key`` it is the one that the first event correlates to, or "k-1".
    """
    return Scenario(definition, key, now)


class Scenario(Expectations):
    """One instance on trial: steps return the scenario, so that they can be chained."""

    def __init__(self, definition: SagaDefinition, key: str, now: datetime) -> None:
        self.definition = definition
        self.key = key
        self.now = now
        self.history: list[Instance] = []  # every version so far
        self.last: Decision | None = None
        self.ignored: list[tuple[Cause, Ignored]] = []
        self._snapshot = Snapshot(key)
        self._step: list[Instance] = []
        self._ids: set[str] = set()
        self._count = 0
        self._fired: set[tuple[str, int]] = set()
        self._gates: dict[str, Snapshot] = {}
        self._signals: deque[tuple[Address, Cause]] = deque()

    # --- steps

    def when(self, type: str, payload: object = None, *, id: str = "") -> Self:
        """A public event arrives; the same ``id`` twice is the same event published twice."""
        cause = self._cause("event", type, payload, id=id or f"event-{self._count + 1}")
        deliveries, faults = route(Registry([self.definition]), cause, self.key or KEY)
        if not deliveries:
            reason = faults[0].reason if faults else f"{self.definition.id} does not handle {type}"
            return self._begin(Undeliverable(reason) if faults else Ignored("no_handler", reason))
        key = deliveries[0].key
        assert key == (self.key or key), (
            f"{type} is for the instance {key!r}, this scenario is about {self.key!r};"
            " give both the same key"
        )
        self._name(key)
        return self._deliver(cause, deliveries[0].payload)

    def when_answer(self, target: str, type: str, payload: object = None, *, id: str = "") -> Self:
        """The job ``target`` answers its oldest open command with an event."""
        return self._deliver(
            self._cause("event", type, payload, id=id, answers=self._open_command(target))
        )

    def when_failed(
        self, target: str, reason: str = "it failed", *, type: str = FAILED, **payload: object
    ) -> Self:
        """The job ``target`` fails for good; ``type`` is its failure event when it names one."""
        told = {"reason": reason, **payload}
        answers = self._open_command(target)
        return self._deliver(self._cause("event", type, told, answers=answers, failed=True))

    def when_spawned(self, input: object = None, *, parent: tuple[str, str] | None = None) -> Self:
        """The instance is started by hand or, with ``parent`` (saga, key), as a child."""
        address = Address(*parent) if parent else None
        starts = self.definition.starting[0]
        return self._deliver(self._cause("spawn", starts, input, parent=address))

    def when_tick(self) -> Self:
        """The saga's cron schedule starts the instance now; the second is its key."""
        key = self.now.replace(microsecond=0).isoformat().replace("+00:00", "Z")
        self._name(self.key or key)
        starts = self.definition.starting[0]
        return self._deliver(self._cause("timer", starts, {"at": key}, id=f"cron@{key}"))

    def child_ended(
        self,
        saga: str,
        key: str = "",
        status: ChildStatus = "completed",
        result: object = None,
        *,
        reason: str = "",
    ) -> Self:
        """A child tells its end; without a ``key`` it is the first of its saga that still runs."""
        running = [name for name, how in self.instance.children.items() if how == "running"]
        key = key or next((n.partition("/")[2] for n in running if n.startswith(f"{saga}/")), "")
        assert key, f"no child of {saga} runs; running: {', '.join(running) or 'none'}"
        end = ChildEnd(saga=saga, key=key, result=to_raw(result), reason=reason)
        return self._deliver(self._cause("child", f"{saga}.{status}", end))

    def receive(self, cause: Cause) -> Self:
        """An internal message of another instance arrives, as its effect ``Signal`` holds it."""
        return self._deliver(cause)

    def advance(self, delay: float | str | timedelta) -> Self:
        """Let time pass: timers that are due fire in order, each at its own time."""
        until = self.now + timedelta(seconds=seconds(delay))
        self._begin(None)
        while (due := self._next_timer(until)) is not None:
            id, version = due
            timer = self.instance.timers[id]
            self._fired.add(due)
            self.now = max(self.now, timer.at)
            name = f"{id}@{version}"
            cause = self._cause("timer", timer.type, timer.payload, id=name, epoch=version)
            self._hand(cause, self._decide(cause))
            self._run_signals()
        self.now = until
        return self

    def signal(self, name: str, payload: object = None, *, by: str = "tester") -> Self:
        """A person or a service sends a signal that ``.on_signal`` handles."""
        return self.action("signal", by=by, name=name, payload=payload)

    def action(
        self, action: Action, *, by: str = "operator", reason: str = "", **request: object
    ) -> Self:
        """An operator acts; ``request`` takes the fields of ActionRequest."""
        cause = self._action_cause(action, by, reason, request)
        self._begin(None)
        self._hand(cause, act(self.definition, self._snapshot, cause, self.now))
        return self._run_signals()

    def plan(self, action: Action, *, reason: str = "", **request: object) -> Plan:
        """What an action would do; give its hash as ``plan=`` to ``action`` to insist on it."""
        cause = self._action_cause(action, "operator", reason, request)
        return plan(self.definition, self._snapshot, cause, self.now)

    def when_step(self, id: str, output: object = None, *, data: object = None) -> Self:
        """The step ``id`` of a run ends well, or its undo when that is what it does now.

        The fields of an output that is a dict join the context of a list; ``data`` is for its undo.
        """
        told = to_raw(output)
        result = StepResult(output=told, data=to_raw(data), set=_fields(told))
        return self._deliver(self._cause("event", COMPLETED, result, answers=self._open_step(id)))

    def when_step_failed(
        self, id: str, reason: str = "it failed", *, data: object = None, code: str = ""
    ) -> Self:
        """The step ``id`` of a run, or its undo, fails for good."""
        told = StepFailure(reason=reason, data=to_raw(data), code=code)
        answers = self._open_step(id)
        return self._deliver(self._cause("event", FAILED, told, answers=answers, failed=True))

    def as_left_by(self, version: int, state: object) -> Self:
        """The state is ``state``, as code of ``version`` of this saga left it; upcasters take it
        from there with the next message.
        """
        left = structs.replace(self.instance, state=to_raw(state), definition_version=version)
        self._snapshot = Snapshot(self.key, left, document_hash(encode(left)))
        self.history[-1] = left
        return self._begin(None)

    # --- how it runs

    def _cause(
        self,
        kind: Literal["event", "timer", "spawn", "child", "operator"],
        type: str,
        payload: object,
        *,
        id: str = "",
        answers: str = "",
        failed: bool = False,
        epoch: int = 0,
        parent: Address | None = None,
        by: str = "",
        reason: str = "",
    ) -> Cause:
        self._count += 1
        return Cause(
            kind=kind,
            type=type,
            id=id or f"{kind}-{self._count}",
            seq=self._count,
            at=self.now,
            payload=to_raw(payload),
            answers=answers,
            failed=failed,
            epoch=epoch,
            parent=parent,
            by=by,
            reason=reason,
        )

    def _action_cause(
        self, action: Action, by: str, reason: str, request: Mapping[str, object]
    ) -> Cause:
        body = msgspec.json.decode(to_raw(request), type=ActionRequest)
        return self._cause("operator", action, body, by=by, reason=reason)

    def _open_command(self, target: str) -> str:
        commands = self.instance.commands
        found = [id for id, one in commands.items() if one.target == target and not one.gated]
        known = ", ".join(one.target for one in commands.values()) or "none"
        assert found, f"no command to {target!r} waits for an answer; open: {known}"
        return found[0]

    def _open_step(self, id: str) -> str:
        commands = self.instance.commands
        found = [name for name, one in commands.items() if one.step == id]
        known = ", ".join(one.step for one in commands.values()) or "none"
        assert found, f"no step {id!r} is on its way; open: {known}"
        return found[0]

    def _next_timer(self, until: datetime) -> tuple[str, int] | None:
        instance = self._snapshot.instance
        timers = instance.timers if instance is not None else {}
        due = [
            (timer.at, timer.version, id)
            for id, timer in timers.items()
            if timer.at <= until and (id, timer.version) not in self._fired
        ]
        return (min(due)[2], min(due)[1]) if due else None

    def _deliver(self, cause: Cause, payload: object = UNSET) -> Self:
        self._name(self.key or KEY)
        self._begin(None)
        self._hand(cause, self._decide(cause, payload))
        return self._run_signals()

    def _decide(self, cause: Cause, payload: object = UNSET) -> Decision:
        return decide(
            self.definition, self._snapshot, cause, self.now, payload=payload, handled=self._ids
        )

    def _name(self, key: str) -> None:
        self.key = key
        self._snapshot = Snapshot(key, self._snapshot.instance, self._snapshot.hash)

    def _begin(self, decision: Decision | None) -> Self:
        self.last = decision
        self._step = []
        self.ignored = []
        return self

    def _hand(self, cause: Cause, decision: Decision) -> None:
        self.last = decision
        if isinstance(decision, Transition):
            self._snapshot = self._commit(self._snapshot, decision)
            self.history.append(decision.after)
            self._step.append(decision.after)
            self.ignored += decision.ignored
            if cause.kind == "event":
                self._ids.add(cause.id)

    def _commit(self, snapshot: Snapshot, transition: Transition) -> Snapshot:
        """Store a transition as the log would: what is read back is what counts."""
        after = evolve(snapshot.instance, snapshot.hash, decode(transition.document))
        for effect in after.effects:
            if isinstance(effect, Signal):
                self._signals.append((effect.to, effect.cause))
        return Snapshot(snapshot.key, after, document_hash(transition.document))

    def _run_signals(self) -> Self:
        """Hand out what the instance tells itself and its gates, in order, until all is told."""
        for _ in range(SIGNALS_MAX):
            if not self._signals:
                return self
            to, cause = self._signals.popleft()
            if to.saga == GATE_SAGA:
                gate = self._gates.get(to.key, Snapshot(to.key))
                decision = decide(gate_definition(), gate, cause, self.now)
                if isinstance(decision, Transition):
                    self._gates[to.key] = self._commit(gate, decision)
            elif to == Address(self.definition.id, self.key):
                before = self.last
                self._hand(cause, self._decide(cause))
                if not isinstance(self.last, Transition):
                    self.last = before
        raise AssertionError("the instance sends signals to itself without end")


def _fields(output: Raw) -> dict[str, Raw]:
    if not bytes(output).startswith(b"{"):
        return {}
    return msgspec.json.decode(output, type=dict[str, Raw])
