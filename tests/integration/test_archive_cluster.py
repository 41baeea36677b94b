"""Goal: on a cluster of three, history is archived, backed up and brought back as on one server.

Method: orders end on three servers with three copies of everything; they are archived, and a backup
of one server is restored into an empty cluster. Each server is then asked in turn, with another one
down.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from server.archives import with_archive
from server.archiving import archive_instances
from server.backups import back_up, restore
from server.embedded_cluster import EmbeddedCluster
from server.settings import Settings
from store.jetstream import connect
from store.proof.findings import Findings
from store.proof.streams import prove_streams
from store.subjects import Names
from tests.orders_kit import histories, run_orders
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

NAMES = Names()
ORDERS = 12


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(tmp_path / "three", 3, port=0, sync_always=False) as servers:
        yield servers


async def test_archived_on_three_servers_and_brought_back_into_three_others(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    backend = await connect(cluster.url, NAMES, partitions=2, replicas=3)
    settings = Settings(nats_url=cluster.url, data=str(tmp_path / "data"))
    await run_orders(backend, NAMES, ORDERS)
    before = await histories(backend, NAMES)
    done = await archive_instances(settings, "0s", "", lambda *_: None)
    assert (done.instances, done.left) == (ORDERS, {})
    alone = await histories(backend, NAMES)
    assert [len(history) for history in alone.values()] == [1] * ORDERS
    assert await histories(with_archive(settings, backend, NAMES), NAMES) == before
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
            assert await histories(whole, NAMES) == before
            findings = Findings()
            await prove_streams(whole, NAMES, findings, lambda *_: None)
            assert findings.list() == ()
            await others.nodes[0].stop()

            async def still() -> bool:
                return await histories(whole, NAMES) == before

            await eventually(still, 60, what="the same with one server down")
        finally:
            await backend.close()
