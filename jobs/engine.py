"""The engine: a service that owns partitions and runs the lane over them.

Any number may run at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable

import msgspec

from jobs.cache import Cache
from jobs.inline import InlineSteps
from jobs.lane import Lane
from jobs.ownership import Ownership
from jobs.rollout import new_card
from jobs.schedules import Schedules
from jobs.telemetry import Hook
from sagas.definition import Registry, SagaDefinition
from sagas.names import escape
from sagas.schemas import message_schemas
from store.broker_clock import Clock, utc_now
from store.cards import KeyRule, SagaCard, key_rule_of, made_of, parts_of
from store.port import Backend, StoreError
from store.subjects import Names

log = logging.getLogger("snorri.engine")

STOP_GRACE_S = 8.0


class Engine:
    """Decides and commits for the partitions it holds; start, stop and wait as every service."""

    name = "engine"

    def __init__(
        self,
        backend: Backend,
        names: Names,
        registry: Registry,
        *,
        engine_id: str = "",
        cache: Cache | None = None,
        hook: Hook | None = None,
        secret_fields: Iterable[str] = (),
        inline: InlineSteps | None = None,
        now: Clock = utc_now,
    ) -> None:
        """``secret_fields`` are names of secret fields beside those that the definitions mark;
        ``inline`` are the steps that a worker of this process carries out for it. ``now`` (UTC)
        has to be the broker's time, where the clock of the machine may be another.
        """
        self.id = engine_id or f"{escape(socket.gethostname())}-{os.getpid()}"
        self._backend = backend
        self._names = names
        self._registry = registry
        self._lane = Lane(
            *(backend, names, registry, self.id),
            cache=cache,
            hook=hook,
            clock=now,
            secret_fields=secret_fields,
            inline=inline,
        )
        self._lane.on_lost(self._lost)
        self._schedules = Schedules(backend, names)
        card = new_card(self.id, socket.gethostname(), os.getpid(), registry)
        self._ownership = Ownership(
            backend.meta, card, backend.partitions, self._lane.acquire, self._lane.release
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._stopped = asyncio.Event()

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions it works on now."""
        return self._lane.partitions

    @property
    def waiting(self) -> int:
        """Messages that are stored for its partitions and not decided, as far as it knows."""
        return self._lane.waiting

    async def start(self) -> None:
        """Register the definitions and begin; returns when the lane runs. Raises StoreError."""
        for definition in self._registry:
            _check_durability(definition, self._backend.replicas)
        for definition in self._registry:
            await self._register(definition)
            await self._schedules.keep(definition)
        self._tasks = [
            asyncio.create_task(self._lane.run(), name="lane"),
            asyncio.create_task(self._ownership.run(), name="ownership"),
        ]

    async def stop(self) -> None:
        """Finish the commit that is on its way, hand the partitions over, end.

        A second call waits for the first. When the broker is away for longer than STOP_GRACE_S, it
        ends all the same: what is not committed is read again by whoever comes next.
        """
        if self._stopping:
            await self._stopped.wait()
        if not self._tasks:
            return
        self._stopping = True
        lane, ownership = self._tasks
        self._tasks = []
        while not ownership.done():  # a cancellation can be swallowed in a library's wait_for
            ownership.cancel()
            await asyncio.wait({ownership}, timeout=1.0)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                if not lane.done():
                    await self._ownership.hand_over()
                self._lane.stop()
                await asyncio.wait({lane})
        except TimeoutError:
            log.warning("the broker is away; partitions are taken over when the leases run out")
            lane.cancel()
        finally:
            await asyncio.gather(lane, return_exceptions=True)
            self._stopped.set()

    async def wait(self) -> None:
        """Return after ``stop``; raise what ended the engine otherwise."""
        stopped = asyncio.create_task(self._stopped.wait())
        done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._stopping:
            await self._stopped.wait()
            return
        for task in done:
            if task is not stopped and not task.cancelled():
                task.result()

    def _lost(self, number: int) -> None:
        self._ownership.lost(number)

    async def _register(self, definition: SagaDefinition) -> None:
        rules = {
            type: key_rule_of(definition.correlations.get(type, definition.correlation))
            for type in definition.handlers
        }
        start = rules[definition.starting[0]] if definition.starting else KeyRule()
        card = SagaCard(
            id=definition.id,
            name=definition.name,
            description=definition.description,
            topic=definition.topic,
            tags=definition.tags,
            types=tuple(definition.handlers),
            starting=definition.starting,
            signals=tuple(definition.signals),
            queries=tuple(definition.queries),
            compensations=tuple(definition.compensations),
            durability=definition.durability,
            hash=definition.hash,
            cron=definition.cron.expression if definition.cron else "",
            key_rule=start.rule,
            key_path=start.path,
            key_rules={type: rule for type, rule in rules.items() if rule != start},
            secrets=definition.secrets,
            time_zone=definition.cron.time_zone if definition.cron else "",
            retention=definition.retention,
            on_unknown=definition.on_unknown,
            concurrency=definition.concurrency.limit if definition.concurrency else 0,
            schemas=message_schemas(definition),
            made_of=made_of(definition.program),
            parts=parts_of(definition.program),
            version=definition.version,
        )
        await self._backend.meta.put(f"saga.{escape(definition.id)}", msgspec.json.encode(card))


def _check_durability(definition: SagaDefinition, replicas: int) -> None:
    """Refuse a saga that was promised more copies than the bucket has; raises StoreError."""
    if definition.durability == "t3":
        raise StoreError(
            f"{definition.id} asks for durability t3, three replicas and an archive that"
            " confirms each commit; no archive does that yet: ask for t2"
        )
    if definition.durability == "t2" and replicas < 3:
        raise StoreError(
            f"{definition.id} asks for durability t2, the bucket has {replicas} replica(s); make it"
            " on a cluster with SNORRI_REPLICAS=3, or ask for t1"
        )
