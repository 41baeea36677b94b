"""Who works on which partition: leases in the meta bucket, shared evenly among the engines that are
alive.

Safety never depends on a lease, it only saves work: a commit that moves a position expects its
revision, so two engines on one partition can't both succeed. An engine that stops hands its
partitions over in order; one that dies loses them when its leases run out on the server, which
wakes the others. Engines with older code than another stand back and hold none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from jobs.rollout import cards_in, in_front
from store.cards import EngineCard
from store.port import Entry, Meta, StoreError, Unreachable

log = logging.getLogger("snorri.engine")

LEASE_TTL_S = 5
RENEW_EVERY_S = 1.5


class Ownership:
    """Keeps one engine's heartbeat and leases, and tells it what to take and what to leave."""

    def __init__(
        self,
        meta: Meta,
        card: EngineCard,
        partitions: int,
        take: Callable[[int], Awaitable[None]],
        leave: Callable[[int], Awaitable[None]],
    ) -> None:
        self._meta = meta
        self._card = card
        self._count = partitions
        self._take = take
        self._leave = leave
        self._held: dict[int, int] = {}
        self._since: dict[int, datetime] = {}
        self._behind = False
        self._wake = asyncio.Event()

    def lost(self, number: int) -> None:
        """A partition turned out to be another's, or was moved by a late commit of this engine."""
        self._held.pop(number, None)
        self._wake.set()

    async def run(self) -> None:
        """Keep heartbeat and leases until cancelled."""
        watcher = asyncio.create_task(self._watch())
        try:
            while True:
                self._wake.clear()
                try:
                    await self._round()
                except Unreachable as error:
                    log.info("leases wait for the broker: %s", error)
                try:
                    async with asyncio.timeout(RENEW_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def hand_over(self) -> None:
        """Leave all partitions in order and give the leases back, so that others go on at once."""
        for number in tuple(self._held):
            await self._leave(number)
            revision = self._held.pop(number, None)
            try:
                await self._meta.delete(_lease(number), expect=revision)
            except Unreachable:
                log.info("the lease of partition %d will run out by itself", number)
        try:
            await self._meta.delete(f"engine.{self._card.id}")
        except Unreachable:
            log.info("the heartbeat of this engine will run out by itself")

    async def _watch(self) -> None:
        """Wake up when an engine comes or goes or a lease is given back."""
        while True:
            try:
                async for entry in self._meta.watch("lease."):
                    if entry.data is None:
                        self._wake.set()
            except Unreachable:
                await asyncio.sleep(RENEW_EVERY_S)

    async def _round(self) -> None:
        await self._beat()
        engines = await self._engines()
        leases = {entry.key: entry for entry in await self._meta.entries("lease.")}
        for number in range(self._count):
            lease = leases.get(_lease(number))
            if number in self._held:
                await self._keep(number, lease)
        for number in range(self._count):
            mine = engines[number % len(engines)] == self._card.id
            lease = leases.get(_lease(number))
            if number in self._held and not mine:
                await self._give(number)
            elif mine and number not in self._held:
                await self._get(number, lease)
            elif lease is not None and not mine and lease.data == self._card.id.encode():
                await self._meta.delete(lease.key, expect=lease.revision)  # it was left in a hurry

    async def _beat(self) -> None:
        held = tuple(sorted(self._held))
        since = {str(number): self._since[number] for number in held if number in self._since}
        card = msgspec.structs.replace(self._card, partitions=held, since=since, of=self._count)
        await self._meta.put(f"engine.{card.id}", msgspec.json.encode(card), ttl_s=LEASE_TTL_S)

    async def _engines(self) -> list[str]:
        """Who shares the partitions: engines with older code stand back.

        Raises StoreError when their number has been changed since this engine began.
        """
        cards = {card.id: card for card in cards_in(await self._meta.entries("engine."))}
        for card in tuple(cards.values()):
            if card.of in (0, self._count):  # 0: of a version that does not tell
                continue
            if card.started > self._card.started:
                raise StoreError(
                    f"the number of partitions was changed from {self._count} to {card.of}; start"
                    f" this engine again with SNORRI_PARTITIONS={card.of}"
                )
            del cards[card.id]  # it will find out by itself
        front = in_front((cards | {self._card.id: self._card}).values())
        if self._behind is not (behind := self._card.id not in front):
            self._behind = behind
            log.info("newer code runs elsewhere; this engine stands by" if behind else "in front")
        return front

    async def _keep(self, number: int, lease: Entry | None) -> None:
        mine = self._card.id.encode()
        if lease is not None and lease.data != mine:
            log.warning("partition %d is held by %s now", number, (lease.data or b"?").decode())
            self._held.pop(number)
            await self._leave(number)
            return
        expect = lease.revision if lease else 0
        revision = await self._meta.put(_lease(number), mine, ttl_s=LEASE_TTL_S, expect=expect)
        if revision is not None and number in self._held:  # it may have been lost meanwhile
            self._held[number] = revision

    async def _get(self, number: int, lease: Entry | None) -> None:
        mine = self._card.id.encode()
        if lease is not None and lease.data != mine:
            return
        expect = lease.revision if lease else 0
        revision = await self._meta.put(_lease(number), mine, ttl_s=LEASE_TTL_S, expect=expect)
        if revision is None:
            return
        self._held[number] = revision
        try:
            await self._take(number)
        except BaseException:  # the lease stays ours; the next round takes the partition again
            del self._held[number]
            raise
        self._since[number] = datetime.now(UTC)
        log.info("works on partition %d", number)

    async def _give(self, number: int) -> None:
        await self._leave(number)
        revision = self._held.pop(number, None)
        await self._meta.delete(_lease(number), expect=revision)
        log.info("handed partition %d over", number)


def _lease(number: int) -> str:
    return f"lease.{number}"
