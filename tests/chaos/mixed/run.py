"""A mixed run: its rounds one after the other, proof of life after each, then the judge."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from sagas.instance import decode
from store.port import StoreError
from tests.chaos.app import GOOD
from tests.chaos.mixed import judge
from tests.chaos.mixed.faults import strike
from tests.chaos.mixed.plan import ENGINES, WORKERS, Plan, Round
from tests.chaos.mixed.scripts import Message
from tests.chaos.mixed.site import Site, open_site
from tests.chaos.mixed.times import Recovery, recoveries
from tests.waiting import eventually, until_moment

PROBES = 4  # orders that must complete after each fault
ALIVE_S = 60.0
REST_S = 120.0

Tell = Callable[[str], None]


class Outcome(Struct, frozen=True, kw_only=True):
    """What a run came to."""

    plan: Plan
    evidence: judge.Evidence
    complaints: list[judge.Complaint]
    recoveries: list[Recovery]
    instances: int
    transitions: int
    events: int
    unknown: int
    job_runs: int
    effects: int
    took_s: float
    busy: float  # load average of the machine, five minutes


async def run(plan: Plan, home: Path, tell: Tell = lambda line: None) -> Outcome:
    """Carry out a plan in ``home``, which is empty; fails when the system does not come to rest."""
    begun_s = time.monotonic()
    async with open_site(home, engines=ENGINES, workers=WORKERS) as site:
        readers = [
            asyncio.create_task(site.client.read_on(random.Random(plan.seed + number)))
            for number in range(2)
        ]
        playing: list[asyncio.Task[None]] = []
        try:
            for round in plan.rounds:
                playing.append(await _round(site, round, tell))
            await asyncio.gather(*playing)
        finally:
            for task in (*readers, *playing):
                task.cancel()
            await asyncio.gather(*readers, *playing, return_exceptions=True)
        await come_to_rest(site)
        return await _judge(site, plan, time.monotonic() - begun_s)


async def _round(site: Site, round: Round, tell: Tell) -> asyncio.Task[None]:
    """One fault under load, and proof that all goes on; what is still being published."""
    begun_s, fault = time.monotonic(), round.fault
    playing = asyncio.create_task(site.client.play(round.scripts, begun_s))
    await until_moment(begun_s + round.strike_s)
    oplog = site.client.oplog
    struck_ns = oplog.write("strike", number=round.number, word=fault.kind)
    await strike(site, fault)
    healed_ns = oplog.write("heal", number=round.number, word=fault.kind)
    dead = site.dead()
    assert not dead, "\n".join(dead)
    await prove_alive(site, round.number)
    alive_ns = oplog.write("alive", number=round.number, word=fault.kind)
    tell(
        f"{round.number + 1:4} {fault.kind}"
        f"{f' {fault.victim}' if fault.victim else ''}: {(healed_ns - struck_ns) / 1e9:.1f} s,"
        f" orders complete {(alive_ns - healed_ns) / 1e9:.1f} s later"
    )
    return playing


async def prove_alive(site: Site, number: int) -> None:
    """Orders that are placed now are completed soon, over all partitions."""
    backend, names = site.direct, site.world.names
    keys = [f"p-{number}-{n}0" for n in range(PROBES)]
    await asyncio.gather(
        *(
            site.client.publish(
                "ChaosOrder",
                Message(
                    type="OrderCreated",
                    key=key,
                    id=f"OrderCreated-{key}",
                    payload={"order": key, "fate": GOOD},
                ),
            )
            for key in keys
        )
    )
    subjects = [names.instance("ChaosOrder", key) for key in keys]

    async def completed() -> bool:
        try:
            found = await backend.log.load(subjects)
        except StoreError:
            return False
        return len(found) == len(subjects) and all(
            decode(stored.data).status == "completed" for stored in found.values()
        )

    await eventually(completed, ALIVE_S, f"orders being completed after fault {number + 1}")


async def come_to_rest(site: Site) -> None:
    """Until every instance has ended; those that do not are what the judge calls stuck."""
    backend, names = site.direct, site.world.names
    deadline_s = time.monotonic() + REST_S
    while time.monotonic() < deadline_s:
        last = [decode(m.data) async for m in backend.log.latest(names.instances())]
        if all(judge.ended(one.saga, one) for one in last):
            return
        await until_moment(time.monotonic() + 0.5)


async def _judge(site: Site, plan: Plan, took_s: float) -> Outcome:
    backend, names, home = site.direct, site.world.names, site.world.home
    evidence = await judge.gather(backend, names, site.client.oplog.path, site.world.ledger)
    await site.api.process.end()
    complaints = judge.judge(evidence)
    complaints += await judge.projection_complaints(backend, names, home)
    decided = evidence.decided
    return Outcome(
        plan=plan,
        evidence=evidence,
        complaints=complaints,
        recoveries=recoveries(evidence),
        instances=len(decided),
        transitions=sum(len(history) for history in decided.values()),
        events=sum(1 for entry in evidence.entries if entry.did == "ok"),
        unknown=sum(1 for entry in evidence.entries if entry.did == "unknown"),
        job_runs=len(site.world.ledger.read_text().splitlines()),
        effects=sum(len(done) for done in evidence.ledger.values()),
        took_s=took_s,
        busy=os.getloadavg()[1],
    )
