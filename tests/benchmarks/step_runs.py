"""Runs of three steps, one in ten failing at the third and undoing two: carried out by the engine's
own process, or by workers, beside what the broker alone needs for as many writes.
"""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct

from store.jetstream.backend import connect
from tests.benchmarks.closed_loop import Load, closed_loop
from tests.benchmarks.measure import fresh_names, role
from tests.benchmarks.step_app import RUN, input_of

RUNS = Load(
    saga=RUN,
    event=RUN,
    payload=lambda key, number: input_of(number),
    ends=(b'"status":"completed"', b'"status":"compensated"'),
)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class RunFigures(Struct, frozen=True):
    """Runs a second, how long one took (ms), processor time of a run (ms): of our processes, of the
    broker and of the client.
    """

    in_flight: int
    per_s: float
    p50_ms: float
    p99_ms: float
    ours_ms: float
    broker_ms: float
    client_ms: float


async def step_runs(
    url: str, broker_pid: int, total: int, in_flight: int, roles: tuple[str, ...]
) -> RunFigures:
    """``total`` runs, ``in_flight`` at a time, with a process for each of ``roles``."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        async with AsyncExitStack() as stack:
            ours = [(await stack.enter_async_context(role(r, url, names))).pid for r in roles]
            await closed_loop(backend, names, RUNS, max(in_flight, 50), in_flight, "warm")
            before = [_cpu_s(*ours), _cpu_s(broker_pid), time.process_time()]
            started = time.perf_counter()
            took = await closed_loop(backend, names, RUNS, total, in_flight, "run")
            seconds = time.perf_counter() - started
            after = [_cpu_s(*ours), _cpu_s(broker_pid), time.process_time()]
    finally:
        await backend.close()
    took.sort()
    spent = [1000 * (b - a) / total for a, b in zip(before, after, strict=True)]
    return RunFigures(
        in_flight=in_flight,
        per_s=total / seconds,
        p50_ms=1000 * took[len(took) // 2],
        p99_ms=1000 * took[int(len(took) * 0.99)],
        ours_ms=spent[0],
        broker_ms=spent[1],
        client_ms=spent[2],
    )


def _cpu_s(*pids: int) -> float:
    """The processor time that processes have used so far, in seconds."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS_PER_S
