"""Goal: a disk that is really full costs nothing that was acknowledged. New sagas are refused
before, it is said what is the matter, and with room again all goes on by itself (R08).

Method: `snorri dev` on a small file system of its own, which another file fills to the last byte
while orders are published, and which is freed then. The same below projections alone.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import nats
import nats.errors
import pytest
from msgspec import Struct

from store.jetstream import connect
from store.memory import MemoryBroker
from store.projection.port import ReadError
from store.subjects import Names
from tests.chaos.app import GOOD, LEDGER
from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.failing_disk import Filler, small_disk
from tests.integration.cli_kit import dev, nats_url, port_when_ready
from tests.projector_kit import Projecting, projecting, retell, rows_from_nothing
from tests.unit.store.projected import tell
from tests.waiting import eventually, eventually_sync, until_moment

pytestmark = pytest.mark.timeout(240)

APP = ("--app", "tests.chaos.mixed.app")
DISK_BYTES = 120_000_000
PROJECTIONS_BYTES = 40_000_000
MESSAGES = 100
TRIED_AGAIN_S = 1.0  # by then it has been tried again
NEARLY_BYTES = 5_000_000  # left; a twentieth of the disk is kept
ANSWER_S = 1.0


def _body(number: int) -> bytes:
    return json.dumps({"order": f"o-{number}", "fate": GOOD}).encode()


async def _place(url: str, numbers: range) -> set[int]:
    """Order by plain NATS, which knows of no refusal; those that were acknowledged. Two without an
    answer are enough.
    """
    acked: set[int] = set()
    client = await nats.connect(url)
    jetstream = client.jetstream(timeout=ANSWER_S)
    failed = 0
    for number in numbers:
        subject = Names().event("OrderCreated", f"o-{number}")
        headers = {"Nats-Msg-Id": f"create-{number}"}
        try:
            await jetstream.publish(subject, _body(number), headers=headers)
            acked.add(number)
        except (nats.errors.Error, TimeoutError):
            failed += 1
        if failed == 2:
            break
    await client.close()
    return acked


async def _judge(url: str, ledger: Path, acked: set[int]) -> None:
    """Every acknowledged order is complete, nothing is there twice, each effect under one id."""
    names = Names()
    backend = await connect(url, names)

    async def complete() -> bool:
        found = await histories(backend, names)
        ended = {key for (_, key), history in found.items() if history[-1].status == "completed"}
        return {f"o-{number}" for number in acked} <= ended and len(ended) == len(found)

    await eventually(complete, 60, "all orders being complete")
    found = await histories(backend, names)
    await check_commands(backend, names, found)
    check_ledger(ledger, {(job, key) for _, key in found for job in ("reserve", "charge")})
    await backend.close()


def _reasons(api: httpx.Client) -> str:
    """Why it is not ready, empty when it is."""
    answer = api.get("/health/ready")
    return "" if answer.status_code == 200 else answer.text


def test_a_full_disk_loses_nothing_and_is_recovered_from_by_itself(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        filler = Filler(disk)
        process = dev(tmp_path, *APP, "--sync-always", "--data", "disk", **{LEDGER: str(ledger)})
        try:
            port = port_when_ready(process)
            url = nats_url(disk)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as api:
                acked = asyncio.run(_place(url, range(20)))
                assert len(acked) == 20

                filler.leave(NEARLY_BYTES)
                eventually_sync(lambda: _refusing(api), 20, "new sagas being refused")
                order = {"type": "OrderCreated", "payload": json.loads(_body(99)), "key": "o-99"}
                refused = api.post("/api/v1/sagas/publish", json=order)
                assert refused.status_code == 503
                assert "new sagas are refused" in refused.json()["reason"]
                assert _reasons(api) == "", "what runs goes on"

                filler.take_all()
                acked |= asyncio.run(_place(url, range(1000, 3000)))
                assert len(acked) < 1000, "the disk was not full"
                told = eventually_sync(lambda: _reasons(api), 20, "readiness telling of it")
                assert "store" in told
                assert api.get("/health/live").status_code == 200
                assert api.get("/api/v1/sagas/instances").status_code == 200

                filler.free()
                eventually_sync(lambda: not _reasons(api), 60, "being ready again by itself")
                eventually_sync(
                    lambda: api.post("/api/v1/sagas/publish", json=order).status_code == 200,
                    *(40, "new sagas being taken by itself"),
                )
                asyncio.run(_judge(url, ledger, acked | {99}))
                whole = process.run("verify", "--data", "disk", "--port", port).stdout
                assert "whole: nothing is missing" in whole
        finally:
            process.close()


def _refusing(api: httpx.Client) -> bool:
    return bool(api.get("/api/v1/overview").json()["refusing"])


class _Counted(Struct):
    count: int


async def _readable(made: Projecting) -> bool:
    """Whether what was there before the disk was full can be read."""
    sql = "SELECT count(*) AS count FROM instances"
    try:
        (row,) = await made.projections.fetch(sql, {}, _Counted)
    except ReadError:
        return False
    return row.count > 0


@pytest.mark.asyncio
async def test_projections_on_a_full_disk_are_read_and_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.duck.projection.FLUSH_BYTES", 200_000)  # by default 15 s may pass
    broker = MemoryBroker()
    await retell(broker, await tell())
    backend = broker.backend()
    subject = broker.names.event("Nobody", "k")
    with small_disk(tmp_path / "disk", PROJECTIONS_BYTES) as disk:
        filler = Filler(disk)
        async with projecting(backend, broker.names, disk / "p") as made:
            async with made.projections.at_rest():
                filler.take_all()
            for _ in range(MESSAGES):
                await backend.door.publish(subject, json.dumps("x" * 20_000).encode())
            await eventually(lambda: made.projections.progress.fault, 20, "a fault")
            assert "No space left on device" in made.projections.progress.fault
            assert await _readable(made)
            await until_moment(time.monotonic() + TRIED_AGAIN_S)
            assert made.projections.progress.fault
            await eventually(lambda: _readable(made), 5, "being read still")

            filler.free()
            await made.caught_up()
            await eventually(lambda: not made.projections.progress.fault, 15, "no fault any more")
            rows = made.rows()
        assert rows == await rows_from_nothing(backend, broker.names, tmp_path / "anew")
    await broker.close()
