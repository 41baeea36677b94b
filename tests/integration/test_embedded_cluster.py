"""Goal: three servers of our own are one cluster, start and stop as one, and never mix with one.

Method: real nats-servers on free ports in temporary folders.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from server.datadir import command_line, holder_of
from server.doctor import monitor_url_of
from server.embedded import EmbeddedServer
from server.embedded_cluster import EmbeddedCluster
from server.errors import DataDirBusy, LayoutUnknown, PortTaken
from server.settings import Settings
from store.jetstream import connect
from store.port import Committed, Outgoing
from store.subjects import Names
from tests.integration.cli_kit import Snorri, dev
from tests.waiting import eventually, eventually_sync

pytestmark = [pytest.mark.timeout(120)]

NAMES = Names()


@pytest.mark.asyncio
async def test_what_is_acknowledged_survives_the_end_of_any_one_and_a_start_anew(
    tmp_path: Path,
) -> None:
    subject = NAMES.instance("S", "k")
    async with EmbeddedCluster(tmp_path, 3, port=0) as cluster:
        backend = await connect(cluster.url, NAMES, replicas=3)
        assert backend.replicas == 3
        assert isinstance(await backend.log.commit([Outgoing(subject, b"1")]), Committed)
        await cluster.nodes[0].kill()
        assert cluster.running

        async def stored() -> bool:
            return isinstance(await backend.log.commit([Outgoing(subject, b"2")]), Committed)

        await eventually(stored, 20, "a commit with two servers of three")
        await cluster.nodes[0].restart()
        await eventually(cluster.healthy, 20, "the cluster being well")
        pids = [node.pid for node in cluster.nodes]
        await backend.close()
    assert all("nats-server" not in command_line(pid) for pid in pids)
    async with EmbeddedCluster(tmp_path, 3, port=0) as again:
        backend = await connect(again.url, NAMES, replicas=3)
        last = await backend.log.read(subject)
        assert last is not None
        assert last.data == b"2"
        await backend.close()


@pytest.mark.asyncio
async def test_a_directory_is_for_one_server_or_for_a_cluster(tmp_path: Path) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    async with EmbeddedServer(one, port=0):
        pass
    with pytest.raises(LayoutUnknown, match=r"single server.*--cluster 1.*restore"):
        await EmbeddedCluster(one, 3, port=0).start()
    async with EmbeddedCluster(three, 3, port=0) as cluster:
        holder = holder_of(three)
        assert holder is not None
        assert holder.ports == tuple(node.port for node in cluster.nodes)
        assert monitor_url_of(Settings(data=str(three))) == cluster.nodes[0].monitor_url
        with pytest.raises(DataDirBusy, match=f"pid {os.getpid()}"):
            await EmbeddedCluster(three, 3, port=0).start()
    with pytest.raises(LayoutUnknown, match=r"cluster of 3.*--cluster 3"):
        await EmbeddedServer(three, port=0).start()
    with pytest.raises(LayoutUnknown, match=r"cluster of 3.*--cluster 3"):
        await EmbeddedCluster(three, 5, port=0).start()
    with pytest.raises(LayoutUnknown, match="one server of a cluster"):
        await EmbeddedServer(three / "nodes" / "n1", port=0).start()
    with pytest.raises(PortTaken, match="65535"):
        await EmbeddedCluster(three, 3, port=65534).start()


@pytest.mark.asyncio
async def test_it_ends_when_most_of_its_servers_have(tmp_path: Path) -> None:
    async with EmbeddedCluster(tmp_path, 3, port=0) as cluster:
        first, second, _ = cluster.nodes
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        assert cluster.running
        os.kill(second.pid, signal.SIGKILL)
        assert await cluster.wait() != 0
        assert not cluster.running


def test_dev_runs_a_cluster_and_comes_back_with_what_was_in_it(tmp_path: Path) -> None:
    order = ("OrderCreated", '{"orderId":"o-1","total":4999}', "--key", "o-1")
    beside = Snorri(tmp_path)

    def status() -> str:
        return str(beside.json("show", "CheckoutSaga", "o-1")["status"])

    first = dev(tmp_path, "--cluster", "3")
    try:
        assert "a cluster of 3" in first.output
        assert first.output.count("nats-server") >= 1
        beside.run("publish", *order)
        eventually_sync(lambda: status() == "completed", 20, "the end of the order")
        assert beside.json("doctor", code=0)
        assert first.stop() == 130
    finally:
        first.close()
    assert "Traceback" not in first.output
    told = beside.fail("dev", "--nats-port", "0", "--port", "0", code=1)
    assert "--cluster 3" in told
    again = dev(tmp_path, "--cluster", "3")
    try:
        assert status() == "completed"
    finally:
        again.close()
