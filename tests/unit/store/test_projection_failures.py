"""Goal: failures are those that happened, under the names of their causes, however the log was cut.

Method: lives made by chance (parked, retried, failed, cancelled, answered by jobs that failed) are
projected in batches made by chance; what the queries then say of groups and members is compared
with the same worked out here, revision by revision, from the definition in words.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from sagas.instance import Instance
from store.codec import DeadLetter
from store.fingerprints import fingerprint, normalise
from store.projection.failures import failure_counts, failure_groups, failure_members
from tests.unit.store.lives import BEGAN, at, lives_by_chance, log_of, projected

pytestmark = pytest.mark.asyncio


class Occurrence(Struct, frozen=True):
    """A failure as it is worked out here."""

    fingerprint: str
    saga: str
    key: str
    at: datetime
    seq: int
    message: str
    is_open: bool


def _expected(lives: list[Instance]) -> Iterator[Occurrence]:
    """What went wrong in these lives, in words of the module that tells of failures."""
    by_instance: dict[str, list[tuple[int, Instance]]] = defaultdict(list)
    for seq, one in enumerate(lives, 1):
        by_instance[one.key].append((seq, one))
    for revisions in by_instance.values():
        yield from _of_instance(revisions)


def _of_instance(revisions: list[tuple[int, Instance]]) -> Iterator[Occurrence]:
    last = revisions[-1][1]
    since = next(
        seq
        for place, (seq, one) in enumerate(revisions)
        if all(later.status == last.status for _, later in revisions[place:])
    )
    stuck = last.error.type if last.status == "parked" and last.error else ""
    said, place, before = None, "", ""
    parked: list[tuple[int, Instance, str]] = []
    for seq, one in revisions:
        cause, error = one.cause, one.error
        if cause.failed:
            reason = msgspec.json.decode(cause.payload).get("reason", "no reason given")
            name = _name("job", one, "pay", "TimeoutError", reason)
            waits = one.status == "parked" and stuck == "CommandFailed" and seq >= since
            yield _occurrence(name, one, seq, reason, waits)
        if one.status == "parked" and error and error.type != "CommandFailed":
            place = cause.type if cause.kind != "operator" else place
            if error.message != said or before != "parked":
                parked.append((seq, one, place or cause.type))
            said = error.message
        ends = one.status in ("failed", "cancelled") and before != one.status
        if ends and error and cause.kind != "operator":
            name = _name(one.status, one, cause.type, error.type, error.message)
            yield _occurrence(name, one, seq, error.message, False)
        before = one.status
    for seq, one, where in parked:
        assert one.error is not None
        name = _name("parked", one, where, one.error.type, one.error.message)
        waits = stuck not in ("", "CommandFailed") and seq >= since and seq == parked[-1][0]
        yield _occurrence(name, one, seq, one.error.message, waits)


def _name(kind: str, one: Instance, place: str, error: str, message: str) -> str:
    return fingerprint(kind, one.saga, "d", place, error, normalise(error, message))


def _occurrence(name: str, one: Instance, seq: int, message: str, is_open: bool) -> Occurrence:
    return Occurrence(name, one.saga, one.key, at(seq), seq, message, is_open)


async def test_failures_are_what_happened(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lives = lives_by_chance(chance, instances=8, moves=150)
    read = await projected(tmp_path, log_of(lives), chance)
    expected: dict[str, list[Occurrence]] = defaultdict(list)
    for one in _expected(lives):
        expected[one.fingerprint].append(one)
    assert len(expected) > 10
    groups = await failure_groups(read, since=BEGAN, limit=1000)
    assert {group.fingerprint for group in groups} == expected.keys()
    counts = await failure_counts(read, list(expected), since=BEGAN, width=timedelta(days=9))
    for group in groups:
        told = sorted(expected[group.fingerprint], key=lambda one: -one.seq)
        assert (group.last_at, group.first_at) == (told[0].at, told[-1].at)
        assert (group.saga, group.message) == (told[0].saga, told[0].message)
        assert group.cause == normalise(group.error_type, group.message)
        assert group.open == sum(one.is_open for one in told)
        assert group.keys == [one.key for one in told[:3]]
        members = await failure_members(read, group.fingerprint, limit=1000)
        assert [(one.seq, one.key, one.message, one.open) for one in members] == [
            (one.seq, one.key, one.message, one.is_open) for one in told
        ]
        assert sum(one.count for one in counts if one.fingerprint == group.fingerprint) == len(told)
    await read.close()


async def test_a_dead_letter_keeps_the_name_of_its_cause(tmp_path: Path) -> None:
    letter = DeadLetter(
        id="events-7-Order",
        at=BEGAN,
        type="Paid",
        saga="Order",
        key="k-1",
        reason="it answers the command 'Order.k-1.1.0', which is not there",
        stream="events",
        seq=7,
    )
    discarded = msgspec.structs.replace(letter, status="discarded", by="anna")
    log = log_of([], [letter, discarded])
    read = await projected(tmp_path, log[:1], random.Random(1))
    [group] = await failure_groups(read, since=BEGAN, limit=10)
    cause = normalise("", letter.reason)
    assert group.fingerprint == fingerprint("dead_letter", "Order", "", "Paid", "", cause)
    assert (group.kind, group.cause, group.open) == ("dead_letter", cause, 1)
    tables = await read.open()
    await tables.apply([], log[1:])
    [after] = await failure_groups(read, since=BEGAN, limit=10)
    assert (after.fingerprint, after.open) == (group.fingerprint, 0)
    await read.close()
