"""The processes of a run: engines, workers and the projector, each the real service on a connection
of its own, with what kills, stalls, cuts and restarts them.
"""

from __future__ import annotations

import asyncio

from jobs import Providers
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.projector import Projector
from jobs.service import Service, Supervisor
from jobs.worker import Worker
from sagas import Registry
from store.memory import MemoryBackend, MemoryBroker
from store.port import StoreError
from tests.simulation.cast import cast_of
from tests.simulation.clockwork import moment
from tests.simulation.ledger import Ledger
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.plan import Plan, Trouble
from tests.simulation.record import Record
from tests.simulation.tables import Disk, MemoryProjections

ACK_WAIT_S = 6.0
RETRY_S = 0.5  # until a process that could not start is started again


class Quiet:
    """A hook that tells nobody."""

    def told(self, moment: object) -> None:
        """See Hook."""


class Player:
    """One process with all its lives."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self.process = Process(name)
        self._asked = asyncio.Event()  # to stop
        self._down_s = RETRY_S
        self.backend: MemoryBackend | None = None
        self._stage = stage
        self._steps = 0
        self._troubles = sorted(stage.troubles_of(name), key=lambda one: one.at)

    def start(self) -> None:
        """Begin a life."""
        stage = self._stage
        if not self.process.dead and self.backend is not None:
            return
        self.process = Process(self.name)
        self._asked = asyncio.Event()
        self.process.on_step = self._on_step if self._troubles else None
        self.backend = stage.broker.backend(self.name)
        stage.loop.spawn(self.process, self._live(self._make(self.backend)))

    def _make(self, backend: MemoryBackend) -> list[Service]:
        stage = self._stage
        names = stage.broker.names
        if self.name == "p":
            return [Projector(backend, MemoryProjections(stage.disk))]
        if self.name.startswith("w"):
            return [self._worker(backend)]
        if int(self.name[1:]) > stage.inline:
            return [Engine(backend, names, stage.code, engine_id=self.name, hook=Quiet())]
        steps = InlineSteps(names, inline_targets(stage.code, stage.cast.jobs))
        engine = Engine(
            *(backend, names, stage.code), engine_id=self.name, hook=Quiet(), inline=steps
        )
        return [engine, self._worker(backend, steps)]

    def _worker(self, backend: MemoryBackend, inline: InlineSteps | None = None) -> Worker:
        stage = self._stage
        providers = Providers()
        providers.provide(Ledger, stage.ledger)
        return Worker(
            *(backend, stage.broker.names, stage.cast.jobs),
            providers=providers,
            worker_id=self.name,
            ack_wait_s=ACK_WAIT_S,
            grace_s=3.0,
            hook=Quiet(),
            now=lambda: moment(stage.loop.clock),
            inline=inline,
        )

    async def _live(self, services: list[Service]) -> None:
        try:
            await Supervisor(services, self.name).run(self._asked)
        except StoreError as error:
            self._stage.record.tell(f"{self.name} can't start: {error}")
            self.kill(RETRY_S, quietly=True)
        except Exception as error:  # a service must not end by itself, whatever happens to it
            self._stage.failures.append(f"{self.name} ended by itself: {error!r}")
            self.kill(RETRY_S, quietly=True)
        else:
            self._stage.record.tell(f"{self.name} has stopped")
            self.kill(self._down_s, quietly=True)

    # --- what befalls it

    def _on_step(self) -> None:
        self._steps += 1
        while self._troubles and self._troubles[0].at <= self._steps:
            trouble = self._troubles.pop(0)
            if not self._stage.healed:
                self.befall(trouble)

    def befall(self, trouble: Trouble) -> None:
        """Let it happen."""
        match trouble.what:
            case "kill":
                self.kill(trouble.seconds)
            case "stall":
                self.stall(trouble.seconds)
            case "cut":
                self.cut(trouble.seconds)
            case "stop":
                self.stop(trouble.seconds)
            case _:
                raise ValueError(trouble.what)

    def kill(self, down_s: float, *, quietly: bool = False) -> None:
        """End it at once and start it again after a while."""
        if self.process.dead or self.backend is None:
            return
        if not quietly:
            self._stage.record.tell(f"{self.name} is killed, for {down_s} s")
        self._stage.loop.kill(self.process)
        self.backend.link.closed = True
        self._stage.loop.later(down_s, self.start)

    def stall(self, seconds: float) -> None:
        """Nothing of it runs for a while; what is sent to it waits."""
        process = self.process
        if process.dead or process.stalled:
            return
        self._stage.record.tell(f"{self.name} sleeps for {seconds} s")
        process.stalled = True
        self._stage.loop.later(seconds, self._wake, process)

    def _wake(self, process: Process) -> None:
        if process.stalled and not process.dead:
            process.stalled = False
            self._stage.record.tell(f"{self.name} wakes up")

    def cut(self, seconds: float) -> None:
        """It loses its connection for a while."""
        backend = self.backend
        if self.process.dead or backend is None:
            return
        self._stage.record.tell(f"{self.name} is cut off for {seconds} s")
        backend.cut()
        self._stage.loop.later(seconds, backend.heal)

    def stop(self, down_s: float) -> None:
        """It is told to stop in order, and starts again later."""
        if self.process.dead:
            return
        self._stage.record.tell(f"{self.name} is told to stop")
        self._down_s = down_s
        self._asked.set()

    def heal(self) -> None:
        """All is well with it from now on."""
        self._wake(self.process)
        if self.backend is not None:
            self.backend.heal()
        if self.process.dead:
            self.start()


class Stage:
    """What the players share."""

    def __init__(
        self,
        loop: SimulatedLoop,
        broker: MemoryBroker,
        record: Record,
        ledger: Ledger,
        plan: Plan,
    ) -> None:
        self.inline = plan.inline
        self.cast = cast_of(frozenset(order.kind for order in plan.orders))
        self._roll_s = plan.roll_s
        self.loop = loop
        self.broker = broker
        self.record = record
        self.ledger = ledger
        self.disk = Disk(broker.names)
        self.failures: list[str] = []
        self.healed = False
        self._troubles = [one for one in plan.troubles if not one.call]

    @property
    def code(self) -> Registry:
        """What an engine that starts now runs."""
        rolled = 0 < self._roll_s <= self.loop.time()
        return self.cast.newer if rolled else self.cast.registry

    def troubles_of(self, name: str) -> list[Trouble]:
        """What shall befall a process itself."""
        return [one for one in self._troubles if one.whom == name]
