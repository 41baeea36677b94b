"""A client that places orders at a steady pace and writes down what it was told: the judge.

Its log is a file that only grows: ``try`` before an order is sent, ``ok`` after the server has said
that it is stored. What was acknowledged must be there in the end, once, and must have gone well.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec

from store.jetstream import JetStreamBackend
from store.memory.routing import partition_of
from store.port import Unreachable
from store.subjects import Names, escape
from tests.chaos.app import GOOD, fate
from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.processes import Installation, World
from tests.waiting import eventually, until_moment


class Load:
    """Places an order every ``every_s`` seconds until it is stopped; repeats until acknowledged."""

    def __init__(self, backend: JetStreamBackend, names: Names, log: Path, every_s: float) -> None:
        self._backend = backend
        self._names = names
        self._log = log
        self._every_s = every_s
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._sent: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> set[str]:
        """Place no more; the orders that were acknowledged, by the log."""
        assert self._task is not None
        self._stopping = True
        await self._task
        await asyncio.gather(*self._sent)
        lines = [line.split(" ") for line in self._log.read_text().splitlines()]
        tried = {line[1] for line in lines if line[0] == "try"}
        stored = {line[1] for line in lines if line[0] == "ok"}
        assert stored == tried, "an order was never acknowledged"
        return stored

    async def _run(self) -> None:
        number = 0
        next_s = time.monotonic()
        while not self._stopping:
            self._sent.add(asyncio.create_task(self._place(f"o-{number}")))
            number += 1
            next_s += self._every_s
            await until_moment(next_s)

    async def _place(self, order: str) -> None:
        subject = self._names.event("OrderCreated", order)
        body = f'{{"order":"{order}","fate":"{GOOD}"}}'.encode()
        self._write("try", order)

        async def stored() -> bool:
            try:
                await self._backend.door.publish(subject, body, {}, f"create-{order}")
            except Unreachable:
                return False
            return True

        await eventually(stored, 60, f"{order} being acknowledged")
        self._write("ok", order)

    def _write(self, what: str, order: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{what} {order} {time.time_ns()}\n")


async def publish_orders(world: World, first: int, last: int) -> None:
    """Orders by number, each with the fate of its number."""
    backend = await world.backend()
    for number in range(first, last):
        body = {"order": f"o-{number}", "fate": fate(number)}
        subject = world.names.event("OrderCreated", f"o-{number}")
        await backend.door.publish(subject, msgspec.json.encode(body), {}, f"create-{number}")


async def judge(home: Installation, backend: JetStreamBackend, orders: set[str]) -> None:
    """Every order has ended well, through every step once, and nothing else has happened."""

    left: dict[str, bytes] = {}

    async def ended() -> bool:
        found: dict[str, bytes] = dict.fromkeys(orders, b"")
        try:
            async for message in backend.log.latest(home.names.instances("ChaosOrder")):
                found[home.names.parse_instance(message.subject)[1]] = message.data
        except Unreachable:
            return False
        left.clear()
        left.update((o, d) for o, d in found.items() if b'"status":"completed"' not in d)
        return not left

    try:
        await eventually(ended, 60, "all orders completing")
    except AssertionError:
        print(f"{len(left)} of {len(orders)} orders are left, such as {list(left.items())[:3]}")
        raise
    found = await histories(backend, home.names)
    assert {key for _, key in found} == orders, "orders were lost, or came from nowhere"
    assert {len(history) for history in found.values()} == {3}
    await check_commands(backend, home.names, found)
    check_ledger(home.ledger, [(what, o) for o in orders for what in ("reserve", "charge")])


class Pauses:
    """When each partition moved, by the time at which the server stored its transitions."""

    def __init__(self, moments: dict[int, list[int]]) -> None:
        self._moments = moments

    def longest_s(self, since_ns: int, until_ns: int) -> float:
        """The longest time within which a partition did not move, in seconds, of all of them."""
        return max(self._longest(at, since_ns, until_ns) for at in self._moments.values())

    @staticmethod
    def _longest(at: list[int], since_ns: int, until_ns: int) -> float:
        inside = at[max(0, bisect_left(at, since_ns) - 1) : bisect_left(at, until_ns) + 1]
        return max((b - a for a, b in pairwise(inside)), default=0) / 1e9


async def pauses(home: Installation, backend: JetStreamBackend) -> Pauses:
    """The moments of every partition, from the log."""
    moments: dict[int, list[int]] = defaultdict(list)
    async for stored in backend.log.history(home.names.instances("ChaosOrder")):
        key = escape(home.names.parse_instance(stored.subject)[1])
        moments[partition_of(key, backend.partitions)].append(stored.at_ns)
    return Pauses(dict(moments))
