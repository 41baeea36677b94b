"""A saga that does whatever its messages say, and a world around it that loses nothing by itself.

The messages carry small scripts, so a generated message is a generated handler. The world holds
what the broker and the other instances would hold: signals on their way, armed timers, commands
that were sent, gates with strangers in them. Every transition is checked as it is taken.
"""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sagas import (
    Message,
    SagaDefinition,
    SagaHandle,
    cancel,
    compensate,
    complete,
    define_saga,
    fail,
    publish,
    schedule,
    send,
    spawn,
    unschedule,
)
from sagas.actions import ActionRequest, act, plan
from sagas.draft import ACQUIRE, GATE_SAGA, RELEASE
from sagas.effects import Cancel, Compensate, Complete, Fail, Schedule, Send, Signal, Unschedule
from sagas.gate import gate_definition
from sagas.instance import FINISHED, Instance, decode, document_hash, encode, evolve
from sagas.kernel import Decision, Refused, Snapshot, Transition, decide
from sagas.messages import Address, Cause, to_raw
from sagas.names import command_gate, saga_gate

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "k"
GATES = ("g1", "g2")
ENDS = (Complete, Fail, Cancel)
GIVING_UP = ("skip", "cancel", "compensate")
Handle = SagaHandle[dict[str, Any]]


def run(saga: Handle, message: Message[Any]) -> list[Any]:
    """The handler of every type: note the message, then do what its script says."""
    script = message.payload if isinstance(message.payload, dict) else {}
    if "n" in script:
        saga.state["taken"] = [*saga.state["taken"], script["n"]]
    if message.answers:
        saga.state["answered"] = [*saga.state["answered"], message.answers]
    return _effects(script)


def undo(saga: Handle, message: Message[Any]) -> list[Any]:
    """The undo handler of every type."""
    saga.state["undone"] = [*saga.state["undone"], message.type]
    return _effects(message.payload if isinstance(message.payload, dict) else {})


def _effects(script: dict[str, Any]) -> list[Any]:
    effects: list[Any] = []
    for word, *rest in script.get("do", ()):
        match word:
            case "send":
                effects.append(send("work", {"x": 1}))
            case "gated":
                effects.append(send("work", {"x": 2}, concurrency_key=rest[0]))
            case "timer":
                effects.append(schedule({"type": "Rang"}, rest[1], id=rest[0]))
            case "untimer":
                effects.append(unschedule(rest[0]))
            case "publish":
                effects.append(publish("Told"))
            case "spawn":
                effects.append(spawn("Kid", key=rest[0]))
            case "complete":
                effects.append(complete("well"))
            case "fail":
                effects.append(fail("badly"))
            case "cancel":
                effects.append(cancel("as asked"))
            case "compensate":
                message = {"type": rest[0], "payload": {"do": rest[1]}}
                effects.append(compensate(message, "undo"))
            case _:
                raise RuntimeError(word)
    return effects


def chaos(limited: bool) -> SagaDefinition:
    """The definition; ``limited`` lets one instance in at once."""
    chain = define_saga("Chaos").state({"taken": [], "answered": [], "undone": []})
    if limited:
        chain.concurrency(1)
    for type in ("Start", "Do", "Answered", "AnswerFailed", "Rang", "Kid.completed"):
        chain.on(type, run, starts=type == "Start")
    for type in ("A", "B"):
        chain.compensate(type, undo)
    return chain.on_signal("Poke", run).build()


class World:
    """One instance, its gates, and all that is on its way."""

    def __init__(self, limited: bool) -> None:
        self.definition = chaos(limited)
        self.me = Address("Chaos", KEY)
        self.now = START
        self.snapshot = Snapshot(KEY)
        self.gates: dict[str, Snapshot] = {}
        self.mine: deque[Cause] = deque()
        self.to_gates: deque[tuple[str, Cause]] = deque()
        self.armed: dict[str, Cause] = {}
        self.fired: list[Cause] = []
        self.sent: list[str] = []
        self.ids: set[str] = set()
        self.count = 0
        self.changed_by: list[str] = []

    @property
    def instance(self) -> Instance | None:
        """The instance as it is now."""
        return self.snapshot.instance

    # --- what happens

    def cause(self, kind: Any, type: str, payload: object = None, **more: Any) -> Cause:
        """A message with an id of its own, unless one is given."""
        self.count += 1
        more.setdefault("id", f"{kind}-{self.count}")
        raw = to_raw(payload)
        return Cause(kind=kind, type=type, seq=self.count, at=self.now, payload=raw, **more)

    def deliver(self, cause: Cause) -> Decision:
        """Decide twice, compare, and take what was decided."""
        self.now += timedelta(seconds=1)
        decision = self._decide(cause)
        again = self._decide(cause)
        assert type(decision) is type(again)
        if isinstance(decision, Transition) and isinstance(again, Transition):
            assert decision.document == again.document
            self.take(decision)
            if cause.kind == "event":
                assert cause.id not in self.ids, "a message changed the instance twice"
                self.ids.add(cause.id)
        return decision

    def _decide(self, cause: Cause) -> Decision:
        return decide(self.definition, self.snapshot, cause, self.now, handled=self.ids)

    def act(self, action: str, request: ActionRequest) -> Decision:
        """An operator acts; what was planned before is what happens."""
        self.now += timedelta(seconds=1)
        cause = self.cause("operator", action, request, by="op", reason="a reason")
        planned = plan(self.definition, self.snapshot, cause, self.now)
        decision = act(self.definition, self.snapshot, cause, self.now)
        assert isinstance(decision, (Transition, Refused)), decision
        assert bool(planned.refused) == isinstance(decision, Refused)
        if isinstance(decision, Transition):
            after = decision.after
            assert planned.effects == after.effects
            assert (planned.status_after, planned.state_after) == (after.status, after.state)
            assert after.cause.kind == "operator"
            insisting = to_raw({**json.loads(bytes(to_raw(request))), "plan": planned.hash})
            exact = self.cause("operator", action, insisting, by="op", reason="a reason")
            later = self.now + timedelta(minutes=5)
            done = act(self.definition, self.snapshot, exact, later)
            assert isinstance(done, Transition)
            assert (done.after.effects, done.after.state) == (after.effects, after.state)
            self.take(decision)
            stale = act(self.definition, self.snapshot, exact, later)
            assert isinstance(stale, Refused), "a plan was carried out on a moved instance"
        return decision

    # --- what must hold for each transition

    def take(self, transition: Transition) -> None:
        """Commit a transition and put what it emits on its way; checks it first."""
        before, after = self.snapshot.instance, transition.after
        assert encode(decode(transition.document)) == transition.document
        json.loads(transition.document)
        evolve(before, self.snapshot.hash, after)
        assert len(after.effects) <= 500
        assert sum(isinstance(effect, ENDS) for effect in after.effects) <= 1
        self._check_let_go(before, after)
        self._check_state(after)
        self._check_end(before, after)
        for effect in after.effects:
            self._emit(effect, after)
        if after.status in FINISHED:
            assert not self.armed, "a finished instance has timers that will fire"
        self.snapshot = Snapshot(KEY, after, document_hash(transition.document))

    def _check_state(self, after: Instance) -> None:
        state = json.loads(bytes(after.state))
        assert state["taken"] == sorted(set(state["taken"])), "messages out of order"
        assert len(state["answered"]) == len(set(state["answered"])), "a command answered twice"
        assert len(state["undone"]) == len(set(state["undone"])), "an undo ran twice"
        assert sorted(state["undone"]) == sorted(one.type for one in after.undo)

    def _check_let_go(self, before: Instance | None, after: Instance) -> None:
        """What an operator gives up is closed, so that nothing waits for it."""
        given_up = after.cause.kind == "operator" and after.cause.type in GIVING_UP
        if not (given_up and before and before.parked):
            return
        waited = before.parked.cause
        assert before.parked.command not in after.commands
        assert waited is None or waited.answers not in after.commands
        assert after.parked is None

    def _check_end(self, before: Instance | None, after: Instance) -> None:
        if after.status in FINISHED:
            assert not after.timers
            drains = any(isinstance(one, Signal) and one.to == self.me for one in after.effects)
            assert drains or not after.backlog
            assert after.gate is None
        over = before is not None and before.status in FINISHED
        if before is not None and over and after.cause.kind != "operator":
            for effect in after.effects:
                late = isinstance(effect, Send) and before.commands[effect.id].gated
                assert late or isinstance(effect, Signal), f"{effect} after the end"
        if over and any(isinstance(effect, Compensate) for effect in after.effects):
            assert after.cause.type == "compensate"

    def _emit(self, effect: object, after: Instance) -> None:
        match effect:
            case Send(gated=False):
                self.sent.append(effect.id)
            case Schedule():
                name = f"{effect.id}@{after.version}"
                self.armed[effect.id] = self.cause("timer", "Rang", id=name, epoch=after.version)
            case Unschedule():
                self.armed.pop(effect.id, None)
            case Signal():
                if effect.to.saga == GATE_SAGA:
                    self.to_gates.append((effect.to.key, effect.cause))
                elif effect.to == self.me:
                    self.mine.append(effect.cause)
            case _:
                pass

    # --- the others

    def at_gate(self, key: str, cause: Cause) -> None:
        """A gate takes one message."""
        snapshot = self.gates.get(key, Snapshot(key))
        decision = decide(gate_definition(), snapshot, cause, self.now)
        if not isinstance(decision, Transition):
            return
        after = evolve(snapshot.instance, snapshot.hash, decision.after)
        self.gates[key] = Snapshot(key, after, document_hash(decision.document))
        for effect in after.effects:
            if isinstance(effect, Signal) and effect.to == self.me:
                self.mine.append(effect.cause)

    def stranger(self, gate: str, comes: bool) -> None:
        """Somebody else asks for the slot of a gate, or gives it back."""
        ask = {"saga": "Stranger", "key": "s", "holder": "", "limit": 1}
        self.to_gates.append((gate, self.cause("signal", ACQUIRE if comes else RELEASE, ask)))

    def settle(self) -> None:
        """Let everything arrive that is on its way, with all strangers gone."""
        for gate in (*map(partial(command_gate, "work"), GATES), saga_gate("Chaos", "")):
            self.stranger(gate, comes=False)
        for _ in range(1000):
            if self.to_gates:
                self.at_gate(*self.to_gates.popleft())
            elif self.mine:
                self.deliver(self.mine.popleft())
            else:
                return
        raise AssertionError("signals go round for ever")

    def check_nobody_is_stuck(self) -> None:
        """When nothing is on its way, nothing waits that could go on; no slot is held in vain."""
        instance = self.snapshot.instance
        held: set[str] = set()
        queued: set[str] = set()
        for snapshot in self.gates.values():
            state = json.loads(bytes(snapshot.instance.state)) if snapshot.instance else {}
            inside = {one.get("holder", "") for one in state["held"]}
            waiting = {one.get("holder", "") for one in state["queue"]}
            assert inside or not waiting, "somebody waits at a gate with nobody inside"
            held |= inside
            queued |= waiting
        if instance is None:
            assert not held
            return
        if instance.status not in ("paused", "parked"):
            assert not instance.backlog, "the backlog of an instance that goes on is not drained"
        if instance.status == "compensating":
            running = "running" in instance.children.values()
            assert instance.commands or instance.timers or running, "nothing ends the compensation"
        assert instance.gate is None or instance.gate.held
        waiting = [*instance.backlog]
        if instance.parked and instance.parked.cause:
            waiting.append(instance.parked.cause)
        fired = {one.id.rpartition("@")[0] for one in waiting if one.kind == "timer"}
        assert instance.timers.keys() <= self.armed.keys() | fired, "a timer that will never fire"
        keyed = {id: one.gated for id, one in instance.commands.items() if one.concurrency_key}
        assert queued == {id for id, gated in keyed.items() if gated}, "waits for nothing"
        inside = {id for id, gated in keyed.items() if not gated}
        assert held == inside | ({""} if instance.gate else set()), "a slot is held in vain"
