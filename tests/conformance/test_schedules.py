"""Goal: the broker keeps the timers: armed, replaced and cancelled in batches, fired once and in
time.

Method: arm schedules a moment ahead or behind, wait for the signals that they fire, and for those
that must not come, wait for a later one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from store.memory import partition_of
from store.port import Backend, Conflict, Invalid, Outgoing, Stored
from store.schedules import arm, cancel, cron
from tests.conformance.place import Place
from tests.conformance.samples import data_of, listed, revision, stored

pytestmark = pytest.mark.asyncio


def _timer(place: Place, name: str, at: datetime, data: bytes = b"") -> Outgoing:
    """A schedule that fires the signal ``<name>`` to the key a."""
    names = place.names
    return arm(names.timer("S", "a", name), names.signal(name, "a"), at, data or name.encode())


async def _fired(place: Place, backend: Backend, count: int = 1) -> list[Stored]:
    """All signals so far, as soon as there are ``count`` of them."""
    found: list[Stored] = []

    async def enough() -> bool:
        found[:] = await listed(backend.log.history(f"{place.names.namespace}.sig.>"))
        return len(found) >= count

    await place.until(enough)
    return found


async def test_a_timer_fires_at_its_time(place: Place, backend: Backend) -> None:
    at = place.soon(1)
    await stored(backend, _timer(place, "t", at))
    (signal,) = await _fired(place, backend)
    assert signal.data == b"t"
    lateness_s = signal.at_ns / 1e9 - at.timestamp()
    assert -0.01 <= lateness_s < 2


async def test_what_is_fired_goes_through_the_transform(place: Place, backend: Backend) -> None:
    await stored(backend, _timer(place, "t", place.now()))
    (signal,) = await _fired(place, backend)
    partition = partition_of("a", place.partitions)
    assert signal.subject == f"{place.names.namespace}.sig.{partition}.t.a"


async def test_a_past_time_fires_at_once(place: Place, backend: Backend) -> None:
    before = place.now()
    await stored(backend, _timer(place, "t", before - timedelta(days=3)))
    await _fired(place, backend)
    assert (place.now() - before).total_seconds() < 2


async def test_headers_travel_and_commands_to_the_broker_do_not(
    place: Place, backend: Backend
) -> None:
    names = place.names
    message = arm(
        names.timer("S", "a", "t"),
        names.signal("t", "a"),
        place.now(),
        b"body",
        (("Snorri-Saga", "S"), ("Snorri-Version", "3")),
    )
    await stored(backend, message)
    (signal,) = await _fired(place, backend)
    assert signal.data == b"body"
    assert signal.headers["Snorri-Saga"] == "S"
    assert signal.headers["Snorri-Version"] == "3"
    assert signal.headers["Nats-Scheduler"] == names.timer("S", "a", "t")
    assert not {"Nats-Schedule", "Nats-Schedule-Target", "Nats-Rollup"} & set(signal.headers)


async def test_a_fired_timer_is_gone(place: Place, backend: Backend) -> None:
    await stored(backend, _timer(place, "t", place.now()), revision(place.names, "a"))
    (signal,) = await _fired(place, backend)
    assert await backend.log.read(place.names.timer("S", "a", "t")) is None
    assert signal.seq == 3
    assert await stored(backend, revision(place.names, "a")) == 4


async def test_an_armed_timer_can_be_read(place: Place, backend: Backend) -> None:
    await stored(backend, _timer(place, "t", place.soon(60)))
    found = await backend.log.read(place.names.timer("S", "a", "t"))
    assert found is not None
    assert found.data == b"t"
    assert found.headers["Nats-Schedule"].startswith("@at ")


async def test_timers_fire_in_the_order_of_their_times(place: Place, backend: Backend) -> None:
    await stored(
        backend,
        _timer(place, "late", place.soon(2)),
        _timer(place, "early", place.soon(0.5)),
    )
    assert data_of(await _fired(place, backend, 2)) == [b"early", b"late"]


async def test_arming_again_replaces(place: Place, backend: Backend) -> None:
    await stored(backend, _timer(place, "t", place.soon(0.6), b"first"))
    await stored(backend, _timer(place, "t", place.soon(1.2), b"second"))
    await stored(backend, _timer(place, "end", place.soon(2)))
    assert data_of(await _fired(place, backend, 2)) == [b"second", b"end"]


async def test_a_timer_is_armed_with_its_transition(place: Place, backend: Backend) -> None:
    batch = [
        revision(place.names, "a", expect=0),
        _timer(place, "t", place.now()),
        Outgoing(place.names.command("pay", "a"), b""),
    ]
    await stored(backend, *batch)
    assert data_of(await _fired(place, backend)) == [b"t"]


async def test_a_conflict_arms_nothing(place: Place, backend: Backend) -> None:
    batch = [_timer(place, "t", place.now()), revision(place.names, "a", expect=9)]
    assert isinstance(await backend.log.commit(batch), Conflict)
    await stored(backend, _timer(place, "end", place.soon(0.6)))
    assert data_of(await _fired(place, backend)) == [b"end"]


async def test_a_timer_is_cancelled_with_a_transition(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, _timer(place, "t", place.soon(0.6)), revision(names, "a"))
    last = await stored(
        backend,
        revision(names, "a", expect=2),
        cancel(names.timer("S", "a", "t"), names.timer_cancel(0)),
    )
    assert last == 4
    assert await backend.log.read(names.timer("S", "a", "t")) is None
    await stored(backend, _timer(place, "end", place.soon(1.2)))
    assert data_of(await _fired(place, backend)) == [b"end"]


async def test_a_conflict_cancels_nothing(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, _timer(place, "t", place.soon(0.5)))
    batch = [
        cancel(names.timer("S", "a", "t"), names.timer_cancel(0)),
        revision(names, "a", expect=9),
    ]
    assert isinstance(await backend.log.commit(batch), Conflict)
    assert data_of(await _fired(place, backend)) == [b"t"]


async def test_several_are_cancelled_in_one_batch(place: Place, backend: Backend) -> None:
    names = place.names
    timers = ["t1", "t2", "t3"]
    await stored(backend, *(_timer(place, name, place.soon(0.6)) for name in timers))
    carrier = names.timer_cancel(0)
    await stored(backend, *(cancel(names.timer("S", "a", name), carrier) for name in timers))
    await stored(backend, _timer(place, "end", place.soon(1.2)))
    assert data_of(await _fired(place, backend)) == [b"end"]


async def test_what_never_was_may_be_cancelled(place: Place, backend: Backend) -> None:
    names = place.names
    never = cancel(names.timer("S", "a", "never"), names.timer_cancel(0))
    assert await stored(backend, revision(names, "a"), never) == 2


async def test_cancelled_and_armed_in_one_batch_fires(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, _timer(place, "t", place.soon(0.8), b"first"))
    await stored(
        backend,
        cancel(names.timer("S", "a", "t"), names.timer_cancel(0)),
        _timer(place, "t", place.soon(0.4), b"second"),
    )
    await stored(backend, _timer(place, "end", place.soon(1.6)))
    assert data_of(await _fired(place, backend, 2)) == [b"second", b"end"]


async def test_armed_and_cancelled_in_one_batch_does_not_fire(
    place: Place, backend: Backend
) -> None:
    names = place.names
    await stored(
        backend,
        _timer(place, "t", place.soon(0.4)),
        cancel(names.timer("S", "a", "t"), names.timer_cancel(0)),
    )
    await stored(backend, _timer(place, "end", place.soon(1)))
    assert data_of(await _fired(place, backend)) == [b"end"]


async def test_only_a_schedule_can_be_cancelled(place: Place, backend: Backend) -> None:
    names = place.names
    command = names.command("pay", "a")
    await stored(backend, Outgoing(command, b"keep me"))
    outcome = await backend.log.commit([cancel(command, names.timer_cancel(0))])
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10212
    assert await backend.log.read(command) is not None


async def test_a_target_outside_the_log_is_invalid(place: Place, backend: Backend) -> None:
    names = place.names
    for target in (names.event("T", "a"), "elsewhere", names.timer("S", "a", "t")):
        message = arm(names.timer("S", "a", "t"), target, place.soon(60), b"")
        outcome = await backend.log.commit([revision(names, "a"), message])
        assert isinstance(outcome, Invalid)
        assert outcome.code == 10190
    assert await backend.log.read(names.instance("S", "a")) is None


@pytest.mark.parametrize("expression", ["@every 1s", "* * * * * *", "*/1 * * * * *"])
async def test_a_repeated_schedule_fires_again_and_again(
    place: Place, backend: Backend, expression: str
) -> None:
    names = place.names
    subject = names.cron("S")
    await stored(backend, cron(subject, names.signal("cron", "S"), expression, "", b"now"))
    found = await _fired(place, backend, 2)
    assert data_of(found[:2]) == [b"now", b"now"]
    assert (found[1].at_ns - found[0].at_ns) / 1e9 == pytest.approx(1.0, abs=0.5)
    assert await backend.log.read(subject) is not None


async def test_a_repeated_schedule_can_be_ended(place: Place, backend: Backend) -> None:
    names = place.names
    subject = names.cron("S")
    await stored(backend, cron(subject, names.signal("cron", "S"), "@every 1s", "", b"again"))
    await _fired(place, backend)
    await stored(backend, cancel(subject, names.timer_cancel(0)))
    before = len(await _fired(place, backend))
    await stored(backend, _timer(place, "end", place.soon(1.6)))
    found = await _fired(place, backend, before + 1)
    assert data_of(found)[before:] == [b"end"]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("0 0 2 * * *", ""),
        ("0 30 9 * * MON-FRI", "Europe/Berlin"),
        ("@daily", "America/New_York"),
        ("0 0 0 ? JAN,feb */2", ""),
        ("5-10 0/20 0 29 2 SUN", "UTC"),
        ("@at 2030-01-01T00:00:00.123456789+02:00", ""),
    ],
)
async def test_cron_with_a_zone_is_taken(
    place: Place, backend: Backend, expression: str, zone: str
) -> None:
    names = place.names
    await stored(backend, cron(names.cron("S"), names.signal("c", "S"), expression, zone, b""))


@pytest.mark.parametrize(
    ("expression", "zone", "code"),
    [
        ("* * * * *", "", 10189),
        ("@every 500ms", "", 10189),
        ("@sometimes", "", 10189),
        ("0 0 2 * * *", "Nowhere/City", 10223),
        ("@every 5s", "Europe/Berlin", 10189),
        ("@at 2030-01-01T00:00:00Z", "Europe/Berlin", 10189),
        ("@at 2030-01-01", "", 10189),
        ("0 0 24 * * *", "", 10189),
        ("0 0 0 0 * *", "", 10189),
        ("0 0 0 30 2 *", "", 10189),
        ("0 0 0 * * 7", "", 10189),
    ],
)
async def test_a_bad_pattern_is_invalid(
    place: Place, backend: Backend, expression: str, zone: str, code: int
) -> None:
    names = place.names
    message = cron(names.cron("S"), names.signal("c", "S"), expression, zone, b"")
    outcome = await backend.log.commit([message])
    assert isinstance(outcome, Invalid)
    assert outcome.code == code
