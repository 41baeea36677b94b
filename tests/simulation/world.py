"""One run from its plan: everything is set up, goes wrong for a while, is healed, and must come to
rest; then it is judged.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct, structs

from sagas.draft import GATE_SAGA
from sagas.instance import Instance, decode
from sagas.programs.entity_state import EntityState
from store.memory import MemoryBroker
from store.subjects import Names
from tests.simulation.clients import Clients
from tests.simulation.clockwork import clockwork
from tests.simulation.evidence import Evidence
from tests.simulation.judge import verdicts
from tests.simulation.ledger import Ledger
from tests.simulation.loop import SimulatedLoop, Spinning
from tests.simulation.network import Network
from tests.simulation.plan import SECONDS, Plan, Trouble
from tests.simulation.players import Player, Stage
from tests.simulation.record import Record

ROLL_EVERY_S = 1.4
ROLL_DOWN_S = 0.3
LINGER_S = 1.5  # from the last word of a client till nothing goes wrong any more
REST_S = 0.5  # between two looks
GIVE_UP_S = 40.0  # after healing: what people have meddled with is cancelled
STUCK_S = 120.0  # after healing: all must have come to an end


class Outcome(Struct, frozen=True):
    """How a run went: ``complaints`` is empty when all held; ``trace`` is the hash of all of it."""

    plan: Plan
    complaints: tuple[str, ...]
    trace: str
    record: Record
    ledger: Ledger
    steps: int
    transitions: int

    @property
    def checks(self) -> set[str]:
        """The names of the checks that failed."""
        return {complaint.partition(":")[0] for complaint in self.complaints}


def run(plan: Plan) -> Outcome:
    """Play a plan."""
    with _undisturbed():
        loop = SimulatedLoop(random.Random(f"{plan.seed}/loop"))
        asyncio.set_event_loop(loop)
        try:
            with clockwork(loop.clock, str(plan.seed)):
                return World(plan, loop).play()
        finally:
            loop.dispose()
            asyncio.set_event_loop(None)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No logs, and no collection of garbage while a run goes on: it would come by chance. What was
    there before is left alone, so that the collection behind a run is quick; what of the run is
    still held then goes with the next one.
    """
    logging.disable(logging.CRITICAL)
    gc.disable()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()
        logging.disable(logging.NOTSET)


class World:
    """All there is in one run."""

    def __init__(self, plan: Plan, loop: SimulatedLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.record = Record(loop)
        self.ledger = Ledger(loop.time)
        self.network = Network(
            *(plan.seed, plan.calm, plan.troubles, loop, self.record, self._kill)
        )
        self.broker = MemoryBroker(Names(), plan.partitions, loop.clock, self.network)
        rules = self.broker.events.rules
        self.broker.events.rules = structs.replace(rules, window_s=plan.window_s)
        loop.follow(self.broker)
        self.record.listen("events", self.broker.events)
        self.record.listen("log", self.broker.log)
        self.stage = Stage(loop, self.broker, self.record, self.ledger, plan)
        names = [f"e{n + 1}" for n in range(plan.engines)]
        names += [f"w{n + 1}" for n in range(plan.workers)]
        self.players = {name: Player(self.stage, name) for name in (*names, "p")}
        self.clients = Clients(loop, self.broker, self.record)
        self._documents: dict[str, tuple[int, Instance]] = {}

    def play(self) -> Outcome:
        """The whole run."""
        complaints: list[str] = []
        try:
            complaints += self.loop.run_until_complete(self._run())
        except Spinning as error:
            complaints.append(f"spinning: {error}")
        evidence = Evidence(
            *(self.record, self.broker, self.ledger, self.clients.interfered),
            self.stage.cast.registry,
        )
        complaints += [f"died: {failure}" for failure in self.stage.failures]
        complaints += [f"unhandled: {fault}" for fault in self.loop.faults]
        complaints += verdicts(evidence, self.plan)
        return Outcome(
            plan=self.plan,
            complaints=tuple(complaints),
            trace=self.record.trace,
            record=self.record,
            ledger=self.ledger,
            steps=self.loop.steps,
            transitions=len(evidence.revisions),
        )

    async def _run(self) -> list[str]:
        for player in self.players.values():
            player.start()
        for trouble in self.plan.troubles:
            if trouble.what == "restart":
                self.loop.later(trouble.at / 1000, self._restart, trouble)
        if self.plan.roll_s:
            for number in range(self.plan.engines):
                player = self.players[f"e{number + 1}"]
                self.loop.later(self.plan.roll_s + number * ROLL_EVERY_S, player.stop, ROLL_DOWN_S)
        playing = asyncio.create_task(self.clients.play(self.plan))
        await asyncio.wait({playing}, timeout=SECONDS)
        await self._pause(LINGER_S)  # what was asked for last goes wrong, too
        self._heal()
        await playing
        return await self._settle()

    def _kill(self, name: str, down_s: float) -> None:
        self.players[name].kill(down_s)

    def _restart(self, trouble: Trouble) -> None:
        self.record.tell("the broker restarts")
        self.broker.restart(forget_ids=trouble.seconds > 1)

    def _heal(self) -> None:
        self.record.tell("nothing goes wrong from now on")
        self.network.healed = self.stage.healed = True
        for player in self.players.values():
            player.heal()

    # --- coming to rest

    async def _settle(self) -> list[str]:
        healed_s = self.loop.time()
        cared_s = healed_s
        while True:
            await self._pause(REST_S)
            open = self._open()
            busy = open or self._unread() or self._working()
            if not busy and self._projected():
                return await self._rebuild()
            since_s = self.loop.time() - healed_s
            if since_s > STUCK_S:
                return [f"stuck: {_text(busy) or 'the projections do not catch up'}"]
            if open and self.loop.time() - cared_s > 2.0:
                cared_s = self.loop.time()
                await self.clients.take_care(open, since_s > GIVE_UP_S)

    async def _pause(self, seconds: float) -> None:
        done = asyncio.Event()
        self.loop.later(seconds, done.set)
        await done.wait()

    def _open(self) -> list[Instance]:
        """Instances that have not come to their end."""
        found: list[Instance] = []
        prefix = self.broker.names.instances().split("*")[0]
        for subject in self.broker.log.subjects():
            if subject.startswith(prefix):
                instance = self._document(subject)
                if instance.saga == GATE_SAGA:
                    continue
                if instance.saga == "Audit" and instance.status == "running":
                    continue
                if instance.saga == "Purse" and _at_rest(instance):
                    continue
                if not instance.finished or instance.commands:
                    found.append(instance)
        return found

    def _document(self, subject: str) -> Instance:
        stored = self.broker.log.last(subject)
        assert stored is not None, subject
        known = self._documents.get(subject)
        if known is None or known[0] != stored.seq:
            known = self._documents[subject] = (stored.seq, decode(stored.data))
        return known[1]

    def _unread(self) -> str:
        """Messages behind the positions."""
        names, broker = self.broker.names, self.broker
        for number in range(broker.partitions):
            position = Evidence.position(broker, number)
            if any(broker.log.since(position.signals, names.signal_filters(number))):
                return f"signals of partition {number} wait behind {position.signals}"
            if any(broker.events.since(position.events, names.event_filters(number))):
                return f"events of partition {number} wait behind {position.events}"
        return ""

    def _working(self) -> str:
        for target, consumer in self.broker.consumers.items():
            state = consumer.state
            if state.waiting or state.in_flight:
                return f"commands of {target} wait: {state}"
        return ""

    def _projected(self) -> bool:
        checkpoint = self.stage.disk.tables.checkpoint
        if checkpoint is None:
            return False
        return (checkpoint.events.applied, checkpoint.log.applied) == (
            self.broker.events.last_seq,
            self.broker.log.last_seq,
        )

    async def _rebuild(self) -> list[str]:
        """The tables as they were followed, and as they are from nothing."""
        events, log = self.broker.events.since(0, [">"]), self.broker.log.since(0, [">"])
        differ = self.stage.disk.whole(list(events), list(log))
        return [f"projection: {text}" for text in differ]


def _at_rest(purse: Instance) -> bool:
    """Whether an entity, which never ends, has nothing to do."""
    calls = msgspec.json.decode(purse.state, type=EntityState).calls
    return purse.status == "running" and not (calls or purse.commands or purse.backlog)


def _text(busy: str | list[Instance]) -> str:
    if isinstance(busy, str):
        return busy
    return ", ".join(
        f"{one.saga}/{one.key} is {one.status} at version {one.version} with"
        f" {len(one.commands)} open commands and {len(one.timers)} timers"
        for one in busy
    )
