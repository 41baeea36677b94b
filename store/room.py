"""Room on the disk: when nine tenths of it are used, new sagas are refused, and running ones end.

A full store stops everything, also what would make room. So whoever can measure it says in the
meta bucket that it is nearly full, for a time, and everyone who publishes or starts looks there now
and then. Nothing has to be done when there is room again: the word is taken back, or runs out.

Events of types that start sagas are refused, and starts by hand. What answers a command, wakes a
timer or goes on with an instance is taken. Events that are published without Snorri are taken, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from store.cards import saga_cards
from store.life import Life
from store.port import Meta, Refused, StoreError

log = logging.getLogger("snorri.room")

FULL = 0.90
AGAIN = 0.88  # below this there is room again, so that it does not flutter
KEY = "room"
TTL_S = 30
SAY_S = 5.0
MEASURE_S = 1.0
LOOK_S = 2.0
LOOK_TIMEOUT_S = 0.5


class Usage(Struct, frozen=True):
    """Bytes that are used, of those that may be."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """How much of it is used, 0 to 1 and more."""
        return self.used / self.limit if self.limit > 0 else 0.0


class NearlyFull(Struct, frozen=True, kw_only=True):
    """What stands in the meta bucket while new sagas are refused; ``starting`` are event types."""

    used: int
    limit: int
    starting: tuple[str, ...]
    v: int = 1

    @property
    def words(self) -> str:
        """For people and programs that are refused."""
        share = Usage(self.used, self.limit).share
        return (
            f"new sagas are refused: {share:.0%} of the store are used ({self.used / 1e6:.0f} of "
            f"{self.limit / 1e6:.0f} MB). Running ones go on; make room or raise the budget "
            "(SNORRI_STORE_BYTES_MAX), then it goes on by itself"
        )


Measure = Callable[[], Awaitable[Usage | None]]  # None: it is not known


class RoomReader:
    """Knows whether new sagas are refused, as of some seconds ago at most."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._known: NearlyFull | None = None
        self._asked_s = -LOOK_S
        self._denied = False
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> NearlyFull | None:
        """What is said now, None when there is room or nobody can say; never raises."""
        now_s = asyncio.get_running_loop().time()
        if self._denied or now_s - self._asked_s < LOOK_S:
            return self._known
        self._asked_s = now_s
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                entry = await self._meta.get(KEY)
            found = entry is not None and entry.data
            self._known = msgspec.json.decode(found, type=NearlyFull) if found else None
        except Refused:
            self._denied = True  # whoever may only publish is taken at its word
        except (StoreError, TimeoutError, msgspec.MsgspecError) as error:
            log.debug("whether there is room is not known: %s", error)
        return self._known

    def glance(self) -> NearlyFull | None:
        """What was known when it was last looked; a new look is begun behind it when that is long
        ago. Costs nothing, within an event loop.
        """
        now_s = asyncio.get_running_loop().time()
        looking = self._looking is not None and not self._looking.done()
        if not looking and now_s - self._asked_s >= LOOK_S:
            self._looking = asyncio.create_task(self._behind(), name="a look at the room")
        return self._known

    async def _behind(self) -> None:
        await self.look()

    async def refusal(self, type: str | None = None) -> str:
        """Why an event of a type, or a start by hand (None), is refused; empty when it is not."""
        full = await self.look()
        if full is None or (type is not None and type not in full.starting):
            return ""
        return full.words


class RoomWatch:
    """Measures and says so; a service like the others. Any number may watch the same store."""

    name = "room on the disk"

    def __init__(self, meta: Meta, measure: Measure, every_s: float = MEASURE_S) -> None:
        self._meta = meta
        self._measure = measure
        self._every_s = every_s
        self._full = False
        self._said_s = 0.0
        self._life = Life()

    async def start(self) -> None:
        """Begin to watch."""
        self._life.begin(self._run(), self.name)

    async def stop(self) -> None:
        """End; what was said runs out by itself."""
        await self._life.stop()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._life.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._round()
            except Refused as error:
                log.info("room is measured by others, this user may not: %s", error)
                return
            except (StoreError, OSError) as error:
                log.debug("room can't be measured now: %s", error)
            await asyncio.sleep(self._every_s)

    async def _round(self) -> None:
        usage = await self._measure()
        share = usage.share if usage is not None else 0.0
        was, self._full = self._full, share >= (AGAIN if self._full else FULL)
        now_s = asyncio.get_running_loop().time()
        if self._full and usage is not None:
            if was and now_s - self._said_s < SAY_S:
                return
            self._said_s = now_s
            cards = await saga_cards(self._meta)
            starting = tuple(sorted({type for card in cards for type in card.starting}))
            full = NearlyFull(used=usage.used, limit=usage.limit, starting=starting)
            await self._meta.put(KEY, msgspec.json.encode(full), ttl_s=TTL_S)
            if not was:
                log.error("%s", full.words)
        elif was:
            await self._meta.delete(KEY)
            log.warning("there is room again (%.0f %% used); new sagas are taken", share * 100)
