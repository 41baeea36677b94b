"""Goal: on a cluster of three, history is archived, backed up and brought back as on one server.

Method: orders end on three servers with three copies of everything; they are archived, and a backup
of one server is restored into an empty cluster. Each server is then asked in turn, with another one
down.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from jobs import JobRegistry
from jobs.engine import Engine
from jobs.worker import Worker
from sagas.definition import Registry
from server.archives import archive_instances, with_archive
from server.backups import back_up, restore
from server.embedded_cluster import EmbeddedCluster
from server.settings import Settings
from store.jetstream import JetStreamBackend, connect
from store.port import Backend, Stored
from store.proof.findings import Findings
from store.proof.streams import prove_streams
from store.subjects import Names
from tests.chaos import app
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

NAMES = Names()
ORDERS = 12


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(tmp_path / "three", 3, port=0, sync_always=False) as servers:
        yield servers


async def _histories(backend: Backend) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = {}
    async for last in backend.log.latest(NAMES.instances()):
        found[last.subject] = [m async for m in backend.log.history(last.subject)]
    return found


async def _orders(backend: JetStreamBackend) -> None:
    """Orders that run to their ends."""
    engine = Engine(backend, NAMES, Registry(app.sagas))
    worker = Worker(backend, NAMES, JobRegistry([app.reserve, app.charge, app.give_back]))
    await engine.start()
    await worker.start()
    for number in range(ORDERS):
        body = msgspec.json.encode({"order": f"o-{number}", "fate": app.fate(number)})
        await backend.door.publish(NAMES.event("OrderCreated", f"o-{number}"), body)

    async def ended() -> bool:
        seen = [m async for m in backend.log.latest(NAMES.instances("ChaosOrder"))]
        running = (b'"status":"running"', b'"status":"compensating"')
        return len(seen) == ORDERS and not any(word in m.data for m in seen for word in running)

    await eventually(ended, 60, what="the orders' ends")
    await worker.stop()
    await engine.stop()


async def test_archived_on_three_servers_and_brought_back_into_three_others(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    backend = await connect(cluster.url, NAMES, partitions=2, replicas=3)
    settings = Settings(nats_url=cluster.url, data=str(tmp_path / "data"))
    await _orders(backend)
    before = await _histories(backend)
    done = await archive_instances(settings, "0s", "", lambda *_: None)
    assert (done.instances, done.left) == (ORDERS, {})
    alone = await _histories(backend)
    assert [len(history) for history in alone.values()] == [1] * ORDERS
    assert await _histories(with_archive(settings, backend, NAMES)) == before
    folder = tmp_path / "backup"
    await back_up(settings, folder, None, lambda *_: None)
    await backend.close()

    async with EmbeddedCluster(tmp_path / "others", 3, port=0, sync_always=False) as others:
        new = Settings(nats_url=others.url, data=str(tmp_path / "new"), replicas=3)
        await restore(new, folder, lambda *_: None)
        backend = await connect(others.url, NAMES, partitions=2, replicas=3)
        try:
            assert backend.replicas == 3
            whole = with_archive(new, backend, NAMES)
            assert await _histories(whole) == before
            findings = Findings()
            await prove_streams(whole, NAMES, findings, lambda *_: None)
            assert findings.list() == ()
            await others.nodes[0].stop()

            async def still() -> bool:
                return await _histories(whole) == before

            await eventually(still, 60, what="the same with one server down")
        finally:
            await backend.close()
