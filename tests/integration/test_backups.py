"""Goal: what was backed up from a real server comes back on another one as it was, and goes on.

Method: a server with orders that have ended, one that waits for a worker, a timer that is set and
one that falls due before the restore. After it every message is compared with what was there, under
its sequence and time; then the engine and a worker go on. Half restores, servers that are not empty
and changed bytes must be refused, and leave nothing behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs import JobRegistry
from jobs.engine import Engine
from jobs.worker import Worker
from sagas.definition import Registry
from server.backups import NotWhole, back_up, check_backup, restore
from server.embedded import EmbeddedServer
from server.settings import Settings
from store.backup import restored as restored_module
from store.backup.manifest import BackupError
from store.backup.reading import Reading, is_fleeting
from store.jetstream import JetStreamBackend, connect
from store.jetstream.restoring import NotEmpty, open_restorer
from store.jetstream.snapshot import State
from store.port import Stored, StoreError, StreamName
from store.proof.findings import Findings
from store.proof.streams import prove_streams
from store.subjects import Names
from tests.chaos import app
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

NAMES = Names()
PARTITIONS = 2


class _Running:
    """A server of its own with an installation, in folders of ``home``."""

    def __init__(self, home: Path, server: EmbeddedServer) -> None:
        self.home = home
        self.server = server
        self.backend: JetStreamBackend | None = None

    async def open(self) -> JetStreamBackend:
        if self.backend is None:
            self.backend = await connect(self.server.url, NAMES, partitions=PARTITIONS)
        return self.backend

    async def close(self) -> None:
        if self.backend is not None:
            await self.backend.close()
        await self.server.stop()

    @property
    def settings(self) -> Settings:
        return Settings(nats_url=self.server.url)


async def _running(home: Path, data: str) -> _Running:
    server = EmbeddedServer(home / data, port=0, sync_always=False)
    await server.start()
    return _Running(home, server)


@pytest_asyncio.fixture
async def source(tmp_path: Path) -> AsyncIterator[_Running]:
    """Orders that ended, one that waits for a worker, bells that will ring late and soon."""
    running = await _running(tmp_path, "source")
    backend = await running.open()
    engine = Engine(backend, NAMES, Registry(app.sagas))
    worker = Worker(backend, NAMES, JobRegistry([app.reserve, app.charge, app.give_back]))
    await engine.start()
    await worker.start()
    for number in range(10):
        await _publish(backend, "OrderCreated", f"o-{number}", fate=app.fate(number))
    await eventually(lambda: _all_ended(backend, 10), what="the orders' ends")
    await worker.stop()
    await _publish(backend, "OrderCreated", "waits", fate=app.GOOD)
    await _publish(backend, "BellSet", "late", after_s=3600)
    await _publish(backend, "BellSet", "soon", after_s=3)
    await eventually(lambda: _state(backend, "Bell", "soon"), what="the bell being set")
    await eventually(lambda: _state(backend, "ChaosOrder", "waits"), what="the last order")
    yield running
    await engine.stop()
    await running.close()


async def _publish(backend: JetStreamBackend, type: str, key: str, **payload: object) -> None:
    body = msgspec.json.encode({"order": key, "bell": key, **payload})
    await backend.door.publish(NAMES.event(type, key), body, {}, f"{type}-{key}")


async def _all_ended(backend: JetStreamBackend, count: int) -> bool:
    seen = [m async for m in backend.log.latest(NAMES.instances("ChaosOrder"))]
    open = [m for m in seen if b'"status":"running"' in m.data or b'"compensating"' in m.data]
    return len(seen) == count and not open


async def _state(backend: JetStreamBackend, saga: str, key: str) -> dict[str, Any] | None:
    stored = await backend.log.read(NAMES.instance(saga, key))
    return msgspec.json.decode(stored.data)["state"] if stored else None


async def _all(backend: JetStreamBackend, stream: StreamName, goal: int) -> list[Stored]:
    reading = Reading(backend.feeds, stream, 0, goal)
    found: list[Stored] = []
    while not reading.done:
        found += [one for one in await reading.take() if not is_fleeting(NAMES, one)]
    await reading.close()
    return found


async def test_everything_comes_back_and_goes_on(source: _Running) -> None:
    before = await source.open()
    folder = source.home / "backup"
    made = await back_up(source.settings, folder, None, lambda *_: None)
    cut = made.manifest.cut
    await restore(Settings(data=str(source.home / "new")), folder, lambda *_: None)

    target = await _running(source.home, "new")
    try:
        after = await target.open()
        for stream, goal in (("log", cut.log), ("events", cut.events)):
            was = await _all(before, stream, goal)  # type: ignore[arg-type]
            assert was
            assert await _all(after, stream, goal) == was  # type: ignore[arg-type]
        timers = {m.subject async for m in after.log.latest("saga.timers.>")}
        assert NAMES.timer("Bell", "late", "ring") in timers

        engine = Engine(after, NAMES, Registry(app.sagas))
        worker = Worker(after, NAMES, JobRegistry([app.reserve, app.charge, app.give_back]))
        await engine.start()
        await worker.start()
        await eventually(lambda: _all_ended(after, 11), what="the order that waited")

        async def rung() -> bool:
            return await _state(after, "Bell", "soon") == {"rang": 1}

        await eventually(rung, what="the bell ringing once")
        assert await _state(after, "Bell", "late") == {"rang": 0}
        # Nothing that was acknowledged ran again: ten orders have no second record of an attempt.
        state = await after.queues.state("reserve")
        assert state is not None
        assert (state.waiting, state.in_flight) == (0, 0)
        attempts = [m async for m in after.log.history("saga.commands.reserve.>")]
        assert len(attempts) == 11
        findings = Findings()
        proof = await prove_streams(after, NAMES, findings, lambda *_: None)
        assert findings.list() == ()
        assert proof.instances == 13
        await worker.stop()
        await engine.stop()
    finally:
        await target.close()


async def test_acknowledged_commands_do_not_run_again(source: _Running) -> None:
    folder = source.home / "backup"
    await back_up(source.settings, folder, None, lambda *_: None)
    await restore(Settings(data=str(source.home / "new")), folder, lambda *_: None)
    target = await _running(source.home, "new")
    try:
        state = await (await target.open()).queues.state("reserve")
        assert state is not None
        assert state.waiting == 1  # of the order that waits; ten were acknowledged
    finally:
        await target.close()


async def test_a_server_that_has_something_is_refused(source: _Running) -> None:
    folder = source.home / "backup"
    await back_up(source.settings, folder, None, lambda *_: None)
    backend = await source.open()
    was = await backend.log.extent("log")
    with pytest.raises(NotEmpty, match="into an empty server"):
        await restore(source.settings, folder, lambda *_: None)
    assert await backend.log.extent("log") == was


async def test_changed_bytes_leave_nothing_behind(
    source: _Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source.home / "backup"
    manifest = (await back_up(source.settings, folder, None, lambda *_: None)).manifest
    read = restored_module.read_segment

    def altered(place: Path, segment: Any) -> Any:
        for stored in read(place, segment):
            data = stored.data.replace(b'"rang":0', b'"rang":7')
            yield msgspec.structs.replace(stored, data=data)

    monkeypatch.setattr(restored_module, "read_segment", altered)
    settings = Settings(data=str(source.home / "new"))
    with pytest.raises(NotWhole, match=r"is not what log-000001\.gz has"):
        await restore(settings, folder, lambda *_: None)
    monkeypatch.undo()
    assert (await restore(settings, folder, lambda *_: None)).id == manifest.id


async def test_a_half_restore_is_used_by_nobody_and_begun_anew(source: _Running) -> None:
    folder = source.home / "backup"
    await back_up(source.settings, folder, None, lambda *_: None)
    target = await _running(source.home, "new")
    try:
        async with open_restorer(target.server.url, NAMES, partitions=PARTITIONS) as restorer:
            await restorer.begin()
            await restorer.restore("log", State(first_seq=1, last_seq=5), (), ())
        with pytest.raises(StoreError, match="a backup is being restored"):
            await connect(target.server.url, NAMES, partitions=PARTITIONS)
        await restore(target.settings, folder, lambda *_: None)
        assert (await (await target.open()).log.extent("log")).last > 5
    finally:
        await target.close()


async def test_an_archive_that_is_cut_short_is_not_taken(source: _Running) -> None:
    async with open_restorer(source.server.url, Names("other", "OTHER"), partitions=2) as restorer:
        await restorer.begin()
        wrong = [Stored("$KV.OTHER.i.a.b", 5, 1, b"{}"), Stored("$KV.OTHER.i.a.b", 4, 2, b"{}")]
        with pytest.raises(StoreError, match="did not take the log back"):
            await restorer.restore("log", State(first_seq=1, last_seq=5), (), wrong)
        await restorer.abandon()


async def test_a_backup_proves_itself_from_its_files(source: _Running) -> None:
    folder = source.home / "backup"
    await back_up(source.settings, folder, None, lambda *_: None)
    manifest, proof, findings = check_backup(folder, lambda *_: None)
    assert findings.list() == ()
    assert proof.instances == 13
    (folder / manifest.segments[0].file).write_bytes(b"")
    with pytest.raises(BackupError, match="its bytes are not those"):
        check_backup(folder, lambda *_: None)
