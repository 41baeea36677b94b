"""What lies between the processes and the broker: calls take time, and some of them go wrong.

How long a call takes is chance, of its process alone; what goes wrong stands in the plan.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable

from store.memory import (
    Again,
    Answer,
    Call,
    Fault,
    Faults,
    Hold,
    HoldReply,
    Late,
    LoseReply,
    LoseRequest,
    Stale,
    StoreLate,
)
from store.port import Busy, Conflict
from tests.simulation.loop import SimulatedLoop, current
from tests.simulation.plan import Trouble
from tests.simulation.record import Record

DELAYS_S = (0.0002, 0.0006, 0.0006, 0.002, 0.002, 0.006, 0.02)
LATE_PART = 0.03  # of feeds' messages that come a little late


class Network(Faults):
    """Decides on every call; ``kill`` ends the process that is making one."""

    def __init__(
        self,
        seed: int,
        calm: float,
        troubles: Iterable[Trouble],
        loop: SimulatedLoop,
        record: Record,
        kill: Callable[[str, float], None],
    ) -> None:
        self._seed = seed
        self._calm = calm
        self._loop = loop
        self._record = record
        self._kill = kill
        self._chances: dict[str, random.Random] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        self._troubles = {(one.whom, one.call, one.at): one for one in troubles if one.call}
        self.healed = False

    def decide(self, call: Call) -> Fault | None:
        """See Faults."""
        if call.process == "world" or current().dead:
            return None
        chance = self._chances.get(call.process)
        if chance is None:
            chance = random.Random(f"{self._seed}/network/{call.process}")
            self._chances[call.process] = chance
        if call.name == "feeds.take":
            return Late(chance.choice(DELAYS_S)) if chance.random() < LATE_PART else None
        trouble = None
        if self._troubles and not self.healed:
            name = (call.process, call.name)
            self._calls[name] += 1
            trouble = self._troubles.get((*name, self._calls[name]))
        if trouble is not None:
            return self._make(trouble, call)
        there_s = 0.0 if chance.random() < self._calm else chance.choice(DELAYS_S)
        back_s = 0.0 if chance.random() < self._calm else chance.choice(DELAYS_S)
        reply = HoldReply(self._after(back_s)) if back_s else None
        return Hold(self._after(there_s), reply) if there_s else reply

    def _after(self, delay_s: float) -> asyncio.Event:
        event = asyncio.Event()
        self._loop.later(delay_s, event.set)
        return event

    def _make(self, trouble: Trouble, call: Call) -> Fault | None:
        seconds, batched = trouble.seconds, call.name in ("log.commit", "door.publish_batch")
        which = f"{call.name} number {trouble.at} of {call.process}"
        fault: Fault | None
        match trouble.what:
            case "lose_reply":
                text, fault = "is carried out, its answer is lost", LoseReply()
            case "lose_request":
                text, fault = "is lost", LoseRequest()
            case "late":
                text = f"times out and is carried out {seconds} s later, if it still can be"
                fault = StoreLate(seconds)
            case "busy" | "conflict" if batched:
                outcome = Busy("planned") if trouble.what == "busy" else Conflict("10071 planned")
                text, fault = f"is answered {trouble.what}", Answer(outcome)
            case "slow":
                text, fault = f"arrives after {seconds} s", Hold(self._after(seconds))
            case "slow_reply":
                text = f"is answered after {seconds} s"
                fault = HoldReply(self._after(seconds))
            case "die_before":
                text, fault = "is never sent, its process dies", Hold(asyncio.Event())
                self._kill(call.process, seconds)
            case "die_after":
                text, fault = "is carried out as its process dies", HoldReply(asyncio.Event())
                self._kill(call.process, seconds)
            case "stale":
                text, fault = "is answered by a replica that is behind", Stale(5)
            case "again":
                text, fault = "hands out what is due again at once", Again()
            case _:
                return None
        self._record.tell(f"{which} {text}")
        return fault
