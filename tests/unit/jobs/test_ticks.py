"""Goal: each run of a schedule starts one instance, whose key is the second it was due in, however
often, late or close to another one its tick is told.

Method: the headers of ticks as nats-server 2.15 and the memory broker write them; then schedules
that the memory broker fires in virtual time into a lane, with ticks that it tells once more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.schedules import Schedules
from jobs.ticks import CRON, EXPRESSION, ZONE, read_tick
from sagas.definition import Cron
from sagas.messages import Cause
from store.memory.stream import Admitted
from store.port import Committed, Stored
from store.schedules import NEXT, SCHEDULER
from tests.unit.jobs.rig import Rig

AT = datetime(2026, 3, 27, 3, 0, 1, 700_000, tzinfo=UTC)
NIGHTLY = Cron(expression="0 0 3 * * *")


def _key(headers: dict[str, str], schedule: Cron | None = NIGHTLY) -> str:
    cause = Cause(kind="timer", type="", id=CRON, seq=7, at=AT)
    key, read = read_tick(Stored("s", 7, 0, b"", headers), cause, schedule)
    assert read.id == f"cron@{key}"
    assert bytes(read.payload) == b'{"at":"%s"}' % key.encode()
    return key


@pytest.mark.parametrize(
    ("expression", "zone", "following", "due"),
    [
        ("0 0 3 * * *", "", "2026-03-28T03:00:00Z", "2026-03-27T03:00:00Z"),
        ("0 0 4 * * *", "Europe/Berlin", "2026-03-28T04:00:00+01:00", "2026-03-27T03:00:00Z"),
        ("*/5 * * * * *", "", "2026-03-27T03:00:05Z", "2026-03-27T03:00:00Z"),
        ("@every 90s", "", "2026-03-27T03:01:30Z", "2026-03-27T03:00:00Z"),
        ("@every 1.5s", "", "2026-03-27T03:00:02.5Z", "2026-03-27T03:00:01Z"),
        ("@hourly", "", "2026-03-27T04:00:00Z", "2026-03-27T03:00:00Z"),
    ],
)
def test_it_was_due_when_its_schedule_ran_before_the_next(
    expression: str, zone: str, following: str, due: str
) -> None:
    told = {NEXT: following, EXPRESSION: expression, ZONE: zone}
    assert _key({name: value for name, value in told.items() if value}, None) == due
    schedule = Cron(expression=expression, time_zone=zone)
    assert _key({NEXT: following}, schedule) == due, "of a schedule that was written before"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {NEXT: "purge"},
        {NEXT: "2026-03-28T03:00:00"},
        {NEXT: "2026-03-28T03:00:07Z"},  # the schedule of another definition
        {NEXT: "0001-01-01T03:00:00Z"},
        {NEXT: "9999-12-31T23:59:59-23:00"},
        {NEXT: "2026-03-28T03:00:00Z", EXPRESSION: "whenever"},
        {NEXT: "2026-03-28T03:00:00Z", EXPRESSION: "0 0 3 * * *", ZONE: "../etc/passwd"},
        {NEXT: "2026-03-28T03:00:00Z", EXPRESSION: "0 0 3 * * *", ZONE: "Europe"},
    ],
)
def test_without_a_word_of_its_schedule_it_is_the_second_of_its_storing(
    headers: dict[str, str],
) -> None:
    assert _key(headers) == "2026-03-27T03:00:01Z"
    assert _key({NEXT: "2026-03-28T03:00:00Z"}, None) == "2026-03-27T03:00:01Z"


def _tell(rig: Rig, tick: Stored) -> None:
    """The broker tells a tick once more, as after a change of its leader."""
    rig.broker.log.put([Admitted(tick.subject, tick.data, dict(tick.headers))])


def _ticks(rig: Rig) -> list[Stored]:
    return [one for one in rig.broker.log.since(0, [">"]) if SCHEDULER in one.headers]


async def _second(rig: Rig) -> datetime:
    """Just behind the beginning of a second."""
    await rig.broker.advance((1_000_000 - rig.now().microsecond) / 1e6 + 0.05)
    return rig.now().replace(microsecond=0)


@pytest.mark.asyncio
async def test_a_tick_that_is_told_again_seconds_later_starts_nothing(rig: Rig) -> None:
    await rig.lane()
    due = await _second(rig) + timedelta(seconds=2)
    each_day = Cron(expression=f"{due.second} {due.minute} {due.hour} * * *")
    schedule = Schedules(rig.outside, rig.names).message("Nightly", each_day)
    assert isinstance(await rig.outside.log.commit([schedule]), Committed)
    await rig.broker.advance(2.5)
    await rig.drained()
    [tick] = _ticks(rig)
    first = set(rig.keys("Nightly"))
    assert first == {due.isoformat().replace("+00:00", "Z")}
    await rig.broker.advance(1.3)
    _tell(rig, tick)
    await rig.drained()
    assert set(rig.keys("Nightly")) == first
    assert rig.note_codes() == ["timer_moot"]


@pytest.mark.asyncio
async def test_ticks_of_two_runs_that_are_stored_in_one_second_start_two(rig: Rig) -> None:
    await rig.lane()
    now = await _second(rig)
    schedule = Schedules(rig.outside, rig.names).message("Nightly", Cron(expression="* * * * * *"))
    assert isinstance(await rig.outside.log.commit([schedule]), Committed)
    await rig.broker.advance(1.0)
    [tick] = _ticks(rig)
    late = {**tick.headers, NEXT: (now + timedelta(seconds=3)).isoformat()}
    rig.broker.log.put([Admitted(tick.subject, tick.data, late)])
    await rig.drained()
    keys = {(now + timedelta(seconds=n)).isoformat().replace("+00:00", "Z") for n in (1, 2)}
    assert set(rig.keys("Nightly")) == keys
