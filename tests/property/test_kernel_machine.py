"""Goal: whatever reaches an instance in whatever order, its history stays sound and it goes on.

Method: a stateful machine throws generated messages, duplicates, answers, timers, strangers at
gates and operator actions at the saga of ``tests.property.chaos``, which checks every transition it
takes; at the end all that is on its way arrives, and nothing may wait for nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sagas.actions import ACTIONS, TIMER_ACTIONS, ActionRequest
from sagas.kernel import Ignored, Refused
from sagas.messages import to_raw
from sagas.names import command_gate, saga_gate
from sagas.operations import ABSENT
from tests.property.chaos import GATES, GIVING_UP, World

GATE_KEYS = st.sampled_from(GATES)
TIMERS = st.sampled_from(["a", "b@c"])
PLAIN = st.one_of(
    st.tuples(st.just("send")),
    st.tuples(st.just("gated"), GATE_KEYS),
    st.tuples(st.just("timer"), TIMERS, st.integers(1, 100)),
    st.tuples(st.just("untimer"), TIMERS),
    st.tuples(st.just("publish")),
    st.tuples(st.just("spawn"), st.sampled_from(["x", "y"])),
)
ENDS = st.sampled_from([("complete",), ("fail",), ("cancel",)])
UNDO = st.lists(PLAIN | ENDS | st.just(("raise",)), max_size=2)
COMPENSATE = st.tuples(st.just("compensate"), st.sampled_from(["A", "B"]), UNDO)
RARE = ENDS | COMPENSATE | st.just(("raise",))
SCRIPT = st.lists(PLAIN | RARE, max_size=2) | st.lists(PLAIN, max_size=3)


class Kernel(RuleBasedStateMachine):
    """One instance and everybody around it."""

    @initialize(limited=st.booleans(), script=SCRIPT)
    def begin(self, limited: bool, script: list[Any]) -> None:
        self.world = World(limited)
        self.events: list[Any] = []
        self.event("Start", script)

    def event(self, type: str, script: list[Any], **more: Any) -> None:
        payload = {"n": self.world.count, "do": script}
        cause = self.world.cause("event", type, payload, **more)
        self.events.append(cause)
        self.world.deliver(cause)

    @rule(script=SCRIPT, type=st.sampled_from(["Do", "Do", "Start", "Mute"]))
    def a_message(self, script: list[Any], type: str) -> None:
        self.event(type, script)

    @precondition(lambda self: self.world.ids)
    @rule(data=st.data())
    def a_duplicate(self, data: st.DataObject) -> None:
        known = [cause for cause in self.events if cause.id in self.world.ids]
        decision = self.world.deliver(data.draw(st.sampled_from(known)))
        assert isinstance(decision, Ignored)

    @precondition(lambda self: self.world.sent)
    @rule(
        data=st.data(),
        script=SCRIPT,
        type=st.sampled_from(["Answered", "Mute", "AnswerFailed", "Snorri-Failed"]),
    )
    def an_answer(self, data: st.DataObject, script: list[Any], type: str) -> None:
        id = data.draw(st.sampled_from(self.world.sent))
        self.event(type, script, answers=id, failed="Failed" in type)

    @precondition(lambda self: self.world.mine)
    @rule()
    def a_signal_arrives(self) -> None:
        self.world.deliver(self.world.mine.popleft())

    @precondition(lambda self: self.world.to_gates)
    @rule()
    def a_gate_hears(self) -> None:
        self.world.at_gate(*self.world.to_gates.popleft())

    @rule(key=GATE_KEYS | st.none(), comes=st.booleans())
    def a_stranger(self, key: str | None, comes: bool) -> None:
        self.world.stranger(command_gate("work", key) if key else saga_gate("Chaos", ""), comes)

    @precondition(lambda self: self.world.armed or self.world.fired)
    @rule(data=st.data(), again=st.booleans())
    def a_timer_fires(self, data: st.DataObject, again: bool) -> None:
        world = self.world
        world.now += timedelta(seconds=100)
        if again and world.fired:
            world.deliver(data.draw(st.sampled_from(world.fired)))
        elif world.armed:
            cause = world.armed.pop(data.draw(st.sampled_from(sorted(world.armed))))
            world.fired.append(cause)
            world.deliver(cause)

    @rule(key=st.sampled_from(["x", "y", "z"]), how=st.sampled_from(["completed", "failed"]))
    def a_child_ends(self, key: str, how: str) -> None:
        end = {"saga": "Kid", "key": key, "result": None, "reason": ""}
        self.world.deliver(self.world.cause("child", f"Kid.{how}", end))

    @rule(action=st.sampled_from(ACTIONS), script=UNDO, types=st.sampled_from([(), ("A",)]))
    def an_operator(self, action: str, script: list[Any], types: tuple[str, ...]) -> None:
        payload = to_raw({"do": script}) if action in ("signal", "compensate") else ABSENT
        patch = to_raw({"note": 1}) if action == "patch" else ABSENT
        request = ActionRequest(types=types, name="Poke", payload=payload, patch=patch)
        self.world.act(action, request)

    @rule(action=st.sampled_from(TIMER_ACTIONS), timer=TIMERS, delay_s=st.integers(1, 100))
    def somebody_acts_on_a_timer(self, action: str, timer: str, delay_s: int) -> None:
        later = delay_s if action == "postpone_timer" else None
        self.world.act(action, ActionRequest(timer=timer, to=later))

    @rule(script=SCRIPT, stubborn=st.booleans())
    def somebody_mends_it(self, script: list[Any], stubborn: bool) -> None:
        """Retry what is parked with a payload that may do better, or send a command again."""
        instance = self.world.instance
        if instance is None:
            return
        command = next(iter(instance.commands), "") if stubborn and instance.commands else ""
        mended = ABSENT
        if instance.parked and instance.parked.cause and not command:
            mended = to_raw({"do": script})
        self.world.act("retry", ActionRequest(command=command, payload=mended))

    @precondition(lambda self: self.world.instance and self.world.instance.parked)
    @rule(action=st.sampled_from(GIVING_UP), by_hand=st.booleans())
    def somebody_gives_it_up(self, action: str, by_hand: bool) -> None:
        types = ("B",) if action == "compensate" else ()
        self.world.act(action, ActionRequest(types=types, by_hand=by_hand))

    @rule(action=st.sampled_from(ACTIONS))
    def an_old_version_is_refused(self, action: str) -> None:
        cause = self.world.act(action, ActionRequest(version=999))
        assert isinstance(cause, Refused)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            self.world.check_nobody_is_stuck()


Kernel.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestKernel = Kernel.TestCase
