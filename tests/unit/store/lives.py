"""Lives of instances made by chance, and projections of them, for tests that work out the same."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Raw

from sagas.instance import Failure, Instance, Status, encode
from sagas.messages import Cause
from store.codec import DeadLetter
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.port import Stored
from store.projection.checkpoint import Streams
from store.subjects import Names

NAMES = Names()
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES: tuple[Status, ...] = ("running", "parked", "failed", "cancelled", "completed")
MESSAGES = ("no way: 7", "no way: 12", "KeyError 'a'", 'shelf "x" is empty\nsecond line', "")
SAGAS = ("Order", "Trip")


def lives_by_chance(chance: random.Random, instances: int, moves: int) -> list[Instance]:
    """Revisions of some instances, mixed; every transition that could be may be here."""
    versions: dict[str, int] = defaultdict(int)
    started: dict[str, datetime] = {}
    found: list[Instance] = []
    for number in range(1, moves + 1):
        key = f"k-{chance.randrange(instances)}"
        versions[key] += 1
        started.setdefault(key, at(number))
        status = chance.choice(STATUSES)
        by_job = chance.random() < 0.3
        payload = {"target": "pay", "error": "TimeoutError"}
        if chance.random() < 0.8:
            payload["reason"] = chance.choice(MESSAGES)
        cause = Cause(
            kind="event" if by_job else chance.choice(("event", "operator", "timer")),
            type=chance.choice(("Placed", "Paid", "retry")),
            id="",
            seq=number,
            at=BEGAN,
            payload=Raw(msgspec.json.encode(payload)),
            answers=f"Order.{key}.1.{number}" if by_job else "",
            failed=by_job,
        )
        error = None
        if status in ("parked", "failed", "cancelled"):
            kind = "CommandFailed" if by_job else chance.choice(("ValueError", "KeyError"))
            error = Failure(type=kind, message=chance.choice(MESSAGES))
        found.append(
            Instance(
                v=1,
                saga=SAGAS[int(key[2:]) % 2],
                key=key,
                version=versions[key],
                status=status,
                state=Raw(b"{}"),
                started=started[key],
                at=BEGAN,
                cause=cause,
                effects=(),
                error=error,
                definition="d",
                trace="",
                prev="",
            )
        )
    return found


def log_of(lives: Sequence[Instance], letters: Sequence[DeadLetter] = ()) -> list[Stored]:
    """The messages that store them."""
    log = [Stored(NAMES.instance(one.saga, one.key), 0, 0, encode(one)) for one in lives]
    log += [Stored(NAMES.dead_letter(one.id), 0, 0, msgspec.json.encode(one)) for one in letters]
    return [
        msgspec.structs.replace(one, seq=seq, at_ns=time_ns(at(seq)))
        for seq, one in enumerate(log, 1)
    ]


def at(seq: int) -> datetime:
    """When a message of the log was stored: one a minute."""
    return BEGAN + timedelta(minutes=seq)


def time_ns(time: datetime) -> int:
    """A time as streams tell it."""
    return int(time.timestamp()) * 10**9


async def projected(folder: Path, log: list[Stored], chance: random.Random) -> DuckProjections:
    """Projections in ``folder`` of a log that was cut into batches by chance; close them."""
    projections = DuckProjections(folder, NAMES, LiveMask())
    await projections.open()
    tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))
    while log:
        size = chance.choice((1, 2, 5, 20, len(log)))
        await tables.apply([], log[:size])
        log = log[size:]
    return projections
