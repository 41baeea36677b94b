"""The faults of a mixed run: what each is, and how it is made.

Each strikes one installation, lasts, and is healed before its function returns. What is drawn by
chance (whom it strikes, how long it lasts) is drawn in the plan, so that a seed repeats it.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct

from tests.chaos.mixed.site import Site, Unit
from tests.waiting import until_moment


class Fault(Struct, frozen=True, kw_only=True):
    """One fault: its kind, the number of its victim, how long it lasts, and its own chance."""

    kind: str
    victim: int = 0
    hold_s: float = 0.0
    seed: int = 0


Strike: TypeAlias = Callable[[Site, Fault], Awaitable[None]]


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of fault, in words, and how long it lasts (seconds, at least and at most)."""

    what: str
    how: str
    lasts_s: tuple[float, float]
    strike: Strike
    of: str = ""  # engine, worker: who is the victim


async def _hold(fault: Fault) -> None:
    await until_moment(time.monotonic() + fault.hold_s)


def _unit(site: Site, fault: Fault) -> Unit:
    units = site.engines if KINDS[fault.kind].of == "engine" else site.workers
    return units[fault.victim]


async def _kill_unit(site: Site, fault: Fault) -> None:
    await _kill(fault, [_unit(site, fault)])


async def _kill_engines(site: Site, fault: Fault) -> None:
    await _kill(fault, site.engines)


async def _kill_workers(site: Site, fault: Fault) -> None:
    await _kill(fault, site.workers)


async def _kill_api(site: Site, fault: Fault) -> None:
    await _kill(fault, [site.api])


async def _kill(fault: Fault, units: list[Unit]) -> None:
    await asyncio.gather(*(unit.process.end() for unit in units))
    await _hold(fault)
    await asyncio.gather(*(unit.start() for unit in units))


async def _kill_broker(site: Site, fault: Fault) -> None:
    await site.world.server.kill()
    await _hold(fault)
    await site.world.server.restart()


async def _kill_all(site: Site, fault: Fault) -> None:
    await asyncio.gather(site.world.server.kill(), *(unit.process.end() for unit in site.units))
    await _hold(fault)
    await site.world.server.restart()
    await asyncio.gather(*(unit.start() for unit in site.units))


async def _end_in_order(site: Site, fault: Fault) -> None:
    unit = _unit(site, fault)
    code = await unit.process.end(signal.SIGTERM)
    assert code == 0, f"an orderly stop ended with {code}:\n{unit.process.words()}"
    await unit.start()


async def _stop_unit(site: Site, fault: Fault) -> None:
    await _stop(fault, _unit(site, fault).process.send)


async def _stop_api(site: Site, fault: Fault) -> None:
    await _stop(fault, site.api.process.send)


async def _stop_broker(site: Site, fault: Fault) -> None:
    await _stop(fault, site.signal_broker)


async def _stop(fault: Fault, send: Callable[[signal.Signals], None]) -> None:
    send(signal.SIGSTOP)
    try:
        await _hold(fault)
    finally:
        send(signal.SIGCONT)


async def _cut(site: Site, fault: Fault) -> None:
    line = _unit(site, fault).line
    line.cut()
    await _hold(fault)
    line.heal()


async def _cut_publisher(site: Site, fault: Fault) -> None:
    site.door.cut()
    await _hold(fault)
    site.door.heal()


async def _hold_line(site: Site, fault: Fault) -> None:
    line = _unit(site, fault).line
    line.hold()
    await _hold(fault)
    line.heal()


async def _reset_all(site: Site, fault: Fault) -> None:
    chance = random.Random(fault.seed)
    end_s = time.monotonic() + fault.hold_s
    while time.monotonic() < end_s:
        for line in site.lines:
            line.cut(refuse=False)
        await until_moment(time.monotonic() + chance.uniform(0.5, 1.0))


async def _slow(site: Site, fault: Fault) -> None:
    chance = random.Random(fault.seed)
    for line in site.lines:
        line.delay(chance, 0.1, 0.3)
    await _hold(fault)
    for line in site.lines:
        line.heal()


async def _lose_commits(site: Site, fault: Fault) -> None:
    await _lose(fault, site, b'{"stream":"KV_SAGA"')


async def _lose_receipts(site: Site, fault: Fault) -> None:
    await _lose(fault, site, b'{"stream":"SAGA_EVENTS"')


async def _lose(fault: Fault, site: Site, begins: bytes) -> None:
    chance = random.Random(fault.seed)

    def lose(subject: bytes, payload: bytes) -> bool:
        return payload.startswith(begins) and chance.random() < 0.1

    for line in site.lines:
        line.lose(lose)
    await _hold(fault)
    for line in site.lines:
        line.heal()


async def _repeat(site: Site, fault: Fault) -> None:
    await site.client.repeat(random.Random(fault.seed))


KINDS: dict[str, Kind] = {
    "engine killed": Kind(
        what="an engine dies",
        how="kill -9, started again after up to 3 s",
        lasts_s=(0.0, 3.0),
        strike=_kill_unit,
        of="engine",
    ),
    "engines killed": Kind(
        what="all engines die",
        how="kill -9 of all at once, started again after up to 2 s",
        lasts_s=(0.0, 2.0),
        strike=_kill_engines,
    ),
    "engine restarted": Kind(
        what="an engine is restarted in order",
        how="SIGTERM, which must end with 0, then a start",
        lasts_s=(0.0, 0.0),
        strike=_end_in_order,
        of="engine",
    ),
    "engine asleep": Kind(
        what="an engine sleeps, longer than its leases or shorter",
        how="SIGSTOP for 2 to 9 s, SIGCONT",
        lasts_s=(2.0, 9.0),
        strike=_stop_unit,
        of="engine",
    ),
    "engine cut off": Kind(
        what="an engine is cut off",
        how="its connections are reset and refused for up to 4 s",
        lasts_s=(0.5, 4.0),
        strike=_cut,
        of="engine",
    ),
    "engine's line held": Kind(
        what="an engine's connection is half open",
        how="nothing arrives in either direction for 4 to 12 s, then everything does",
        lasts_s=(4.0, 12.0),
        strike=_hold_line,
        of="engine",
    ),
    "worker killed": Kind(
        what="a worker dies",
        how="kill -9, started again after up to 3 s",
        lasts_s=(0.0, 3.0),
        strike=_kill_unit,
        of="worker",
    ),
    "workers killed": Kind(
        what="all workers die",
        how="kill -9 of all at once, started again after up to 2 s",
        lasts_s=(0.0, 2.0),
        strike=_kill_workers,
    ),
    "worker restarted": Kind(
        what="a worker is restarted in order",
        how="SIGTERM, which must end with 0, then a start",
        lasts_s=(0.0, 0.0),
        strike=_end_in_order,
        of="worker",
    ),
    "worker asleep": Kind(
        what="a worker sleeps longer than its commands wait for an answer",
        how="SIGSTOP for 3 to 6 s, SIGCONT",
        lasts_s=(3.0, 6.0),
        strike=_stop_unit,
        of="worker",
    ),
    "worker cut off": Kind(
        what="a worker is cut off",
        how="its connections are reset and refused for up to 4 s",
        lasts_s=(0.5, 4.0),
        strike=_cut,
        of="worker",
    ),
    "worker's line held": Kind(
        what="a worker's connection is half open",
        how="nothing arrives in either direction for 3 to 8 s, then everything does",
        lasts_s=(3.0, 8.0),
        strike=_hold_line,
        of="worker",
    ),
    "broker killed": Kind(
        what="the broker dies",
        how="kill -9 and a start on the same directory",
        lasts_s=(0.0, 0.0),
        strike=_kill_broker,
    ),
    "broker asleep": Kind(
        what="the broker sleeps",
        how="SIGSTOP for 1 to 5 s, SIGCONT",
        lasts_s=(1.0, 5.0),
        strike=_stop_broker,
    ),
    "everything killed": Kind(
        what="the power goes, the disk stays",
        how="kill -9 of broker, engines, workers and API at once; all are started again",
        lasts_s=(0.0, 1.0),
        strike=_kill_all,
    ),
    "API killed": Kind(
        what="the API dies",
        how="kill -9, started again at once on the same projections",
        lasts_s=(0.0, 0.0),
        strike=_kill_api,
    ),
    "API asleep": Kind(
        what="the API sleeps",
        how="SIGSTOP for 1 to 4 s, SIGCONT",
        lasts_s=(1.0, 4.0),
        strike=_stop_api,
    ),
    "publisher cut off": Kind(
        what="a publisher is cut off",
        how="its connection is reset and refused for up to 3 s",
        lasts_s=(0.5, 3.0),
        strike=_cut_publisher,
    ),
    "connections reset": Kind(
        what="a storm of reconnects",
        how="all connections of all are reset every 0.5 to 1 s, for 4 to 6 s",
        lasts_s=(4.0, 6.0),
        strike=_reset_all,
    ),
    "slow network": Kind(
        what="a slow network",
        how="everything takes 100 to 300 ms longer in each direction, for 3 to 6 s",
        lasts_s=(3.0, 6.0),
        strike=_slow,
    ),
    "commits unanswered": Kind(
        what="answers to commits are lost",
        how="one acknowledgement of the log in ten never arrives, for 3 to 6 s",
        lasts_s=(3.0, 6.0),
        strike=_lose_commits,
    ),
    "receipts lost": Kind(
        what="answers to publishers and workers are lost",
        how="one acknowledgement of an event in ten never arrives, for 3 to 6 s",
        lasts_s=(3.0, 6.0),
        strike=_lose_receipts,
    ),
    "sent again": Kind(
        what="events arrive again, out of order",
        how="200 events of the last minutes, shuffled, under their ids, which the broker forgot",
        lasts_s=(0.0, 0.0),
        strike=_repeat,
    ),
}


def draw(kind: str, chance: random.Random, *, engines: int, workers: int) -> Fault:
    """A fault of a kind: its victim and how long it lasts, by chance."""
    least_s, most_s = KINDS[kind].lasts_s
    count = {"engine": engines, "worker": workers}.get(KINDS[kind].of, 1)
    return Fault(
        kind=kind,
        victim=chance.randrange(count),
        hold_s=round(chance.uniform(least_s, most_s), 2),
        seed=chance.randrange(2**32),
    )


async def strike(site: Site, fault: Fault) -> None:
    """Make it, let it last, and heal it."""
    await KINDS[fault.kind].strike(site, fault)
