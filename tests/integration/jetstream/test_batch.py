"""Each outcome of a commit is met on a real server, by its error code where it has one.

Goal: the table of codes means what the server means, and nothing that we send closes the
connection. Method: provoke each fault; where our own checks would stop it, send the raw commands
past them.
"""

from __future__ import annotations

import asyncio

import pytest

from store.jetstream import JetStreamBackend, api, batch, codes, connect
from store.jetstream.link import Link
from store.port import Busy, Committed, Conflict, Invalid, Outgoing, Unknown
from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.jetstream.conftest import Configured
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

HOSTILE = ["*", ">", "a.*", "a b", "=", "é", "🙂", "$JS.API.>", "\x00", "\r\nPUB x 0", "%s", "../x"]


def _revision(names: Names, key: str, expect: int | None = None, data: bytes = b"{}") -> Outgoing:
    return Outgoing(names.instance("S", key), data, (), expect)


async def _raw(link: Link, messages: list[Outgoing], batch_id: str) -> codes.ServerError | None:
    """Send a batch without our checks; the error of its answer."""
    reply = await link.exchange(
        messages[0].subject, lambda inbox: batch.commands(messages, batch_id, inbox, 1 << 20)
    )
    return api.ack_of(reply.data).error


async def test_sequences_are_consecutive(backend: JetStreamBackend, names: Names) -> None:
    outcome = await backend.log.commit([_revision(names, f"k{n}", 0) for n in range(1000)])
    assert outcome == Committed(last=1000, count=1000)
    loaded = await backend.log.load([names.instance("S", f"k{n}") for n in range(1000)])
    assert [loaded[names.instance("S", f"k{n}")].seq for n in range(1000)] == list(range(1, 1001))


@pytest.mark.parametrize("others", [0, 3])
async def test_a_wrong_expectation_stores_nothing(
    backend: JetStreamBackend, names: Names, others: int
) -> None:
    assert await backend.log.commit([_revision(names, "a", 0)]) == Committed(1, 1)
    more = [_revision(names, f"b{n}", 0) for n in range(others)]
    outcome = await backend.log.commit([*more, _revision(names, "a", 0)])
    assert isinstance(outcome, Conflict)
    assert "10071" in outcome.reason
    assert [stored.seq async for stored in backend.log.history(names.instances())] == [1]


async def test_an_expectation_on_a_later_message_of_a_subject_conflicts(
    backend: JetStreamBackend, names: Names
) -> None:
    twice = [_revision(names, "a", 0), _revision(names, "a", 1)]
    outcome = await backend.log.commit(twice)
    assert isinstance(outcome, Conflict)
    assert "10164" in outcome.reason


async def test_a_batch_over_the_limit_is_invalid(
    backend: JetStreamBackend, link: Link, names: Names
) -> None:
    many = [_revision(names, f"k{n}") for n in range(1001)]
    ours = await backend.log.commit(many)
    assert isinstance(ours, Invalid)
    theirs = await _raw(link, many, "too-many")
    assert theirs is not None
    assert ours.code == theirs.err_code == 10199
    assert isinstance(await backend.log.commit([]), Invalid)


async def test_too_many_open_batches_are_busy(
    backend: JetStreamBackend, link: Link, names: Names
) -> None:
    pair = [_revision(names, "open"), _revision(names, "open")]
    for number in range(50):
        whole = batch.commands(pair, f"open-{number}", "_INBOX_test.none", 1 << 20)
        link.post(whole[: whole.index(b"HPUB", 1)])  # its first message only
    await link.flush()
    outcome = await backend.log.commit([_revision(names, "a", 0), _revision(names, "b", 0)])
    assert isinstance(outcome, Busy)
    assert "10210" in outcome.reason
    for number in range(50):
        whole = batch.commands(pair, f"open-{number}", "_INBOX_test.none", 1 << 20)
        link.post(whole[whole.index(b"HPUB", 1) :])
    await link.flush()

    async def taken() -> bool:
        return isinstance(
            await backend.log.commit([_revision(names, "a", 0), _revision(names, "b", 0)]),
            Committed,
        )

    await eventually(taken, what="a batch being taken again")


async def test_a_gap_in_a_batch_is_busy_and_stores_nothing(
    backend: JetStreamBackend, link: Link, names: Names
) -> None:
    reply = await link.exchange(
        "x",
        lambda inbox: batch.commands([_revision(names, "a")] * 3, "gap", inbox, 1 << 20).replace(
            b"Sequence: 2", b"Sequence: 7"
        ),
    )
    error = api.ack_of(reply.data).error
    assert error is not None
    assert error.err_code == 10176
    assert isinstance(codes.outcome_of(error), Busy)
    assert await backend.log.load([names.instance("S", "a")]) == {}


@pytest.mark.parametrize("alone", [True, False])
async def test_a_message_id_seen_before_is_invalid(
    backend: JetStreamBackend, names: Names, alone: bool
) -> None:
    marked = Outgoing(names.command("pay", "a"), b"", (("Nats-Msg-Id", "one"),))
    assert isinstance(await backend.log.commit([marked]), Committed)
    outcome = await backend.log.commit([marked] if alone else [marked, _revision(names, "b")])
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10201


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Nats-Expected-Last-Msg-Id", "x", 10177),
        ("Nats-TTL", "0.5s", 10165),
        ("Nats-Rollup", "nonsense", 10111),
        ("Nats-Schedule", "@at never", 10189),
        ("Nats-Scheduler", "saga.timers.x", 10212),
    ],
)
async def test_bad_headers_are_invalid_with_the_server_s_code(
    backend: JetStreamBackend, names: Names, header: str, value: str, code: int
) -> None:
    bad = Outgoing(names.command("pay", "a"), b"", ((header, value),))
    outcome = await backend.log.commit([_revision(names, "a"), bad])
    assert isinstance(outcome, Invalid)
    assert outcome.code == code
    assert await backend.log.load([names.instance("S", "a")]) == {}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    "bad",
    [
        Outgoing("x.*", b""),
        Outgoing("x..y", b""),
        Outgoing("x y", b""),
        Outgoing("x.y\r\nPUB z 0", b""),
        Outgoing("x." + "y" * 4000, b""),
        Outgoing("x.y", b"", (("A", "b\r\nNats-Rollup: all"),)),
        Outgoing("x.y", b"", (("A b", "c"),)),
        Outgoing("x.y", b"x" * (1 << 20)),
        Outgoing("x.y", b"x" * ((1 << 20) - 10), (("A", "b" * 100),)),
        Outgoing("x.y", b"", (("A", "b" * (1 << 20)),)),
    ],
    ids=["star", "empty", "space", "crlf", "long", "header", "name", "big", "nearly", "headers"],
)
async def test_what_would_close_the_connection_is_not_sent(
    backend: JetStreamBackend, link: Link, names: Names, bad: Outgoing, alone: bool
) -> None:
    good = _revision(names, "a")
    assert isinstance(await backend.log.commit([bad] if alone else [good, bad]), Invalid)
    assert backend.connected
    assert isinstance(await backend.log.commit([good, good]), Committed)


async def test_the_largest_message_that_is_allowed_is_stored(
    backend: JetStreamBackend, names: Names
) -> None:
    room = backend.payload_max - 400  # for the headers of a batch
    big = _revision(names, "a", 0, b"x" * room)
    assert isinstance(await backend.log.commit([big, _revision(names, "b", 0)]), Committed)
    stored = await backend.log.read(names.instance("S", "a"))
    assert stored is not None
    assert len(stored.data) == room


@pytest.mark.parametrize("key", HOSTILE)
async def test_hostile_keys_stay_apart(backend: JetStreamBackend, names: Names, key: str) -> None:
    both = [_revision(names, key, 0, b"hostile"), _revision(names, "plain", 0, b"plain")]
    assert isinstance(await backend.log.commit(both), Committed)
    subject = names.instance("S", key)
    loaded = await backend.log.load([subject])
    assert [(stored.data, names.parse_instance(at)) for at, stored in loaded.items()] == [
        (b"hostile", ("S", key))
    ]
    assert [stored.data async for stored in backend.log.history(subject)] == [b"hostile"]


async def test_many_batches_at_once_are_all_stored(backend: JetStreamBackend, names: Names) -> None:
    outcomes = await asyncio.gather(
        *(
            backend.log.commit([_revision(names, f"{n}-{part}", 0) for part in range(5)])
            for n in range(120)
        )
    )
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    ends = sorted(outcome.last for outcome in outcomes if isinstance(outcome, Committed))
    assert ends == list(range(5, 605, 5))


@pytest.mark.chaos
async def test_a_broker_that_dies_makes_the_outcome_unknown_at_once(
    backend: JetStreamBackend, names: Names, nats_server: NatsServer
) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(nats_server.kill)
    try:
        began_s = loop.time()
        outcome = await backend.log.commit([_revision(names, "a", 0), _revision(names, "b", 0)])
        assert isinstance(outcome, Unknown)
        assert loop.time() - began_s < 1
    finally:
        await asyncio.to_thread(nats_server.restart)
    await eventually(lambda: backend.connected, what="the reconnect")
    assert await backend.log.load([names.instance("S", "a")]) == {}  # no ghost of it either


async def test_a_used_up_storage_limit_is_busy(configured: Configured, names: Names) -> None:
    address = await configured("server_name: small", "max_file_store: 2MB")
    limited = await connect(f"nats://{address}", names)
    try:
        for number in range(40):
            big = _revision(names, f"k{number}", 0, b"x" * 100_000)
            outcome = await limited.log.commit([big, _revision(names, f"s{number}", 0)])
            if not isinstance(outcome, Committed):
                break
        assert isinstance(outcome, Busy), outcome
        assert await limited.log.load([names.instance("S", f"s{number}")]) == {}
    finally:
        await limited.close()
