"""The lane: what waits in all owned partitions becomes one commit, while the commit before is on
its way.

    take what is there -> load missing instances -> decide -> one atomic batch
    -> take its revisions over

There is at most one commit on its way; the next ones grow meanwhile on its expected outcome, and
each is sent when it is known. When a commit fails, all are forgotten, the instances are loaded
again and the same messages decided again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable

from jobs.batch import Batch
from jobs.cache import Cache, Entry
from jobs.commit import BatchInvalid, Committer, Pause
from jobs.inline import InlineSteps, with_inline
from jobs.intake import Arrival, Intake, Reader
from jobs.light import Flight, LightCommits
from jobs.message_ids import ids_of
from jobs.partition import Partition
from jobs.rollout import NewerCode
from jobs.telemetry import (
    BatchCommitted,
    BatchConflicted,
    Hook,
    PartitionLeft,
    PartitionTaken,
    Teller,
)
from sagas.definition import Registry
from sagas.instance import SEEN_MAX
from store.broker_clock import Clock, utc_now
from store.masking import Mask
from store.port import Backend, Stored, Unreachable
from store.subjects import Names

log = logging.getLogger("snorri.engine")

TAKE_MAX = 128  # messages of one feed at a time
AHEAD_MIN = 512  # with fewer to decide the next are taken: loading theirs takes as long as a commit
BUILT_MAX = 2  # batches decided beyond the commit that is on its way
CHUNK_MAX = 64  # messages decided before the event loop may write and read again


class Lane:
    """The processing loop of one engine over the partitions it is given."""

    def __init__(
        self,
        backend: Backend,
        names: Names,
        registry: Registry,
        owner: str,
        *,
        cache: Cache | None = None,
        hook: Hook | None = None,
        clock: Clock = utc_now,
        secret_fields: Iterable[str] = (),
        inline: InlineSteps | None = None,
    ) -> None:
        """``inline`` are the steps that this process carries out itself; None: workers do."""
        self._inline = inline or InlineSteps(names, ())
        registry = with_inline(registry, self._inline.targets)
        self._registry = registry
        self._inline.on_answer(self._answered)
        self._backend = backend
        self._names = names
        self._owner = owner
        self._reader = Reader(names, registry)
        self._cache = cache or Cache()
        self._teller = Teller(hook)
        self._committer = Committer(backend, names, owner, self._teller, clock)
        self._clock = clock
        self._mask = Mask([*secret_fields, *(name for saga in registry for name in saga.secrets)])
        self._newer = NewerCode(backend.meta, self._cache, registry)
        self._light = LightCommits(self._committer, self._cache, self._new_batch)
        self._partitions: dict[int, Partition] = {}
        self._waiting: deque[Intake] = deque()
        self._ahead: asyncio.Task[None] | None = None
        self._suspects: set[str] = set()
        self._wake = asyncio.Event()
        self._on_lost: Callable[[int], None] = lambda number: None
        self._run = secrets.token_hex(4)  # an id may come back with another process
        self._batches = 0
        self._singles = 0
        self._closing: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def partitions(self) -> tuple[int, ...]:
        """The numbers of the partitions it works on."""
        return tuple(sorted(self._partitions))

    @property
    def waiting(self) -> int:
        """Messages that are stored for its partitions and not decided, as far as it knows."""
        feeds = sum(partition.waiting for partition in self._partitions.values())
        return feeds + len(self._waiting)

    def on_lost(self, callback: Callable[[int], None]) -> None:
        """Call this when a partition turns out to be somebody else's."""
        self._on_lost = callback

    async def acquire(self, number: int) -> None:
        """Work on a partition from its committed position on."""
        partition = Partition(number, await self._committer.position(number))
        await partition.open(self._backend, self._names, self._wake.set)
        self._partitions[number] = partition
        self._teller.tell(PartitionTaken(self._owner, number))
        await self._take_over(partition)
        self._wake.set()

    async def _take_over(self, partition: Partition) -> None:
        """Have the steps go on that whoever had the partition before has begun."""
        subjects = sorted(partition.listed)
        self._suspects.update(subjects)  # neither a replica nor what was known here will do
        for subject, stored in (await self._fetch(subjects)).items():
            entry = self._cache.get(subject)
            if entry is None or (stored is not None and stored.seq > entry.revision):
                self._cache.put(self._names.parse_instance(subject)[1], subject, stored, sure=True)
        for intake in self._inline.take_over(partition, self._registry, self._cache, subjects):
            self._answered(intake)

    def _answered(self, intake: Intake) -> None:
        intake.partition.expect(1)
        self._light.put(intake)
        self._wake.set()

    async def release(self, number: int) -> None:
        """Finish what was taken of a partition and leave it."""
        partition = self._partitions.get(number)
        if partition is not None:
            self._wake.set()
            partition.closing = True
            await self._inline.leave(partition)
            await partition.close()
            if self._partitions.pop(number, None) is not None:
                self._teller.tell(PartitionLeft(self._owner, number, lost=False))

    def stop(self) -> None:
        """Let the commit that is on its way end, then return from ``run``."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until ``stop``; raises only for faults of our own."""
        built = [self._new_batch()]  # in order; the last one is still growing
        flight: Flight | None = None
        try:
            while not self._stopping:
                self._wake.clear()
                busy = built if flight is None else [*built, flight.batch]
                self._waiting.extend(self._light.fly(busy, self._clock(), self._wake.set))
                added, full = await self._extend(built, flight)
                built = await self._land_light(built)
                if flight is not None and flight.task.done():
                    ended, flight = flight, None
                    if not await self._land(ended):
                        self._return(ended.batch, *built)
                        built = [self._new_batch()]
                        continue
                if flight is None and built[0].intakes and not self._light.touches(built[0]):
                    flight = Flight(self._committer, built.pop(0), self._wake.set)
                    built = built or [self._new_batch()]
                elif full and len(built) < BUILT_MAX:
                    built.append(self._new_batch())
                elif not added or full:
                    await self._wake.wait()
        except asyncio.CancelledError:
            if flight is not None:
                flight.task.cancel()
            raise
        finally:
            if self._ahead is not None:
                self._ahead.cancel()
                await asyncio.gather(self._ahead, return_exceptions=True)
            if flight is not None:
                await asyncio.gather(flight.task, return_exceptions=True)
            await self._light.close(cancel=not self._stopping)
            for partition in tuple(self._partitions.values()):
                await partition.shut()
            await asyncio.gather(*self._closing)

    def _new_batch(self) -> Batch:
        self._batches += 1
        id = f"{self._owner}.{self._run}.{self._batches}"
        return Batch(self._names, self._cache, id, self._owner, self._mask)

    # --- growing a batch

    async def _extend(self, built: list[Batch], flight: Flight | None) -> tuple[bool, bool]:
        """Decide what is there; whether anything was added, and whether the last batch is full."""
        batch = built[-1]
        if len(self._waiting) < AHEAD_MIN:
            self._look_ahead(built)
        if not self._waiting:
            return False, False
        chunk = [self._waiting.popleft() for _ in range(min(len(self._waiting), CHUNK_MAX))]
        await self._load(chunk, built if flight is None else [*built, flight.batch])
        now = self._clock()
        for index, intake in enumerate(chunk):
            if intake.partition.lost:
                intake.partition.settle(1)
                continue
            over = self._singles > 0 and batch.intakes
            if over or not batch.add(intake, now):
                self._waiting.extendleft(reversed(chunk[index:]))
                if batch.ahead:
                    await self._newer.look(batch, intake.partition)
                    self._let_go()
                    return True, False
                if batch.doubts:
                    if flight is not None and any(map(flight.batch.writes, batch.doubts)):
                        await asyncio.wait({flight.task})  # until then the leader may not know
                    else:
                        await self._confirm(batch.doubts)
                    batch.doubts.clear()
                    return True, False
                return index > 0, bool(batch.intakes)
            self._singles = max(self._singles - 1, 0)
        await asyncio.sleep(0)
        return True, False

    def _look_ahead(self, built: list[Batch]) -> None:
        """Take what has arrived and have its instances loaded while others are decided."""
        if self._ahead is not None:
            return
        taken = self._take()
        self._doubt(taken, built)
        missing = self._missing(taken)
        if missing:
            self._ahead = asyncio.create_task(self._load_ahead(taken, missing))
        else:
            self._waiting.extend(taken)

    async def _load_ahead(self, taken: list[Intake], missing: dict[str, Arrival]) -> None:
        for subject, stored in (await self._fetch(list(missing))).items():
            if self._cache.get(subject) is None:
                self._cache.put(missing[subject].key, subject, stored)
        self._waiting.extend(taken)
        self._ahead = None
        self._wake.set()

    def _doubt(self, taken: Iterable[Intake], built: list[Batch]) -> None:
        """What is known of an instance may be older than the messages that have just come for it:
        another engine may have had its partition, or feed it from a partition of its own. Only a
        batch that is still to be sent proves, by what it expects, that it was the last version.
        """
        for intake in taken:
            for arrival in intake.arrivals:
                entry = self._cache.look(arrival.subject)
                if entry is not None and entry.sure:
                    entry.sure = any(batch.writes(arrival.subject) for batch in built)

    def _take(self) -> list[Intake]:
        taken: list[Intake] = []
        read = self._reader.read
        for partition in self._partitions.values():
            signals, events = partition.take(TAKE_MAX)
            taken += [read(partition, "log", stored) for stored in signals]
            taken += [read(partition, "events", stored) for stored in events]
        return taken

    def _missing(self, intakes: Iterable[Intake]) -> dict[str, Arrival]:
        """Arrivals at instances that are not in the cache, by subject."""
        look = self._cache.look
        return {
            arrival.subject: arrival
            for intake in intakes
            for arrival in intake.arrivals
            if look(arrival.subject) is None
        }

    async def _load(self, chunk: list[Intake], busy: Iterable[Batch]) -> None:
        """Load what is not in the cache (any more), which is seldom after ``_look_ahead``."""
        if missing := self._missing(chunk):
            suspects = self._suspects & missing.keys()
            for subject, stored in (await self._fetch(list(missing))).items():
                key = missing[subject].key
                self._cache.put(key, subject, stored, sure=subject in suspects)
        if self._cache.full:
            needed = {arrival.subject for intake in chunk for arrival in intake.arrivals}
            self._cache.trim(needed.union(*(batch.subjects for batch in busy)))
        await self._load_ids(chunk)

    async def _fetch(self, subjects: list[str]) -> dict[str, Stored | None]:
        """The last document of each subject; suspects of a conflict are read from the leader."""
        pause = Pause()
        while True:
            try:
                suspects = [subject for subject in subjects if subject in self._suspects]
                fresh = [subject for subject in subjects if subject not in self._suspects]
                found: dict[str, Stored | None] = dict.fromkeys(fresh)
                if fresh:
                    found |= await self._backend.log.load(fresh)
                for subject in suspects:
                    found[subject] = await self._backend.log.read(subject)
                self._suspects.difference_update(suspects)
                return found
            except Unreachable as error:
                log.info("waiting for the broker to load %d instances: %s", len(subjects), error)
                await pause.wait()

    async def _confirm(self, doubts: set[str]) -> None:
        """Load instances again from the leader: what was known of them may be out of date."""
        for subject in tuple(doubts):
            entry = self._cache.get(subject)
            if entry is not None:
                self._suspects.add(subject)
                stored = (await self._fetch([subject]))[subject]
                self._cache.put(entry.snapshot.key, subject, stored, sure=True)

    async def _load_ids(self, chunk: list[Intake]) -> None:
        """Message ids older than an instance's window are looked up in its history, once while it
        is cached.
        """
        for intake in chunk:
            for arrival in intake.arrivals:
                entry = self._cache.look(arrival.subject)
                instance = entry.snapshot.instance if entry else None
                if entry is None or instance is None or entry.ids is not None:
                    continue
                if arrival.cause.id and len(instance.seen) >= SEEN_MAX:
                    entry.ids = await self._ids(entry)

    async def _ids(self, entry: Entry) -> set[str]:
        pause = Pause()
        while True:
            try:
                return await ids_of(self._backend.log, self._names, entry.subject)
            except Unreachable as error:
                log.info("waiting for the broker to read %s: %s", entry.subject, error)
                await pause.wait()

    # --- after a commit

    async def _land_light(self, built: list[Batch]) -> list[Batch]:
        """The batches that are still built, which may count on light ones that were not stored."""
        for one in self._light.landed():
            if not await self._land(one):
                self._return(one.batch, *built)
                built = [self._new_batch()]
        return built

    async def _land(self, flight: Flight) -> bool:
        batch = flight.batch
        try:
            if await flight.task:
                took_s = asyncio.get_running_loop().time() - flight.sent_s
                told = (tuple(batch.transitions), len(batch.intakes), batch.letters, took_s)
                self._teller.tell(BatchCommitted(self._owner, *told))
                self._let_go()
                batch.begin(self._inline)
                return True
        except BatchInvalid as error:
            self._isolate(batch, error)
        self._teller.tell(BatchConflicted(self._owner, len(batch.intakes)))
        return False

    def _isolate(self, batch: Batch, error: BatchInvalid) -> None:
        """Find the message that the broker refuses: one at a time, and alone it becomes a dead
        letter.
        """
        if len(batch.intakes) > 1:
            self._singles = len(batch.intakes)
            return
        intake = batch.intakes[0]
        log.error("message %d can't be committed: %s", intake.stored.seq, error)
        for arrival in intake.arrivals:
            self._cache.drop(arrival.subject)
        intake.refuse(f"the broker refuses its commit: {error}")

    def _return(self, *batches: Batch) -> None:
        """Have the messages of failed batches decided again, in their order."""
        back = [intake for batch in batches for intake in batch.intakes]
        for intake in back:
            for arrival in intake.arrivals:
                self._cache.drop(arrival.subject)
                self._suspects.add(arrival.subject)
        self._waiting.extendleft(reversed(back))
        self._wake.set()  # nothing else may come that would have them decided again
        self._let_go()

    def _let_go(self) -> None:
        """Leave the partitions that are somebody else's."""
        for number, partition in tuple(self._partitions.items()):
            if partition.lost:
                del self._partitions[number]
                self._inline.abandon(partition)
                self._teller.tell(PartitionLeft(self._owner, number, lost=True))
                self._closing.append(asyncio.create_task(partition.shut()))
                self._on_lost(number)
