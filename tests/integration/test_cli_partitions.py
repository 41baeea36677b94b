"""Goal: one sees who works on which partition and what waits, also where nobody does.

Method: the command beside a running `snorri dev`, and on streams that no engine serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx

from store.jetstream import connect
from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.cli_kit import Snorri, dev, port_when_ready
from tests.waiting import eventually_sync


def test_every_partition_has_its_engine(tmp_path: Path) -> None:
    process = dev(tmp_path, "--partitions", "2")
    beside = Snorri(tmp_path)
    try:
        beside.run("publish", "OrderCreated", '{"orderId":"o-1"}', "--key", "o-1")

        def read() -> bool:
            found = beside.json("partitions")
            owned = all(one["engine"] == "dev" and one["since"] and one["pid"] for one in found)
            return owned and sum(one["events"] for one in found) > 0

        eventually_sync(read, 20, "the order being read")
        eventually_sync(
            lambda: not any(one["waiting"] for one in beside.json("partitions")), 20, "no lag"
        )
        shown = beside.run("partitions").stdout
        assert shown.count("dev") == 2
        assert "nobody" not in shown
        page = httpx.get(f"http://127.0.0.1:{port_when_ready(process)}/system").text
        table = page.partition('aria-label="Partitions"')[2].partition("</section>")[0]
        assert table.count(">dev<") == 2
    finally:
        process.close()


def test_another_number_of_them_for_an_installation_that_rests(tmp_path: Path) -> None:
    beside = Snorri(tmp_path)
    process = dev(tmp_path)
    try:
        beside.run("publish", "OrderCreated", '{"orderId":"o-1"}', "--key", "o-1")
        told = beside.run("partitions", "--change", "6", code=1).stderr
        assert "engines are running: dev" in told
        eventually_sync(
            lambda: not any(one["waiting"] for one in beside.json("partitions")), 20, "no lag"
        )
        eventually_sync(
            lambda: beside.json("show", "CheckoutSaga", "o-1")["status"] == "completed", 20, "end"
        )
        process.stop()
    finally:
        process.close()
    assert beside.json("partitions", "--change", "6", "--nats-port", "0") == {
        "before": 4,
        "partitions": 6,
    }
    assert "already" in beside.run("partitions", "--change", "6", "--nats-port", "0").stdout
    again = dev(tmp_path, "--partitions", "6")
    try:
        assert len(beside.json("partitions")) == 6
        beside.run("publish", "OrderCreated", '{"orderId":"o-2"}', "--key", "o-2")
        eventually_sync(
            lambda: beside.json("show", "CheckoutSaga", "o-2")["status"] == "completed", 20, "end"
        )
    finally:
        again.close()


def test_what_nobody_reads_waits_and_is_told(
    tmp_path: Path, nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()

    async def fill() -> None:
        backend = await connect(nats_server.url, names, partitions=3)
        for number in range(30):
            await backend.door.publish(names.event("OrderCreated", f"o-{number}"), b"{}")
        await backend.door.publish(names.event("Unkeyed"), b"{}")
        await backend.close()

    asyncio.run(fill())
    beside = Snorri(tmp_path)
    where = ("--nats-url", nats_server.url, "--bucket", names.bucket)
    where = (*where, "--namespace", names.namespace)
    found = beside.json("partitions", *where)
    assert [one["partition"] for one in found] == [0, 1, 2]
    assert sum(one["waiting"] for one in found) == 31
    assert all(one["engine"] == "" and one["since"] is None for one in found)
    told = beside.run("partitions", *where)
    assert "nobody works on 0, 1, 2" in told.stdout + told.stderr
