"""Goal: each command reaches a worker until one ends it, and no more are in flight than allowed.

Method: open queues of one target from two processes, end, hand back or abandon what they get, and
wait for what comes next.
"""

from __future__ import annotations

import asyncio

import pytest

from store.port import Backend, Outgoing, QueueState, TopologyDrift, Work, WorkQueue
from tests.conformance.place import Place
from tests.conformance.samples import HOSTILE_KEYS, revision, stored

pytestmark = pytest.mark.asyncio

ACK_WAIT_S = 1.0


async def _queue(backend: Backend, target: str = "pay", in_flight_max: int = 100) -> WorkQueue:
    return await backend.queues.open(target, ack_wait_s=ACK_WAIT_S, in_flight_max=in_flight_max)


async def _send(place: Place, backend: Backend, *keys: str, target: str = "pay") -> None:
    names = place.names
    await stored(backend, *(Outgoing(names.command(target, k), k.encode()) for k in keys))


async def _take(place: Place, queue: WorkQueue, limit: int = 1, wait_s: float = 5.0) -> list[Work]:
    return await place.result(queue.take(limit, wait_s))


async def _taken(place: Place, queue: WorkQueue, count: int) -> list[Work]:
    """Exactly ``count`` deliveries, in as many takes as it needs."""
    found: list[Work] = []
    while len(found) < count:
        some = await _take(place, queue, count - len(found))
        assert some, f"only {len(found)} of {count} arrived"
        found += some
    return found


async def test_a_command_arrives_with_all_it_carries(place: Place, backend: Backend) -> None:
    subject = place.names.command("pay", "o-1")
    headers = (("Snorri-Command-Id", "c-1"), ("Snorri-Saga", "S"))
    seq = await stored(backend, Outgoing(subject, b'{"a":1}', headers))
    (work,) = await _take(place, await _queue(backend))
    assert (work.subject, work.data, work.seq, work.attempt) == (subject, b'{"a":1}', seq, 1)
    assert set(headers) <= set(work.headers.items())
    assert abs(work.at_ns / 1e9 - place.now().timestamp()) < 5
    await work.ack()


async def test_commands_come_in_order(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a", "b", "c", "d")
    works = await _taken(place, queue, 4)
    assert [work.data for work in works] == [b"a", b"b", b"c", b"d"]


async def test_a_queue_finds_what_was_sent_before_it_existed(
    place: Place, backend: Backend
) -> None:
    await _send(place, backend, "a")
    await stored(backend, revision(place.names, "x"))
    works = await _take(place, await _queue(backend))
    assert [work.data for work in works] == [b"a"]


async def test_a_queue_gets_its_own_target_only(place: Place, backend: Backend) -> None:
    await _send(place, backend, "a", target="ship")
    await _send(place, backend, "b", target="pay")
    await _send(place, backend, "c", target="pay.later")
    works = await _take(place, await _queue(backend), 10)
    assert [work.data for work in works] == [b"b"]


@pytest.mark.parametrize("target", HOSTILE_KEYS[:12])
async def test_a_hostile_target_has_a_queue_of_its_own(
    place: Place, backend: Backend, target: str
) -> None:
    queue = await _queue(backend, target)
    await _send(place, backend, "other", target="pay")
    await _send(place, backend, "mine", target=target)
    works = await _take(place, queue, 10)
    assert [work.data for work in works] == [b"mine"]


async def test_an_empty_queue_gives_nothing_after_the_wait(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    assert await _take(place, queue, 5, wait_s=0.1) == []
    assert await _take(place, queue, 5, wait_s=0.0) == []


async def test_a_take_waits_for_the_first_only(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    taking = asyncio.ensure_future(queue.take(10, 8.0))
    await place.pass_time(0.1)
    assert not taking.done()
    await _send(place, backend, "a")
    works = await place.result(taking, within_s=3.0)
    assert [work.data for work in works] == [b"a"]


async def test_no_more_than_the_limit_is_given(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a", "b", "c")
    assert len(await _take(place, queue, 2)) <= 2


async def test_an_acked_command_is_over(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    await work.ack()
    await place.pass_time(ACK_WAIT_S + 0.3)
    assert await _take(place, queue, wait_s=0.2) == []


async def test_a_terminated_command_is_over(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    await work.term()
    await place.pass_time(ACK_WAIT_S + 0.3)
    assert await _take(place, queue, wait_s=0.2) == []


async def test_a_command_handed_back_comes_again_at_once(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    for attempt in (1, 2, 3):
        (work,) = await _take(place, queue)
        assert (work.data, work.attempt) == (b"a", attempt)
        await work.nak()


async def test_a_command_handed_back_with_a_delay_waits(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    before = place.now()
    await work.nak(0.5)
    (work,) = await _take(place, queue)
    assert (place.now() - before).total_seconds() >= 0.45
    assert work.attempt == 2


async def test_an_abandoned_command_comes_again(place: Place, backend: Backend) -> None:
    other = await place.backend()
    queue, second = await _queue(backend), await _queue(other)
    await _send(place, backend, "a")
    before = place.now()
    await _take(place, queue)
    (again,) = await _take(place, second)
    assert (place.now() - before).total_seconds() >= ACK_WAIT_S - 0.1
    assert (again.data, again.attempt) == (b"a", 2)
    await again.ack()


async def test_progress_keeps_a_command(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    for _ in range(5):
        await place.pass_time(ACK_WAIT_S / 2)
        await work.in_progress()
        assert await queue.take(1, 0.0) == []
    await work.ack()


async def test_a_late_ack_of_an_old_delivery_counts(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (old,) = await _take(place, queue)
    (new,) = await _take(place, queue)
    assert new.attempt == 2
    await old.ack()
    await place.pass_time(ACK_WAIT_S + 0.3)
    assert await _take(place, queue, wait_s=0.2) == []


async def test_no_more_in_flight_than_allowed(place: Place, backend: Backend) -> None:
    other = await place.backend()
    queue = await _queue(backend, in_flight_max=2)
    second = await _queue(other, in_flight_max=2)
    await _send(place, backend, "a", "b", "c", "d")
    works = await _taken(place, queue, 2)
    assert await _take(place, second, 2, wait_s=0.2) == []
    await works[0].ack()
    (work,) = await _take(place, second, 2)
    assert work.data == b"c"


async def test_a_delayed_command_counts_as_in_flight(place: Place, backend: Backend) -> None:
    queue = await _queue(backend, in_flight_max=1)
    await _send(place, backend, "a", "b")
    (work,) = await _take(place, queue)
    await work.nak(0.8)
    assert await _take(place, queue, wait_s=0.3) == []
    (work,) = await _take(place, queue)
    assert (work.data, work.attempt) == (b"a", 2)
    await work.ack()
    (work,) = await _take(place, queue)
    assert (work.data, work.attempt) == (b"b", 1)


async def test_what_comes_again_goes_before_the_new(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    await work.nak()
    await _send(place, backend, "b")
    works = await _taken(place, queue, 2)
    assert [(work.data, work.attempt) for work in works] == [(b"a", 2), (b"b", 1)]


async def test_workers_share_a_queue(place: Place, backend: Backend) -> None:
    other = await place.backend()
    queues = [await _queue(backend), await _queue(other)]
    keys = [f"k{number}" for number in range(20)]
    await _send(place, backend, *keys)
    found: list[bytes] = []
    while len(found) < len(keys):
        for queue in queues:
            for work in await _take(place, queue, 3, wait_s=1.0):
                found.append(work.data)
                await work.ack()
    assert sorted(found) == sorted(key.encode() for key in keys)


async def test_what_was_not_taken_goes_back_at_close(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a", "b", "c", "d")
    (first,) = await _take(place, queue, 1)
    await queue.close()
    await queue.close()
    second = await _queue(await place.backend())
    works: list[Work] = []

    async def rest() -> bool:
        works.extend(await _take(place, second, 10, wait_s=0.1))
        return len(works) >= 3

    await place.until(rest, within_s=ACK_WAIT_S * 0.6)
    assert sorted(work.data for work in works) == [b"b", b"c", b"d"]
    await first.ack()


async def test_closing_ends_a_waiting_take(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    taking = asyncio.ensure_future(queue.take(1, 8.0))
    await place.pass_time(0.1)
    await queue.close()
    assert await place.result(taking, within_s=2.0) == []


async def test_a_cancelled_take_loses_nothing(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    taking = asyncio.ensure_future(queue.take(1, 8.0))
    await place.pass_time(0.1)
    taking.cancel()
    await asyncio.wait({taking})
    await _send(place, backend, "a")
    (work,) = await _take(place, queue)
    assert work.data == b"a"


async def test_a_queue_opened_again_goes_on(place: Place, backend: Backend) -> None:
    queue = await _queue(backend)
    await _send(place, backend, "a", "b")
    (work,) = await _take(place, queue)
    await work.ack()
    await queue.close()
    (work,) = await _take(place, await _queue(backend))
    assert work.data == b"b"


@pytest.mark.parametrize(("ack_wait_s", "in_flight_max"), [(2.0, 100), (ACK_WAIT_S, 7)])
async def test_other_settings_are_a_drift(
    place: Place, backend: Backend, ack_wait_s: float, in_flight_max: int
) -> None:
    await _queue(backend)
    other = await place.backend()
    with pytest.raises(TopologyDrift):
        await other.queues.open("pay", ack_wait_s=ack_wait_s, in_flight_max=in_flight_max)


async def test_a_queue_tells_how_it_stands(place: Place, backend: Backend) -> None:
    onlooker = await place.backend()
    assert await onlooker.queues.state("pay") is None
    queue = await _queue(backend)
    await _send(place, backend, "a", "b", "c")
    await _send(place, backend, "elsewhere", target="ship")
    state = await onlooker.queues.state("pay")
    assert state == QueueState(waiting=3, in_flight=0, asking=0)
    works = await _taken(place, queue, 3)
    asking = asyncio.ensure_future(queue.take(1, 8.0))

    async def stands() -> bool:
        return await onlooker.queues.state("pay") == QueueState(waiting=0, in_flight=3, asking=1)

    await place.until(stands)
    await works[0].ack()
    await works[1].nak(delay_s=60.0)

    async def one_ended() -> bool:
        return await onlooker.queues.state("pay") == QueueState(waiting=0, in_flight=2, asking=1)

    await place.until(one_ended)
    await queue.close()
    assert await place.result(asking) == []
