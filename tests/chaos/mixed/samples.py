"""What processes use, sampled from outside, and whether that stays as it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, get_args

import nats
from msgspec import Struct

from store.subjects import Names
from tests.chaos.mixed.roles import counts_file
from tests.chaos.mixed.site import Site
from tests.waiting import eventually

Measure: TypeAlias = Literal[
    "memory MB", "objects", "file descriptors", "threads", "tasks", "consumers", "messages"
]

GROWTH_MAX = 0.05
SLACK = 2.0  # connections and files of the moment; a leak is more than that
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
ANSWER_S = 15.0  # of a process that is asked by a signal, on a busy machine
BROKER = "broker"


class Sample(Struct, frozen=True, kw_only=True):
    """One figure of one process, ``at_s`` seconds after the beginning."""

    at_s: float
    who: str
    measure: Measure
    value: float


class Trend(Struct, frozen=True, kw_only=True):
    """A figure's median early, in the second quarter of a run, and late, in the last one."""

    who: str
    measure: Measure
    early: float
    late: float

    @property
    def growth(self) -> float:
        """How much more it is late than early, as a part of early."""
        return (self.late - self.early) / self.early if self.early else 0.0

    @property
    def flat(self) -> bool:
        """Whether it has not grown by more than is allowed."""
        return self.late - self.early <= max(GROWTH_MAX * self.early, self._slack)

    @property
    def _slack(self) -> float:
        return 0.0 if self.measure == "memory MB" else SLACK


async def take(site: Site, at_s: float) -> list[Sample]:
    """Figures of all processes, now."""
    found: list[Sample] = []

    def add(who: str, measure: Measure, value: float) -> None:
        found.append(Sample(at_s=at_s, who=who, measure=measure, value=value))

    for unit in site.units:
        pid = unit.process.pid
        _usage(add, unit.name, pid)
        tasks, objects = await _counts(pid, site.world.home)
        add(unit.name, "tasks", tasks)
        add(unit.name, "objects", objects)
    _usage(add, BROKER, site.world.server.pid)
    consumers, messages = await _held(site.world.server.url, site.world.names)
    add(BROKER, "consumers", consumers)
    add(BROKER, "messages", messages)
    return found


def _usage(add, who: str, pid: int) -> None:
    process = Path(f"/proc/{pid}")
    resident = int((process / "statm").read_text().split()[1])
    add(who, "memory MB", resident * PAGE_BYTES / 2**20)
    add(who, "file descriptors", len(os.listdir(process / "fd")))
    add(who, "threads", len(os.listdir(process / "task")))


async def _counts(pid: int, home: Path) -> tuple[int, int]:
    """How many asyncio tasks and blocks of Python's memory a process has, as it says when it is
    asked by a signal.
    """
    file = counts_file(pid, home)
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    await eventually(file.exists, ANSWER_S, "what it counts")
    tasks, objects = file.read_text().split()
    return int(tasks), int(objects)


async def _held(url: str, names: Names) -> tuple[int, int]:
    """All consumers and all messages of all our streams."""
    client = await nats.connect(url)
    try:
        streams = (names.events_stream, names.log_stream, names.meta_stream)
        states = [(await client.jetstream().stream_info(stream)).state for stream in streams]
        return sum(one.consumer_count for one in states), sum(one.messages for one in states)
    finally:
        await client.close()


def trends(samples: Iterable[Sample], lasted_s: float) -> list[Trend]:
    """How each figure of each process went over a run of so many seconds."""
    early: dict[tuple[str, Measure], list[float]] = {}
    late: dict[tuple[str, Measure], list[float]] = {}
    for sample in samples:
        part = sample.at_s / lasted_s
        into = early if 0.25 <= part < 0.5 else late if part >= 0.75 else None
        if into is not None:
            into.setdefault((sample.who, sample.measure), []).append(sample.value)
    order = get_args(Measure)
    return [
        Trend(who=who, measure=measure, early=median(values), late=median(late[who, measure]))
        for (who, measure), values in sorted(
            early.items(), key=lambda item: (order.index(item[0][1]), item[0][0])
        )
        if (who, measure) in late
    ]
