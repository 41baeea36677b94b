"""Goal: history of ended instances moves to files and nothing can tell, but for the room it frees.

Method: a server with orders that ended in every way, under hostile keys too, one that waits for a
worker and a bell that was never rung. What histories, projections and the proof said before is
compared with what they say afterwards, message by message and row by row. Late messages must change
nothing, an operator may still undo, and what changed again is archived again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs.engine import Engine
from jobs.message_ids import ids_of
from sagas.definition import Registry
from sagas.instance import SEEN_MAX
from server.archives import archive_folder, open_archive, with_archive
from server.archiving import archive_instances, list_sets
from server.backups import back_up, check_backup, restore, restore_for_looking
from server.embedded import EmbeddedServer
from server.settings import Settings
from store.archive.catalog import ArchiveError
from store.archive.proving import prove_archive
from store.archive.spanning import Spanning
from store.archive.survey import OPEN
from store.backup.manifest import BackupError
from store.client import SagaClient
from store.jetstream import JetStreamBackend, connect
from store.port import Stored
from store.proof.findings import Findings
from store.proof.streams import prove_streams
from store.subjects import Names, escape
from tests.chaos import app
from tests.conformance.samples import HOSTILE_KEYS
from tests.orders_kit import all_ended, histories, working
from tests.projector_kit import rows_from_nothing
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

NAMES = Names()
PARTITIONS = 2
ORDERS = 10


class _Site:
    """A server with an installation, and its archive."""

    def __init__(self, home: Path, server: EmbeddedServer, backend: JetStreamBackend) -> None:
        self.home = home
        self.server = server
        self.backend = backend
        self.settings = Settings(nats_url=server.url, data=str(home / "data"))

    @property
    def whole(self) -> Spanning:
        return with_archive(self.settings, self.backend, NAMES)

    async def archive(self, before: str = "0s", only: str = "", **options: Any) -> Any:
        return await archive_instances(self.settings, before, only, lambda *_: None, **options)

    async def publish(self, type: str, key: str, id: str = "", **payload: object) -> None:
        body = msgspec.json.encode({"order": key, "bell": key, **payload})
        subject = NAMES.event(type, key)
        await self.backend.door.publish(subject, body, {}, id or f"{type}-{escape(key)}")

    async def state(self, saga: str, key: str) -> dict[str, Any] | None:
        stored = await self.backend.log.read(NAMES.instance(saga, key))
        return msgspec.json.decode(stored.data) if stored else None

    async def revisions(self, key: str, saga: str = "ChaosOrder") -> list[Stored]:
        return [m async for m in self.backend.log.history(NAMES.instance(saga, key))]

    async def found(self) -> Findings:
        findings = Findings()
        await prove_streams(self.whole, NAMES, findings, lambda *_: None)
        return findings


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[_Site]:
    """Orders that ended, also under hostile keys; one that waits, and a bell that is set."""
    server = EmbeddedServer(tmp_path / "server", port=0, sync_always=False)
    await server.start()
    backend = await connect(server.url, NAMES, partitions=PARTITIONS)
    site = _Site(tmp_path, server, backend)
    async with working(site.backend, NAMES):
        for number in range(ORDERS):
            await site.publish("OrderCreated", f"o-{number}", fate=app.fate(number))
        for key in HOSTILE_KEYS:
            await site.publish("OrderCreated", key, fate=app.GOOD)
        count = ORDERS + len(HOSTILE_KEYS)
        await eventually(lambda: all_ended(backend, NAMES, count), 30, what="the orders' ends")
    engine = Engine(backend, NAMES, Registry(app.sagas))
    await engine.start()
    await site.publish("OrderCreated", "waits", fate=app.GOOD)
    await site.publish("BellSet", "late", after_s=3600)
    await eventually(lambda: site.state("Bell", "late"), what="the bell being set")
    await eventually(lambda: site.state("ChaosOrder", "waits"), what="the last order")
    await engine.stop()
    yield site
    await backend.close()
    await server.stop()


async def test_nothing_can_tell(site: _Site) -> None:
    before = await histories(site.backend, NAMES)
    rows = await rows_from_nothing(site.backend, NAMES, site.home / "before")
    done = await site.archive()
    assert (done.instances, done.left) == (ORDERS + len(HOSTILE_KEYS), {})
    assert done.by_saga == {"ChaosOrder": done.instances}

    alone = await histories(site.backend, NAMES)
    for subject, history in before.items():
        archived = subject.startswith("$KV.SAGA.i.ChaosOrder.") and not subject.endswith("waits")
        assert alone[subject] == (history[-1:] if archived else history), subject
    left = [m async for m in site.backend.log.history("saga.commands.>")]
    assert [m.headers["Snorri-Key"] for m in left] == ["waits"]

    assert await histories(site.whole, NAMES) == before
    assert await rows_from_nothing(site.whole, NAMES, site.home / "after") == rows
    assert (await site.found()).list() == ()
    for history in before.values():
        for stored in history:
            assert await site.whole.log.at("log", stored.seq) == stored


async def test_a_second_run_finds_nothing_and_a_preview_changes_nothing(site: _Site) -> None:
    before = await site.backend.log.extent("log")
    told = await site.archive(dry_run=True)
    assert await site.backend.log.extent("log") == before
    assert not open_archive(site.settings).catalog.names()
    done = await site.archive()
    assert (told.instances, told.messages, told.bytes) == (
        *(done.instances, done.messages, done.bytes),
    )
    again = await site.archive()
    assert (again.instances, again.removed, again.sets) == (0, 0, ())
    [(one, purged)] = list_sets(site.settings, NAMES)
    assert (one.instances, purged) == (done.instances, True)


async def test_late_messages_change_nothing(site: _Site) -> None:
    await site.archive()
    now = await site.revisions("o-0")
    async with working(site.backend, NAMES):
        await site.publish("OrderCreated", "o-0", id="another id", fate=app.GOOD)
        await site.publish("OrderCreated", "o-0", fate=app.GOOD)
        await site.publish("Reserved", "o-0", id="late answer")
        await site.publish("OrderCreated", "fresh", fate=app.GOOD)

        async def ended() -> bool:
            state = await site.state("ChaosOrder", "fresh")
            return state is not None and state["status"] == "completed"

        await eventually(ended, what="the order after it")
    assert await site.revisions("o-0") == now


async def test_an_operator_still_undoes_what_was_archived_and_it_is_archived_again(
    site: _Site,
) -> None:
    await site.archive()
    async with working(site.backend, NAMES):
        client = SagaClient(site.whole, NAMES)
        reply = await client.act("ChaosOrder", "o-0", "compensate", by="ann", reason="refund")
        assert reply.done, reply

        async def undone() -> bool:
            state = await site.state("ChaosOrder", "o-0")
            return state is not None and state["status"] == "compensated"

        await eventually(undone, what="the compensation")
        await eventually(
            lambda: all_ended(site.backend, NAMES, ORDERS + len(HOSTILE_KEYS) + 1), what="all ends"
        )
    whole = [one.instance.version async for one in client.history("ChaosOrder", "o-0")]
    assert whole == list(range(1, len(whole) + 1))
    assert whole[-1] > 3
    assert (await site.archive()).instances == 2  # this one, and the order that had waited
    again = [one.instance.version async for one in client.history("ChaosOrder", "o-0")]
    assert again == whole
    assert len(await site.revisions("o-0")) == 1
    assert (await site.found()).list() == ()


async def test_an_id_from_long_before_is_still_known(site: _Site) -> None:
    """An instance whose last version does not know the ids of its first messages."""
    async with working(site.backend, NAMES):
        for number in range(2 * SEEN_MAX):
            await site.publish("BellStopped", "late", id=f"stop-{number}")
        client = SagaClient(site.whole, NAMES)

        async def stopped() -> bool:
            state = await site.state("Bell", "late")
            return state is not None and state["version"] == 2 * SEEN_MAX + 1

        await eventually(stopped, what="the bell taking all of them")
        assert (await client.act("Bell", "late", "cancel", by="ann")).done
    assert (await site.archive(only="Bell")).instances == 1
    assert len(await site.revisions("late", "Bell")) == 1
    stored = await site.backend.log.read(NAMES.instance("Bell", "late"))
    assert stored is not None
    assert b"stop-0" not in stored.data
    ids = await ids_of(site.backend.log, NAMES, NAMES.instance("Bell", "late"))
    assert {f"stop-{number}" for number in range(2 * SEEN_MAX)} <= ids
    assert "BellSet-late" in ids


async def test_a_command_that_nobody_acknowledged_keeps_its_instance(site: _Site) -> None:
    async with working(site.backend, NAMES):
        reply = await SagaClient(site.backend, NAMES).act("Bell", "late", "cancel", by="ann")
        assert reply.done, reply
        await eventually(
            lambda: all_ended(site.backend, NAMES, ORDERS + len(HOSTILE_KEYS) + 1),
            what="the last order",
        )
    engine = Engine(site.backend, NAMES, Registry(app.sagas))
    await engine.start()
    await site.publish("OrderCreated", "left", fate=app.GOOD)
    await eventually(lambda: site.state("ChaosOrder", "left"), what="the order")
    reply = await SagaClient(site.backend, NAMES).act("ChaosOrder", "left", "cancel", by="ann")
    assert reply.done, reply
    await engine.stop()
    done = await site.archive()
    assert done.left == {OPEN: 1}
    assert len(await site.revisions("left")) == 2
    assert len(await site.revisions("waits")) == 1
    assert len(await site.revisions("late", "Bell")) == 1


async def test_one_saga_alone_and_only_what_is_old_enough(site: _Site) -> None:
    assert (await site.archive("1h")).instances == 0
    assert (await site.archive("")).instances == 0  # these definitions say nothing of retention
    assert (await site.archive(only="Bell")).instances == 0
    assert (await site.archive(only="ChaosOrder")).instances == ORDERS + len(HOSTILE_KEYS)


async def test_the_proof_names_what_is_missing_and_what_was_altered(site: _Site) -> None:
    await site.archive()
    whole = site.whole
    findings = Findings()
    sets = await prove_archive(whole.archive, whole.log, NAMES, findings, lambda *_: None)
    assert (findings.list(), len(sets)) == ((), 1)

    elsewhere = site.home / "elsewhere"
    folder = archive_folder(site.settings)
    folder.rename(elsewhere)
    findings = await _proof_of(site)
    assert (findings.list()[0].kind, findings.list()[0].count) == ("archive", 1)
    assert "name that folder with --archive" in findings.list()[0].shown[0]
    assert {one.kind for one in findings.list()} == {"archive", "version"}

    elsewhere.rename(folder)
    assert (await _proof_of(site)).list() == ()
    file = folder / sets[0].messages_file.file
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    findings = await _proof_of(site)
    assert findings.list()[0].kind == "archive"
    assert "its bytes are not those" in findings.list()[0].shown[0]


async def _proof_of(site: _Site) -> Findings:
    whole, findings = site.whole, Findings()
    await prove_archive(whole.archive, whole.log, NAMES, findings, lambda *_: None)
    await prove_streams(whole, NAMES, findings, lambda *_: None)
    return findings


async def test_backups_carry_the_archive_and_bring_it_back(site: _Site) -> None:
    """One before there was an archive, one since it with the archive; both together come back."""
    first, second = site.home / "first", site.home / "second"
    await back_up(site.settings, first, None, lambda *_: None)
    await site.archive(only="ChaosOrder")
    async with working(site.backend, NAMES):
        await site.publish("OrderCreated", "fresh", fate=app.GOOD)
        await eventually(
            lambda: all_ended(site.backend, NAMES, ORDERS + len(HOSTILE_KEYS) + 2),
            what="the orders",
        )
    made = await back_up(site.settings, second, first, lambda *_: None)
    assert len(made.manifest.archive) == 1
    alone = site.home / "alone"
    await back_up(site.settings, alone, None, lambda *_: None)
    before = await histories(site.whole, NAMES)
    rows = await rows_from_nothing(site.whole, NAMES, site.home / "rows")

    for number, folder in enumerate((second, alone)):
        _, proof, findings = check_backup(folder, lambda *_: None)
        assert findings.list() == ()
        assert proof.instances == len(before)
        data = site.home / f"restored-{number}"
        await restore(Settings(data=str(data)), folder, lambda *_: None)
        async with _opened(data) as restored:
            assert await histories(restored.whole, NAMES) == before
            assert (await restored.found()).list() == ()
            after = await rows_from_nothing(restored.whole, NAMES, data / "rows")
            assert after == rows
            # What the log got back although it is archived goes again, and nothing else does.
            await restored.archive("1h")
            assert await histories(restored.whole, NAMES) == before
            assert len(await restored.revisions("o-0")) == 1


async def test_an_archive_that_knows_more_than_the_backup_is_not_taken(site: _Site) -> None:
    folder, data = site.home / "backup", site.home / "data"
    await back_up(site.settings, folder, None, lambda *_: None)
    await site.archive()
    with pytest.raises(BackupError, match="which this backup does not know"):
        await restore(Settings(data=str(data)), folder, lambda *_: None)
    assert not (data / "nats").exists()


async def test_a_view_of_a_backup_shows_what_is_archived(site: _Site) -> None:
    folder, data = site.home / "backup", site.home / "view"
    before = await histories(site.backend, NAMES)
    await site.archive()
    made = await back_up(site.settings, folder, None, lambda *_: None)
    settings = Settings(data=str(data))
    await restore_for_looking(settings, folder, made.manifest.cut.at)
    async with _opened(data) as shown:
        assert await histories(shown.backend, NAMES) == before


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[_Site]:
    """A restored installation."""
    server = EmbeddedServer(data, port=0, sync_always=False)
    await server.start()
    backend = await connect(server.url, NAMES, partitions=PARTITIONS)
    site = _Site(data, server, backend)
    site.settings = msgspec.structs.replace(site.settings, data=str(data))
    try:
        yield site
    finally:
        await backend.close()
        await server.stop()


async def test_another_installations_archive_is_refused(site: _Site) -> None:
    await site.archive()
    other = msgspec.structs.replace(site.settings, bucket="OTHER", namespace="other")
    with pytest.raises(ArchiveError, match="is the archive of the bucket SAGA"):
        list_sets(other, Names("other", "OTHER"))
