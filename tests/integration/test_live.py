"""Goal: whoever listens is told of each change once, in order, also over a broken connection.

Method: revisions written as the engine does, a hub behind a real HTTP server, clients on plain
sockets; in memory and on a real nats-server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from sagas.instance import Failure
from server.access.source import AccessSource
from server.live import replay
from server.live.limits import Limits
from store.jetstream.backend import connect
from store.memory import MemoryBroker
from store.port import Committed, Outgoing
from store.projection.port import Progress
from store.subjects import Names
from tests.access_kit import FILE
from tests.live_kit import Client, Writer, mask_all, served
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

QUICK = Limits(heartbeat_s=0.2, tick_s=0.05)


@pytest_asyncio.fixture(params=["memory", "jetstream"])
async def writer(
    request: pytest.FixtureRequest, fresh_names: Callable[[], Names]
) -> AsyncIterator[Writer]:
    """Writes revisions into a fresh installation."""
    names = fresh_names()
    if request.param == "memory":
        broker = MemoryBroker(names, 2)
        yield Writer(broker.backend(), names)
        await broker.close()
    else:
        backend = await connect(request.getfixturevalue("nats_server").url, names, partitions=2)
        yield Writer(backend, names)
        await backend.close()


async def test_each_status_has_its_event(writer: Writer) -> None:
    async with served(writer) as live, Client(live.port) as client:
        await writer.write("a")
        await writer.write("a")
        for status in ("parked", "running", "compensating", "compensated"):
            await writer.write("a", status=status)
        for status in ("paused", "cancelled"):
            await writer.write("b", status=status)
        await writer.write("c", status="completed")
        await writer.write("c", status="completed")
        await writer.write("d", "d", status="failed", error=Failure(type="Boom", message="why"))
        events = await client.events(12)
    told = [(e.name, e.data["key"], e.data["version"], e.data["statusBefore"]) for e in events]
    assert told == [
        ("saga:started", "a", 1, None),
        ("saga:state_changed", "a", 2, "running"),
        ("saga:parked", "a", 3, "running"),
        ("saga:state_changed", "a", 4, "parked"),
        ("saga:compensating", "a", 5, "running"),
        ("saga:compensated", "a", 6, "compensating"),
        ("saga:started", "b", 1, None),
        ("saga:cancelled", "b", 2, "paused"),
        ("saga:started", "c", 1, None),
        ("saga:completed", "c", 1, None),
        ("saga:state_changed", "c", 2, "completed"),
        ("saga:started", "d", 1, None),
    ]
    assert events[8].id is None  # the id comes with the last event of a revision
    assert {e.data["seq"] for e in events if e.id} == {e.id for e in events if e.id}


async def test_a_first_transition_that_ends_is_told_twice_under_one_id(writer: Writer) -> None:
    async with served(writer) as live, Client(live.port) as client:
        seq = await writer.write("c", status="completed")
        started, completed = await client.events(2)
    assert (started.name, started.id) == ("saga:started", None)
    assert (completed.name, completed.id) == ("saga:completed", seq)
    assert started.data == completed.data


async def test_the_data_says_what_happened_and_why(writer: Writer) -> None:
    async with served(writer) as live, Client(live.port) as client:
        await writer.write("a", status="parked", error=Failure(type="Boom", message="why"))
        event = (await client.events(2))[1]
    assert event.data == {
        "seq": event.id,
        "saga": "Shop",
        "key": "a",
        "version": 1,
        "status": "parked",
        "statusBefore": None,
        "at": "2026-01-31T09:00:00Z",
        "cause": {"kind": "event", "type": "Happened", "by": ""},
        "error": {"type": "Boom", "message": "why"},
    }


async def test_filters_choose_by_saga_key_and_status(writer: Writer) -> None:
    async with (
        served(writer) as live,
        Client(live.port, "?saga=Shop") as by_saga,
        Client(live.port, "?saga=Shop&key=b") as by_place,
        Client(live.port, "?key=b") as by_key,
        Client(live.port, "?status=parked&status=failed") as by_status,
        Client(live.port) as everything,
    ):
        await writer.write("a", "b")
        await writer.write("b", saga="Other")
        await writer.write("a", status="parked")
        await writer.write("b", saga="Other", status="failed")
        await writer.write("b", status="completed")

        async def told(client: Client, count: int) -> list[str]:
            events = await client.events(count)
            return [f"{e.data['saga']} {e.data['key']} {e.name[5:]}" for e in events]

        shop = ["Shop a started", "Shop b started", "Shop a parked", "Shop b completed"]
        assert await told(by_saga, 4) == shop
        assert await told(by_place, 2) == ["Shop b started", "Shop b completed"]
        ended = ["Other b failed", "Shop b completed"]
        assert await told(by_key, 4) == ["Shop b started", "Other b started", *ended]
        assert await told(by_status, 2) == ["Shop a parked", "Other b failed"]
        assert len(await told(everything, 6)) == 6


async def test_the_state_comes_when_asked_for_and_is_masked_for_most(writer: Writer) -> None:
    async with (
        served(writer, mask=mask_all) as live,
        Client(live.port, "?state=true&unmask=true") as admin,
        Client(live.port, "?state=true", role="viewer") as viewer,
        Client(live.port) as plain,
    ):
        error = Failure(type="Declined", message="no 4111-1111 here")
        state = {"card": "4111-1111", "n": 1}
        await writer.write("a", state=state, error=error)
        assert (await admin.next()).data["state"] == state
        masked = (await viewer.next()).data
        assert masked["state"] == {"card": "masked", "n": 1}
        assert masked["error"]["message"] == "no masked here"
        assert "state" not in (await plain.next()).data


async def test_who_may_not_listen_any_more_is_told_nothing_more(
    writer: Writer, tmp_path: Path
) -> None:
    path = tmp_path / "access.toml"
    path.write_text(FILE)
    limits = Limits(recheck_s=0.1, tick_s=0.05)
    async with served(writer, limits=limits) as live, Client(live.port) as client:
        await writer.write("a")
        assert (await client.next()).name == "saga:started"
        live.deps.access._source = AccessSource(path)  # from now on one has to log in
        with pytest.raises((EOFError, asyncio.IncompleteReadError)):
            await client.next()


async def test_only_admins_unmask_and_it_is_on_record(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snorri.audit")
    async with served(writer, mask=mask_all) as live:
        async with Client(live.port, "?state=true&unmask=true", role="viewer") as viewer:
            assert viewer.status == 403
        assert not [line for line in caplog.records if line.message == "unmasked"]
        async with Client(live.port, "?state=true&unmask=true") as admin:
            assert admin.status == 200
    assert [line for line in caplog.records if line.message == "unmasked"]


async def test_a_document_that_is_hidden_as_a_whole_is_told_without_its_insides(
    writer: Writer,
) -> None:
    def hide(document: bytes) -> bytes:
        return b'"hidden"'

    async with (
        served(writer, mask=hide) as live,
        Client(live.port, "?state=true", role="viewer") as viewer,
    ):
        await writer.write("a", status="parked", error=Failure(type="Boom", message="4111"))
        data = (await viewer.events(2))[1].data
    assert (data["key"], data["status"], data["error"]) == ("a", "parked", None)
    assert "state" not in data


async def test_what_is_no_revision_is_passed_over(writer: Writer) -> None:
    rubbish = (b"", b"null", b"{", b"\xff", b'{"v":1}', b"[" * 100_000)
    async with served(writer) as live, Client(live.port) as client:
        for n, data in enumerate(rubbish):
            outcome = await writer.backend.log.commit(
                [Outgoing(writer.names.instance("Shop", f"x{n}"), data)]
            )
            assert isinstance(outcome, Committed)
        await writer.write("a")
        assert (await client.next()).data["key"] == "a"


async def test_dead_letters_and_the_projection_are_told_on_request(writer: Writer) -> None:
    async with (
        served(writer) as live,
        Client(live.port, "?include=deadletter&include=projection&saga=Shop") as curious,
        Client(live.port) as plain,
    ):
        live.read.progress = Progress(log_seq=7, log_last=9, lag_s=0.5)
        projection = await curious.next()
        await writer.letter("events-3", saga="Shop", reason="no such order")
        await writer.write("a")
        letter, started = await curious.events(2)
        assert (await plain.next()).name == "saga:started"
    assert projection.name == "projection"
    assert projection.id is None
    assert projection.data == {"seq": 7, "lag": 2, "lagSeconds": 0.5}
    assert letter.name == "deadletter"
    assert (letter.data["id"], letter.data["reason"]) == ("events-3", "no such order")
    assert started.name == "saga:started"


async def test_that_the_broker_is_away_is_told_on_request(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        served(writer) as live,
        Client(live.port, "?include=broker&saga=Shop") as curious,
        Client(live.port) as plain,
    ):
        with monkeypatch.context() as away:
            away.setattr(type(writer.backend), "connected", False)
            told = await curious.next()
        while (back := await curious.next()).data == {"connected": False}:
            pass
        await writer.write("a")
        assert (await curious.next()).name == "saga:started"
        assert (await plain.next()).name == "saga:started"
    assert (told.name, told.id, told.data) == ("broker", None, {"connected": False})
    assert (back.name, back.data) == ("broker", {"connected": True})


async def test_a_broken_stream_resumes_without_loss_or_repeat(writer: Writer) -> None:
    """Many times, in the middle of whatever is going on."""
    total, seen = 600, []
    async with served(writer) as live:

        async def write() -> None:
            for number in range(total // 3):
                await writer.write(*(f"k{number % 17}-{part}" for part in range(3)))

        writing = asyncio.create_task(write())
        last_id: int | None = 0
        while len(seen) < total:
            async with Client(live.port, last_event_id=last_id) as client:
                for _ in range(min(41, total - len(seen))):
                    event = await client.next()
                    seen.append((event.id, event.data["key"], event.data["version"]))
                last_id = client.last_id
        await writing
        async with Client(live.port, last_event_id=last_id) as client:
            await writer.write("last")
            assert (await client.next()).data["key"] == "last"
    assert seen == writer.written[:total]


async def test_a_resumed_stream_knows_the_status_before(writer: Writer) -> None:
    await writer.write("a", "b")
    after = await writer.write("a", status="parked")
    async with served(writer) as live:
        await writer.write("a", status="parked")
        await writer.write("b", status="parked")
        await writer.write("a")
        async with Client(live.port, f"?after={after}") as client:
            events = await client.events(3)
            await writer.write("b", status="completed")
            events.append(await client.next())
    assert [(e.data["key"], e.name, e.data["statusBefore"]) for e in events] == [
        ("a", "saga:state_changed", "parked"),
        ("b", "saga:parked", "running"),
        ("a", "saga:state_changed", "parked"),
        ("b", "saga:completed", "parked"),
    ]


async def test_the_header_goes_before_the_parameter(writer: Writer) -> None:
    async with served(writer) as live:
        first = await writer.write("a")
        second = await writer.write("b")
        await writer.write("c")
        async with Client(live.port, f"?after={first}", last_event_id=second) as client:
            assert (await client.next()).data["key"] == "c"


async def test_a_quiet_stream_moves_its_id_with_the_heartbeats(writer: Writer) -> None:
    async with (
        served(writer, limits=QUICK) as live,
        Client(live.port, "?saga=Nobody") as client,
    ):
        assert client.retry_ms >= 1000
        assert client.headers["content-type"].startswith("text/event-stream")
        seq = await writer.write("a")
        await eventually(lambda: live.hub.last_seq >= seq)
        await client.beat()
        await client.beat()
        assert client.last_id == seq
        assert "heartbeat" in client.comments


async def test_who_is_too_far_behind_is_told_to_load_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "REPLAY_MAX", 20)
    monkeypatch.setattr(replay, "PAGE", 10)
    for _ in range(6):
        await writer.write(*"abcdefg")
    async with served(writer) as live, Client(live.port, last_event_id=0) as client:
        events = await client.events(21)
        end = live.hub.last_seq
        await writer.write("new")
        assert (await client.next()).data["key"] == "new"
    assert [e.data["seq"] for e in events[:20]] == [seq for seq, _, _ in writer.written[:20]]
    assert (events[20].name, events[20].id) == ("saga:reset", end)


async def test_an_id_from_a_longer_log_resets(writer: Writer) -> None:
    await writer.write("a")
    async with served(writer) as live, Client(live.port, last_event_id=10**9) as client:
        reset = await client.next()
        await writer.write("b")
        assert (await client.next()).data["key"] == "b"
    assert (reset.name, reset.id) == ("saga:reset", reset.data["seq"])


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "٣", "9" * 30])
async def test_an_id_that_is_none_is_refused(writer: Writer, given: str) -> None:
    async with served(writer) as live, Client(live.port, last_event_id=given) as client:
        problem = msgspec.json.decode(await client.body())
    assert (client.status, problem["type"]) == (400, "urn:snorri:problem:bad-event-id")
    assert "next" in problem


@pytest.mark.parametrize(
    "query", ["?status=odd", "?include=all", "?after=-1", "?after=x", "?key=", "?sage=A"]
)
async def test_a_bad_parameter_is_refused(writer: Writer, query: str) -> None:
    async with served(writer) as live, Client(live.port, query) as client:
        assert client.status == 400
        assert msgspec.json.decode(await client.body())["next"]
        assert live.hub.seats.taken == 0
