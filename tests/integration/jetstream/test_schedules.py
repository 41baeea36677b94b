"""The schedule recipe on a real server: arm, replace, cancel in a batch, repeat, miss, survive.

Goal: ``store.schedules`` means to the server what it says. Method: commit its messages, wait for
what fires on the signals' subjects, and look at what is left in the stream.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from jobs.schedules import Schedules
from jobs.ticks import read_tick
from sagas.definition import Cron
from store import schedules
from store.codec import open_envelope
from store.jetstream import JetStreamBackend
from store.port import Committed, Invalid, Outgoing, Stored
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


def _soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _timer(names: Names, name: str, at: datetime, payload: bytes = b"tick") -> Outgoing:
    target = names.signal("TimerFired", "k")
    return schedules.arm(names.timer("S", "k", name), target, at, payload, (("Own", "kept"),))


async def _fired(backend: JetStreamBackend, names: Names) -> list[Stored]:
    return [stored async for stored in backend.log.history(f"{names.namespace}.sig.>")]


async def _left(backend: JetStreamBackend, names: Names) -> list[str]:
    return [stored.subject async for stored in backend.log.history(f"{names.namespace}.timers.>")]


async def _until_fired(backend: JetStreamBackend, names: Names, count: int) -> list[Stored]:
    async def enough() -> list[Stored]:
        seen = await _fired(backend, names)
        return seen if len(seen) >= count else []

    return await eventually(enough, what=f"{count} timers")


async def test_it_fires_once_through_the_transform_and_leaves_nothing(
    backend: JetStreamBackend, names: Names
) -> None:
    at = _soon(0.4)
    revision = Outgoing(names.instance("S", "k"), b"{}", (), 0)
    assert isinstance(await backend.log.commit([revision, _timer(names, "a", at)]), Committed)
    (stored,) = await _until_fired(backend, names, 1)
    assert stored.data == b"tick"
    assert stored.headers["Own"] == "kept"
    assert stored.headers[schedules.SCHEDULER] == names.timer("S", "k", "a")
    assert stored.subject.split(".")[-2:] == ["TimerFired", "k"]
    assert stored.at_ns >= int(at.timestamp() * 1e9) - 1_000_000
    assert await _left(backend, names) == []


async def test_arming_again_replaces_and_the_past_fires_at_once(
    backend: JetStreamBackend, names: Names
) -> None:
    await backend.log.commit([_timer(names, "a", _soon(3600), b"old")])
    await backend.log.commit([_timer(names, "a", _soon(-3600), b"new")])
    (stored,) = await _until_fired(backend, names, 1)
    assert stored.data == b"new"
    assert await _left(backend, names) == []


async def test_several_are_cancelled_in_the_batch_that_needs_it(
    backend: JetStreamBackend, names: Names
) -> None:
    armed = [_timer(names, name, _soon(0.6)) for name in ("a", "b", "kept")]
    assert isinstance(await backend.log.commit(armed), Committed)
    carrier = names.timer_cancel(0)
    cancels = [
        schedules.cancel(names.timer("S", "k", name), carrier) for name in ("a", "b", "never-was")
    ]
    revision = Outgoing(names.instance("S", "k"), b"{}", (), 0)
    assert isinstance(await backend.log.commit([revision, *cancels]), Committed)
    await _until_fired(backend, names, 1)
    assert isinstance(await backend.log.commit(cancels), Committed)  # also long after

    async def none_left() -> bool:
        return await _left(backend, names) == []

    await eventually(none_left, what="the carriers' expiry")
    assert len(await _fired(backend, names)) == 1


async def test_a_failed_batch_cancels_nothing(backend: JetStreamBackend, names: Names) -> None:
    await backend.log.commit([_timer(names, "a", _soon(0.5))])
    wrong = Outgoing(names.instance("S", "k"), b"{}", (), 77)
    cancel = schedules.cancel(names.timer("S", "k", "a"), names.timer_cancel(0))
    assert not isinstance(await backend.log.commit([cancel, wrong]), Committed)
    assert len(await _until_fired(backend, names, 1)) == 1


async def test_armed_and_cancelled_in_one_batch_never_fires(
    backend: JetStreamBackend, names: Names
) -> None:
    cancel = schedules.cancel(names.timer("S", "k", "a"), names.timer_cancel(0))
    both = [_timer(names, "a", _soon(0.3)), cancel, _timer(names, "z", _soon(0.6))]
    assert isinstance(await backend.log.commit(both), Committed)
    (stored,) = await _until_fired(backend, names, 1)
    assert stored.headers[schedules.SCHEDULER] == names.timer("S", "k", "z")


async def test_a_cancelled_timer_can_be_armed_again_in_the_same_batch(
    backend: JetStreamBackend, names: Names
) -> None:
    await backend.log.commit([_timer(names, "a", _soon(3600), b"old")])
    cancel = schedules.cancel(names.timer("S", "k", "a"), names.timer_cancel(0))
    outcome = await backend.log.commit([cancel, _timer(names, "a", _soon(0.2), b"new")])
    assert isinstance(outcome, Committed)
    (stored,) = await _until_fired(backend, names, 1)
    assert stored.data == b"new"


@pytest.mark.chaos
async def test_timers_and_cancels_survive_a_kill(
    backend: JetStreamBackend, names: Names, nats_server: NatsServer
) -> None:
    await backend.log.commit([_timer(names, f"t{n}", _soon(0.8), b"%d" % n) for n in range(20)])
    carrier = names.timer_cancel(0)
    cancels = [schedules.cancel(names.timer("S", "k", f"t{n}"), carrier) for n in range(10)]
    assert isinstance(await backend.log.commit(cancels), Committed)
    await asyncio.to_thread(nats_server.kill)
    await asyncio.to_thread(nats_server.restart)
    await eventually(lambda: backend.connected, what="the reconnect")
    stored = await _until_fired(backend, names, 10)
    assert sorted(int(one.data) for one in stored) == list(range(10, 20))


@pytest.mark.parametrize(("expression", "zone"), [("@every 1s", ""), ("* * * * * *", "Asia/Tokyo")])
async def test_cron_repeats_until_it_is_cancelled(
    backend: JetStreamBackend, names: Names, expression: str, zone: str
) -> None:
    subject = names.cron("S")
    repeat = schedules.cron(subject, names.signal("Cron", "S"), expression, zone, b"{}")
    assert isinstance(await backend.log.commit([repeat]), Committed)
    stored = await _until_fired(backend, names, 2)
    assert stored[1].at_ns - stored[0].at_ns > 500_000_000
    cancel = schedules.cancel(subject, names.timer_cancel(0))
    assert isinstance(await backend.log.commit([cancel]), Committed)
    assert subject not in await _left(backend, names)


async def test_the_server_refuses_what_the_builders_refuse(
    backend: JetStreamBackend, names: Names
) -> None:
    own = names.timer("S", "k", "a")
    with pytest.raises(ValueError, match="time zone"):
        schedules.arm(own, "x", datetime(2026, 1, 1), b"")
    with pytest.raises(ValueError, match="another subject"):
        schedules.cancel(own, own)
    at = (schedules.SCHEDULE, "@at 2999-01-01T00:00:00Z")
    for target in (own, "elsewhere.x"):
        outcome = await backend.log.commit([Outgoing(own, b"", (at, (schedules.TARGET, target)))])
        assert isinstance(outcome, Invalid)
        assert outcome.code == 10190
    purge = ((schedules.SCHEDULER, own), (schedules.NEXT, schedules.PURGE))
    outcome = await backend.log.commit([Outgoing(own, b"", purge)])
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10212
    bad_zone = schedules.cron(own, names.signal("Cron", "S"), "@daily", "Mars/Base", b"")
    outcome = await backend.log.commit([bad_zone])
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10223


@pytest.mark.parametrize(
    ("expression", "zone", "period_s"),
    [("* * * * * *", "Europe/Berlin", 1), ("*/2 * * * * *", "", 2), ("@every 1s", "", 1)],
)
async def test_each_tick_tells_the_second_it_was_due_in(
    backend: JetStreamBackend, names: Names, expression: str, zone: str, period_s: int
) -> None:
    """The server names the next run; the engine finds back to the one that has fired."""
    schedule = Cron(expression=expression, time_zone=zone)
    message = Schedules(backend, names).message("Nightly", schedule, 0)
    assert isinstance(await backend.log.commit([message]), Committed)
    ticks = await _until_fired(backend, names, 3)
    due: list[datetime] = []
    for tick in ticks:
        cause = open_envelope(tick).cause
        key, _ = read_tick(tick, cause, None)
        due.append(datetime.fromisoformat(key))
        assert 0 <= (cause.at - due[-1]).total_seconds() < 1
    gaps = {(after - before).total_seconds() for before, after in pairwise(due)}
    assert gaps == {period_s}
