"""Steps that an engine carries out itself: begun right after the commit that asks for them, their
answers put into the lane.

There is no command in the stream for them. What stands for it is the list of their instances in the
position of their partition: whoever takes the partition over sends them to the queues of their
jobs. So they run at least once, as commands do, and the transition that records an answer is what
makes it durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Raw, structs

from jobs.cache import Cache
from jobs.intake import Answer, Arrival, Intake
from jobs.job import AnyJob
from jobs.partition import Partition
from sagas.definition import Registry, SagaDefinition
from sagas.instance import Instance
from sagas.messages import EPOCH, Cause
from sagas.names import BadName
from sagas.requeue import REQUEUE, inline_commands
from store import codec
from store.broker_clock import Clock, utc_now
from store.outbox import command_message
from store.port import Headers, Outgoing
from store.subjects import Names

log = logging.getLogger("snorri.engine")

UNANSWERED = Cause(kind="event", type="", id="", seq=0, at=EPOCH)  # till a step has an answer
LEAVE_S = 5.0  # how long steps may go on after their partition is asked for


class InlineWork:
    """A step on its way through a worker of this process; a delivery without a queue."""

    __slots__ = (
        "_steps",
        "arrival",
        "at_ns",
        "attempt",
        "data",
        "headers",
        "id",
        "partition",
        "seq",
        "subject",
        "target",
    )

    def __init__(
        self,
        steps: InlineSteps,
        partition: Partition,
        arrival: Arrival,
        id: str,
        target: str,
        message: Outgoing,
    ) -> None:
        self._steps = steps
        self.partition = partition
        self.arrival = arrival
        self.id = id
        self.target = target
        self.subject = message.subject
        self.data = message.payload
        self.headers: Headers = dict(message.headers)
        self.seq = 0
        self.at_ns = steps.now_ns()
        self.attempt = 1

    def answer(self, event: Outgoing) -> None:
        """Its result or failure, as a worker reports it."""
        self._steps.answered(self, event)

    async def ack(self) -> None:
        """Nothing waits for it: the answer is on its way through the lane."""

    async def nak(self, delay_s: float = 0.0) -> None:
        """Once more, as the next attempt."""
        self.again(delay_s)

    def again(self, delay_s: float) -> None:
        """The same, without a word to anybody."""
        self._steps.again(self, delay_s)

    async def term(self) -> None:
        """No worker can read it, which would be our own fault; it stays listed."""
        log.error("the step %s can't be carried out here", self.id)

    async def in_progress(self) -> None:
        """Nobody else could be given it."""


class StepWorker(Protocol):
    """The worker of the same process."""

    def accept(self, target: str, work: InlineWork) -> bool:
        """Carry out a step; False when it takes no more."""
        ...

    def run_ended(self, saga: str, key: str) -> None:
        """Nothing more of a run will come."""
        ...


class InlineSteps:
    """The steps that this process carries out for the partitions its engine holds."""

    def __init__(self, names: Names, targets: Iterable[str], now: Clock = utc_now) -> None:
        """``targets`` are those whose code the worker of this process has."""
        self.targets = frozenset(targets)
        self._names = names
        self._now = now
        self._worker: StepWorker | None = None
        self._held: dict[str, InlineWork] = {}
        self._early: list[InlineWork] = []
        self._ended = asyncio.Event()
        self._closed = False
        self._put: Callable[[Intake], None] = lambda intake: None

    def open(self, worker: StepWorker) -> None:
        """The worker is ready: begin with what came before it."""
        self._worker = worker
        early, self._early = self._early, []
        for work in early:
            self._offer(work)

    def close(self) -> None:
        """Begin no more; whoever comes next sends what is listed to its queue."""
        self._worker, self._closed = None, True
        for work in self._early:
            self.landed(work.id)
        self._early = []

    def on_answer(self, put: Callable[[Intake], None]) -> None:
        """Where answers go."""
        self._put = put

    # --- for the lane

    def begin(self, partition: Partition, definition: SagaDefinition, instance: Instance) -> None:
        """Begin what a committed document asks for and is not at work here."""
        if instance.finished and self._worker is not None:
            self._worker.run_ended(instance.saga, instance.key)
        if partition.closing or partition.lost or self._closed:
            return
        for id, command in inline_commands(instance):
            if id in self._held or command.target not in self.targets:
                continue
            subject = self._names.instance(instance.saga, instance.key)
            arrival = Arrival(definition, instance.key, subject, UNANSWERED)
            message = command_message(self._names, instance, command.sent_as(id))
            work = InlineWork(self, partition, arrival, id, command.target, message)
            self._held[id] = work
            self._offer(work)

    def landed(self, id: str) -> None:
        """The answer of a step is decided and committed."""
        self._held.pop(id, None)
        self._ended.set()

    def take_over(
        self, partition: Partition, registry: Registry, cache: Cache, subjects: Iterable[str]
    ) -> list[Intake]:
        """What to tell the instances whose steps whoever had the partition before has begun; the
        subjects are loaded.
        """
        told: list[Intake] = []
        for subject in subjects:
            entry = cache.get(subject)
            instance = entry.snapshot.instance if entry else None
            definition = registry.get(instance.saga) if instance else None
            if instance is None or not inline_commands(instance):
                partition.inline.discard(subject)
            elif definition is None:
                log.warning(
                    "%s/%s waits for steps, and this engine does not know its saga; start one that"
                    " does",
                    instance.saga,
                    instance.key,
                )
            else:
                cause = Cause(kind="signal", type=REQUEUE, id="", seq=0, at=instance.at)
                arrival = Arrival(definition, instance.key, subject, cause)
                told.append(Answer(partition, arrival, ""))
        return told

    async def leave(self, partition: Partition) -> None:
        """Let what is at work for a partition end, for LEAVE_S seconds at most."""
        try:
            async with asyncio.timeout(LEAVE_S):
                while self._of(partition):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            log.info("partition %d is left with steps at work", partition.number)
        self.abandon(partition)

    def abandon(self, partition: Partition) -> None:
        """Take no more answers for a partition that is somebody else's."""
        for id in self._of(partition):
            del self._held[id]
        self._ended.set()

    # --- for the worker

    def answered(self, work: InlineWork, event: Outgoing) -> None:
        """Put the answer of a step into the lane, unless its partition has gone."""
        if self._held.get(work.id) is not work:
            return
        try:
            type, _ = self._names.parse_event(event.subject)
        except BadName:  # our own subject
            raise AssertionError(f"{event.subject} is no event") from None
        headers = dict(event.headers)
        origin = work.arrival
        cause = Cause(
            kind="event",
            type=type,
            id="",
            seq=0,
            at=self._now(),
            payload=Raw(event.payload),
            answers=work.id,
            failed=headers.get(codec.OUTCOME) == "failed",  # no trace: it is that of its command
            execution=Raw(headers[codec.EXECUTION].encode()),
        )
        arrival = Arrival(origin.definition, origin.key, origin.subject, cause)
        self._put(Answer(work.partition, arrival, work.id))

    def now_ns(self) -> int:
        """The time as deliveries of the broker have it: nanoseconds since 1970."""
        return round(self._now().timestamp() * 1_000_000) * 1000

    def again(self, work: InlineWork, delay_s: float) -> None:
        """Offer a step once more after a while."""
        asyncio.get_running_loop().call_later(delay_s, self._again, work)

    def _again(self, work: InlineWork) -> None:
        if self._held.get(work.id) is work:
            work.attempt += 1
            work.at_ns = self.now_ns()
            self._offer(work)

    def _offer(self, work: InlineWork) -> None:
        if self._closed:
            self.landed(work.id)
        elif self._worker is None:
            self._early.append(work)
        elif not self._worker.accept(work.target, work):
            log.error("the worker of this process has no job for the step %s", work.target)

    def _of(self, partition: Partition) -> list[str]:
        return [id for id, work in self._held.items() if work.partition is partition]


def inline_targets(registry: Registry, jobs: Iterable[AnyJob]) -> set[str]:
    """The targets of steps among ``jobs`` that an engine may carry out itself: those whose number
    at work is not limited over all workers, and whose failure a run takes. A background step that
    fails is a dead letter, so its command has to be in the stream, to be sent again.
    """
    programs = [definition.program for definition in registry if definition.program is not None]
    steps = [step for program in programs for step in program.steps.values()]
    targets = {target for step in steps for target in (step.target, step.undo_target)}
    return {
        job.target
        for job in jobs
        if job.target in targets and job.concurrency_total is None and not job.letters
    }


def with_inline(registry: Registry, targets: frozenset[str]) -> Registry:
    """The definitions, each knowing which of its steps the engine carries out itself."""

    def known(definition: SagaDefinition) -> SagaDefinition:
        if definition.program is None:
            return definition
        return structs.replace(definition, inline=targets)

    return Registry([known(definition) for definition in registry])
