"""Goal: the projections follow both streams, live as from nothing, whatever is found at a start.

Method: an engine runs the sample sagas on a real server while a projector follows; what it has made
must equal, row by row, tables built from nothing afterwards. Then the same folder is opened again
after each thing that can happen to it: nothing, a lost or broken file, other streams, another
version, other secrets, a second process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct

from jobs.engine import Engine
from sagas.definition import Registry
from store.client import SagaClient
from store.duck import projection
from store.duck.projection import DuckProjections
from store.jetstream import JetStreamBackend, connect
from store.live_mask import LiveMask
from store.memory import MemoryBroker
from store.projection.port import ReadError, WriteError
from store.projection.schema import RELATIONS
from store.subjects import Names
from tests.conftest import LONG, NatsServer
from tests.projector_kit import Projecting, files, projecting, retell, rows_from_nothing
from tests.unit.jobs.sample import all_sagas
from tests.unit.store.projected import tell
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

COUNTED = "SELECT count(*) AS count FROM instances"
HEADERS, BLOCK = 12_288, 262_144  # of DuckDB's files
FROM_NOTHING = "built from nothing"


class Counted(Struct):
    """A row that is always there."""

    count: int


@pytest.fixture
def names(fresh_names: Callable[[], Names]) -> Names:
    """An installation that no other test has."""
    return fresh_names()


@pytest_asyncio.fixture
async def backend(nats_server: NatsServer, names: Names) -> AsyncIterator[JetStreamBackend]:
    """All ports of one process."""
    backend = await connect(nats_server.url, names)
    yield backend
    await backend.close()


@pytest_asyncio.fixture
async def engine(backend: JetStreamBackend, names: Names) -> AsyncIterator[Engine]:
    """An engine with the sample sagas."""
    engine = Engine(backend, names, Registry(all_sagas()), engine_id="e")
    await engine.start()
    yield engine
    await engine.stop()


async def _work(client: SagaClient, first: int, last: int) -> None:
    """Orders from the beginning to all kinds of ends, and messages that nobody can take."""
    for number in range(first, last):
        key = f"o-{number}"
        for type in ("Placed", "Noted", "Armed", *_KINDS[number % len(_KINDS)]):
            await client.publish(type, {"order": key, "n": number, "amount": number}, key=key)
        if number % 5 == 0:
            await client.publish("Placed", {"order": key, "amount": "x"}, key=key)
            await client.publish("Nobody", {}, key=key)
        if number % 7 == 0:
            await eventually(partial(client.latest, "Order", key), 10, f"{key} being there")
            await client.act("Order", key, "pause", by="Ola", reason="lunch")
            await client.act("Order", key, "resume", by="Ola")
            await client.act("Order", key, "resume", by="Ola")


_KINDS = (
    *(("Disarmed",), ("Paid",), ("Broken", "Noted")),
    *(("Told",), ("Declined", "Noted"), ("Armed",)),
)


async def test_live_and_from_nothing_make_the_same_rows(
    backend: JetStreamBackend, names: Names, engine: Engine, tmp_path: Path
) -> None:
    client = SagaClient(backend, names)
    async with projecting(backend, names, tmp_path / "live") as live:
        await _work(client, 0, 40)
        await _decided(backend, names)
        await live.caught_up()
        rows = live.rows()
        assert rows == await rows_from_nothing(backend, names, tmp_path / "again")
        progress = live.projections.progress
        assert (progress.lag, progress.lag_s, progress.fault) == (0, 0.0, "")
    for relation in ("instances", "events", "timers", "dead_letters", "operator_actions"):
        assert len(rows[relation]) > 2, relation
    assert {row[-3] for row in rows["events"]} == {"applied", "dead_letter", "no_saga", "ignored"}


async def _decided(backend: JetStreamBackend, names: Names) -> None:
    """Wait until the log stands still: nothing is left to decide."""
    seen = [0]

    async def still() -> bool:
        last = (await backend.log.extent("log")).last
        seen.append(last)
        return len(seen) > 25 and len(set(seen[-25:])) == 1

    await eventually(still, 20, "the log standing still")


async def test_a_rebuild_is_swapped_in_while_reading_and_following_go_on(
    backend: JetStreamBackend, names: Names, engine: Engine, tmp_path: Path
) -> None:
    client = SagaClient(backend, names)
    async with projecting(backend, names, tmp_path) as live:
        await _work(client, 0, 15)
        reads: list[int] = []

        async def read_on() -> None:
            while True:
                reads.append(len(await live.projections.fetch(COUNTED, {}, Counted)))
                await asyncio.sleep(0)

        reader = asyncio.create_task(read_on())
        work = asyncio.create_task(_work(client, 15, 30))
        rebuilt = await live.projector.rebuild()
        assert not reader.done(), "a read failed while the tables were swapped"
        reader.cancel()
        await work
        await _decided(backend, names)
        await live.caught_up()
        assert rebuilt.same
        assert rebuilt.before
        assert min(reads) == 1
        state = live.projector.rebuilder.state
        assert state is not None
        assert (state.status, state.part) == ("done", 1.0)
        rows = live.rows()
    assert rows == await rows_from_nothing(backend, names, tmp_path / "again")
    assert len([name for name in files(tmp_path) if name.endswith(".duckdb")]) == 1


# --- starts, on the memory broker: the story is there before


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    """A broker that holds the story."""
    broker = MemoryBroker()
    await retell(broker, await tell())
    yield broker
    await broker.close()


@pytest_asyncio.fixture
async def filled(broker: MemoryBroker, tmp_path: Path) -> dict[str, list[Any]]:
    """The rows in ``tmp_path / "p"``, closed in order."""
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        return made.rows()


async def test_a_first_start_is_nothing_to_warn_of(
    broker: MemoryBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with projecting(broker.backend(), broker.names, tmp_path / "p"):
        pass
    [told] = [one for one in caplog.records if FROM_NOTHING in one.getMessage()]
    assert told.levelno == logging.INFO
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.INFO] == []


async def test_a_second_start_goes_on_where_the_first_stopped(
    broker: MemoryBroker,
    filled: dict[str, list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await broker.backend().door.publish(broker.names.event("Nobody", "late"), b"{}")
    caplog.set_level(logging.INFO)
    caplog.clear()
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as again:
        rows = again.rows()
    assert len(rows["events"]) == len(filled["events"]) + 1
    assert rows["transitions"] == filled["transitions"]
    assert FROM_NOTHING not in caplog.text


Harm = Callable[[Path], None]


def _delete(folder: Path) -> None:
    for path in folder.glob("*.duckdb"):
        path.unlink()


def _garbage(folder: Path) -> None:
    for path in folder.glob("*.duckdb"):
        path.write_bytes(b"\x00garbage" * 4000)


def _truncate(folder: Path) -> None:
    for path in folder.glob("*.duckdb"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _flip(folder: Path) -> None:
    """Turn bits over all blocks behind the headers."""
    for path in folder.glob("*.duckdb"):
        data = bytearray(path.read_bytes())
        for place in range(12_300, len(data), 997):
            data[place] ^= 0xFF
        path.write_bytes(data)


def _empty(folder: Path) -> None:
    for path in folder.glob("*.duckdb"):
        path.write_bytes(b"")


def _forget(folder: Path) -> None:
    (folder / "current").unlink()


def _nonsense(folder: Path) -> None:
    (folder / "current").write_text("../../etc/passwd\n")


@pytest.mark.parametrize("harm", [_delete, _garbage, _truncate, _flip, _empty, _forget, _nonsense])
async def test_a_lost_or_broken_file_is_made_anew(
    broker: MemoryBroker,
    filled: dict[str, list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    harm: Harm,
) -> None:
    folder = tmp_path / "p"
    harm(folder)
    caplog.set_level(logging.INFO)
    caplog.clear()
    async with projecting(broker.backend(), broker.names, folder) as again:
        await eventually(partial(_whole, again), 15, "all relations being readable")
        assert again.rows() == filled
        assert again.projections.progress.fault == ""
    assert FROM_NOTHING in caplog.text or "their file is damaged" in caplog.text
    if harm in (_garbage, _flip):
        assert "can't be opened" in caplog.text
        assert "broken" in files(folder)
    async with projecting(broker.backend(), broker.names, folder) as third:
        assert third.rows() == filled


async def test_a_damaged_block_is_noticed_by_whoever_reads_it(
    broker: MemoryBroker, filled: dict[str, list[Any]], tmp_path: Path
) -> None:
    """DuckDB looks at a block when it needs it, so the file may well open."""
    folder = tmp_path / "p"
    (path,) = folder.glob("*.duckdb")
    size = path.stat().st_size
    assert size > 3 * BLOCK
    for place in range(HEADERS + 100, size, BLOCK if LONG else 5 * BLOCK):
        path = max(folder.glob("*.duckdb"))  # an ended rebuild may have left one beside it
        data = bytearray(path.read_bytes())
        if place < len(data):
            data[place] ^= 0xFF
        path.write_bytes(data)
        async with projecting(broker.backend(), broker.names, folder) as made:
            await eventually(partial(_whole, made), 15, "all relations being readable")
            assert made.rows() == filled


async def _whole(made: Projecting) -> bool:
    """Whether every column of every relation can be read now."""
    try:
        for name in (*(relation.name for relation in RELATIONS), "base.unreadable"):
            sql = f"SELECT count(hash(one)) AS count FROM {name} AS one"
            await made.projections.fetch(sql, {}, Counted)
    except ReadError:
        return False
    return True


async def test_another_broker_with_more_history_is_found_out(
    broker: MemoryBroker,
    filled: dict[str, list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = MemoryBroker(broker.names)
    await other.advance(60.0)
    other = MemoryBroker(broker.names, clock=other.clock)  # made later than the first one
    for number in range(200):
        await other.backend().door.publish(other.names.event("Nobody", f"k{number}"), b"{}")
    caplog.clear()
    async with projecting(other.backend(), other.names, tmp_path / "p") as made:
        rows = made.rows()
    assert "another one than before" in caplog.text
    assert len(rows["events"]) == 200
    assert rows["instances"] == []
    await other.close()


@pytest.mark.parametrize("stream", ["events", "log"])
async def test_a_lost_end_whose_sequences_were_given_again_is_found_out(
    broker: MemoryBroker,
    filled: dict[str, list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    stream: str,
) -> None:
    source = broker.events if stream == "events" else broker.log
    subject = broker.names.event("Nobody", "new")
    if stream == "log":
        subject = broker.names.signal("operator", "new")
    for seq in range(source.last_seq - 9, source.last_seq + 1):
        source.remove(seq)
    source.last_seq -= 10
    for _ in range(12):
        await broker.backend().door.publish(subject, b"{}")
    caplog.clear()
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        rows = made.rows()
    assert "is not the one they were made of" in caplog.text
    assert rows == await rows_from_nothing(broker.backend(), broker.names, tmp_path / "q")


async def test_it_is_found_out_while_running_too(
    broker: MemoryBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        last = broker.events.last_seq
        broker.events.remove(last)
        broker.events.last_seq -= 1
        await broker.backend().door.publish(broker.names.event("Nobody", "new"), b"{}")

        async def is_there() -> bool:
            sql = "SELECT count(*) AS count FROM events WHERE key = 'new'"
            try:
                return (await made.projections.fetch(sql, {}, Counted))[0].count == 1
            except ReadError:  # while they are filled anew
                return False

        await eventually(is_there, 15, "the new event")
        assert "the streams have changed" in caplog.text
        assert len(made.rows()["events"]) == last


async def test_other_code_rebuilds_at_start(
    broker: MemoryBroker,
    filled: dict[str, list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection, "code_hash", lambda: "another")
    caplog.clear()
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        assert made.rows() == filled
    assert "another version of the program" in caplog.text


async def test_a_field_that_becomes_secret_is_masked_in_old_rows_too(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    mask = LiveMask()
    async with projecting(broker.backend(), broker.names, tmp_path / "p", mask) as made:
        assert '"amount":7' in str(made.rows())
        mask.learn(["amount"])
        await eventually(lambda: '"amount":7' not in str(made.rows()), 15, "masked rows")
        assert '"amount":"•••"' in str(made.rows()["instances"])
        assert '"amount":"•••"' in str(made.rows()["events"])
    async with projecting(broker.backend(), broker.names, tmp_path / "p", LiveMask()) as made:
        assert '"amount":7' in str(made.rows())


async def test_a_second_process_is_told_who_holds_the_folder(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    async with projecting(broker.backend(), broker.names, tmp_path / "p"):
        second = DuckProjections(tmp_path / "p", broker.names, LiveMask())
        with pytest.raises(WriteError, match=r"in use by another process \(pid \d+\).*--data"):
            await second.open()
        await second.close()
