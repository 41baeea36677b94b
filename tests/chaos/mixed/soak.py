"""``make soak``: steady load and faults that leave processes alive, for as long as one likes.

Nothing may grow: memory, file descriptors, threads, tasks and consumers of the second quarter of
the time against those of the last. Engines and the API keep a thousand instances here, so that what
they remember is full before the first figure counts. The broker keeps an index of all that is
stored and the projections its rows: their memory may grow by so many bytes for each message, and no
more.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from tests.chaos.mixed import judge
from tests.chaos.mixed.faults import KINDS, draw, strike
from tests.chaos.mixed.plan import ENGINES, WORKERS
from tests.chaos.mixed.roles import forget_ids_soon
from tests.chaos.mixed.run import come_to_rest, prove_alive
from tests.chaos.mixed.samples import BROKER, GROWTH_MAX, Sample, Trend, take, trends
from tests.chaos.mixed.scripts import make_script
from tests.chaos.mixed.site import Site, open_site
from tests.waiting import until_moment

# Who is killed begins anew, and says nothing of what grows.
GENTLE = sorted(
    kind for kind in KINDS if kind == "broker killed" or not kind.endswith(("killed", "restarted"))
)
QUIET_S = 10.0  # after a fault, before figures count
EVERY_S = 5.0
COMPLAINTS_MAX = 20
PAGE = Path(__file__).resolve().parents[3] / "docs" / "soak-report.md"
# Bytes of memory for each message that is stored. The index of nats-server took 225 for each
# subject in a try by itself, and Go lets as much again lie until it collects. The API has DuckDB's
# cache of the rows, which ends where DuckDB is told to stop; Python's own memory must not grow.
HOLDS = {("api-0", "memory MB"): 1200, (BROKER, "memory MB"): 500}
# Go makes a thread more whenever all of its are held up in calls to the system, and keeps them.
MORE = {(BROKER, "threads"): 8}

Tell = Callable[[str], None]


class Soaked(Struct, frozen=True, kw_only=True):
    """What a soak came to."""

    seed: int
    lasted_s: float
    sagas: int
    faults: int
    transitions: int
    trends: list[Trend]
    complaints: list[judge.Complaint]

    @property
    def grown(self) -> list[Trend]:
        """What has grown by more than it may."""
        return [one for one in self.trends if one.measure != "messages" and not self._fits(one)]

    @property
    def stored(self) -> float:
        """How many messages more were stored late than early."""
        return sum(one.late - one.early for one in self.trends if one.measure == "messages")

    def for_each(self, one: Trend) -> float:
        """By how many bytes memory has grown for each message that was stored meanwhile."""
        return (one.late - one.early) * 2**20 / self.stored if self.stored else 0.0

    def _fits(self, one: Trend) -> bool:
        name = (one.who, one.measure)
        allowed = HOLDS.get(name, 0) * self.stored / 2**20 + MORE.get(name, 0)
        return one.flat or one.late - one.early <= GROWTH_MAX * one.early + allowed


async def soak(
    seed: int, home: Path, *, lasts_s: float, per_s: float, fault_every_s: float, tell: Tell
) -> Soaked:
    """Load of ``per_s`` sagas a second and a fault every so often, then the judge."""
    chance = random.Random(seed)
    async with open_site(home, engines=ENGINES, workers=WORKERS) as site:
        begun_s = time.monotonic()
        load = _Load(site, chance, per_s)
        loading = asyncio.create_task(load.run(begun_s + lasts_s))
        samples: list[Sample] = []
        faults = 0
        try:
            while (now_s := time.monotonic()) < begun_s + lasts_s:
                ends_s = min(now_s + fault_every_s, begun_s + lasts_s)
                samples += await _watch(site, begun_s, ends_s)
                _say(tell, samples, begun_s)
                if ends_s < begun_s + lasts_s:
                    await _trouble(site, chance, faults, tell)
                    faults += 1
            await loading
        finally:
            loading.cancel()
            await load.end()
        await come_to_rest(site)
        backend, names = site.direct, site.world.names
        evidence = await judge.gather(backend, names, site.client.oplog.path, site.world.ledger)
        return Soaked(
            seed=seed,
            lasted_s=lasts_s,
            sagas=load.begun,
            faults=faults,
            transitions=sum(len(history) for history in evidence.decided.values()),
            trends=trends(samples, lasts_s),
            complaints=judge.judge(evidence),
        )


class _Load:
    """Sagas that begin at a steady rate, and readers."""

    def __init__(self, site: Site, chance: random.Random, per_s: float) -> None:
        self._client = site.client
        self._chance = chance
        self._per_s = per_s
        self._playing: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(site.client.read_on(random.Random(0)))
        self.begun = 0

    async def run(self, until_s: float) -> None:
        """Begin sagas until then, and wait until all of theirs is published."""
        numbers = itertools.count()
        next_s = time.monotonic()
        while next_s < until_s:
            script = make_script(next(numbers), self._chance, 0.0)
            task = asyncio.create_task(self._client.play([script], next_s))
            self._playing.add(task)
            task.add_done_callback(self._done)
            self.begun += 1
            next_s += 1 / self._per_s
            await until_moment(next_s)
        while self._playing:
            await asyncio.wait(set(self._playing))

    async def end(self) -> None:
        """Stop whatever still goes on."""
        tasks = [self._reading, *self._playing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._playing.discard(task)


async def _watch(site: Site, begun_s: float, until_s: float) -> list[Sample]:
    """Figures of a quiet time."""
    found: list[Sample] = []
    next_s = time.monotonic() + QUIET_S
    while next_s < until_s:
        await until_moment(next_s)
        found += await take(site, next_s - begun_s)
        next_s = max(next_s + EVERY_S, time.monotonic())
    await until_moment(until_s)
    return found


async def _trouble(site: Site, chance: random.Random, number: int, tell: Tell) -> None:
    fault = draw(chance.choice(GENTLE), chance, engines=ENGINES, workers=WORKERS)
    tell(f"{number + 1:4} {fault.kind}")
    await strike(site, fault)
    dead = site.dead()
    assert not dead, "\n".join(dead)
    await prove_alive(site, number)


def _say(tell: Tell, samples: list[Sample], begun_s: float) -> None:
    """The last memory of each process."""
    last = {one.who: one.value for one in samples if one.measure == "memory MB"}
    figures = ", ".join(f"{who} {value:.0f}" for who, value in last.items())
    tell(f"{(time.monotonic() - begun_s) / 60:5.1f} min, MB: {figures}")


def main() -> int:
    """Run as the arguments say; 1 when something has grown or did not hold."""
    arguments = _arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"--seed {seed} --minutes {arguments.minutes:g} --rate {arguments.rate:g}", flush=True)
    forget_ids_soon()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soaked = asyncio.run(
            soak(
                seed,
                Path(folder),
                lasts_s=arguments.minutes * 60,
                per_s=arguments.rate,
                fault_every_s=arguments.every,
                tell=lambda line: print(line, flush=True),
            )
        )
    print("\n".join(lines_of(soaked)))
    if arguments.report:
        PAGE.write_text(render(soaked), encoding="utf-8")
        print(f"written: {PAGE}")
    return 1 if soaked.grown or soaked.complaints else 0


def lines_of(soaked: Soaked) -> Iterator[str]:
    """What came of it, as Markdown, and what did not hold."""
    yield (
        f"{soaked.sagas:,} sagas, {soaked.transitions:,} transitions and {soaked.faults} faults in"
        f" {soaked.lasted_s / 60:.0f} minutes; {len(soaked.complaints)} complaints of the judge."
    )
    yield ""
    yield "| process | figure | second quarter | last quarter | growth |"
    yield "|---|---|---:|---:|---:|"
    for one in soaked.trends:
        told = " (what is stored)" if one.measure == "messages" else ""
        if (one.who, one.measure) in HOLDS:
            told = f" ({soaked.for_each(one):.0f} bytes for each message stored)"
        told = f"{told} (grown)" if one in soaked.grown else told
        yield (
            f"| {one.who} | {one.measure} | {one.early:.4g} | {one.late:.4g}"
            f" | {one.growth:+.1%}{told} |"
        )
    yield ""
    for complaint in soaked.complaints[:COMPLAINTS_MAX]:
        yield f"{complaint.fault}: {complaint.what}"


def render(soaked: Soaked) -> str:
    """The page of a soak."""
    minutes = soaked.lasted_s / 60
    api, broker = (HOLDS[who, "memory MB"] for who in ("api-0", BROKER))
    return "\n".join(
        (
            "# A soak",
            "",
            "Written by `make soak`; the figures are of one real run. What is judged, and how, is"
            " as in [the run under faults](chaos-report.md).",
            "",
            f'    make soak ARGS="--minutes {minutes:g} --seed {soaked.seed} --report"',
            "",
            "Steady load on a broker that syncs every write, two engines, two workers and an API;"
            " each minute a fault that",
            "leaves the processes alive, drawn by the seed. Compared are medians of quiet times:"
            " those of the second quarter",
            f"with those of the last. Nothing may grow by more than {GROWTH_MAX:.0%}.",
            "",
            *lines_of(soaked),
            "Engines and the API remember a thousand instances here, so that this is full before it"
            " is first measured. Of threads the",
            "broker may have 8 more, which Go makes and keeps. *Objects* are blocks of memory that"
            " Python has given out. The broker",
            "keeps an index of all subjects, the API DuckDB's cache of rows: these two may grow",
            f"by {broker} and {api} bytes for each message that is stored (events, transitions,"
            " commands, results), beside the 5%.",
            "",
        )
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description="Steady load; nothing grows.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--rate", type=float, default=8.0, help="sagas a second (8)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between faults (60)")
    parser.add_argument("--seed", type=int, help="repeats load and faults")
    parser.add_argument("--report", action="store_true", help="write docs/soak-report.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
