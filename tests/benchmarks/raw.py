"""The raw broker loop that all is compared with: pull, decode, encode, one atomic batch, wait.

It does what any engine on this broker must do for a transition (read the event, write a revision, a
command and the position with expectations) and nothing else: no definitions, no history, no ids. It
is sequential on purpose.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from store.jetstream.backend import JetStreamBackend
from store.port import Committed, Outgoing
from store.subjects import Names


async def raw_steps_ms(backend: JetStreamBackend, names: Names, rounds: int = 40) -> float:
    """What the broker alone needs for one checkout, in milliseconds (median): four events, each
    followed by a batch of a revision, a command and a position, one after the other.
    """
    took: list[float] = []
    revision = 0
    for number in range(rounds):
        started = time.perf_counter()
        for step in range(4):
            key = f"{number}-{step}"
            await backend.door.publish(names.event("Raw", key), b"{}" * 50)
            batch = [
                Outgoing(names.instance("Raw", key), b"{}" * 400, (), 0),
                Outgoing(names.command("raw", key), b"{}" * 50),
                Outgoing(names.position(99), b"{}" * 50, (("Nats-Rollup", "sub"),), revision),
            ]
            outcome = await backend.log.commit(batch)
            if not isinstance(outcome, Committed):
                raise RuntimeError(f"the raw steps met {outcome}")
            revision = outcome.last
        took.append(1000 * (time.perf_counter() - started))
    return sorted(took)[rounds // 2]


async def raw_loop(backend: JetStreamBackend, names: Names, total: int, batch_max: int) -> float:
    """Transitions a second over ``total`` waiting events in batches of ``batch_max``."""
    wake = asyncio.Event()
    filters = [f"{names.namespace}.in.>"]
    feed = await backend.feeds.open("events", filters, 0, wake.set)
    done, revision, taken = 0, 0, []
    while not taken:
        await wake.wait()
        wake.clear()
        taken = feed.take(batch_max)
    started = time.perf_counter()
    while done < total:
        if len(taken) < batch_max and done + len(taken) < total:
            wake.clear()
            more = feed.take(batch_max - len(taken))
            taken += more
            if not more:
                await wake.wait()
            continue
        messages: list[Outgoing] = []
        for stored in taken:
            event = msgspec.json.decode(stored.data)
            key = event["orderId"]
            value = {"saga": "Raw", "key": key, "version": 1, "state": event, "cause": stored.seq}
            messages.append(Outgoing(names.instance("Raw", key), msgspec.json.encode(value), (), 0))
            command = {"orderId": key, "amount": event["total"]}
            messages.append(
                Outgoing(
                    names.command("raw", key),
                    msgspec.json.encode(command),
                    (("Snorri-Command-Id", key),),
                )
            )
        position = msgspec.json.encode({"events": taken[-1].seq})
        messages.append(Outgoing(names.position(99), position, (("Nats-Rollup", "sub"),), revision))
        outcome = await backend.log.commit(messages)
        if not isinstance(outcome, Committed):
            raise RuntimeError(f"the raw loop met {outcome}")
        revision = outcome.last
        done += len(taken)
        taken = feed.take(batch_max)
    seconds = time.perf_counter() - started
    await feed.close()
    return total / seconds
