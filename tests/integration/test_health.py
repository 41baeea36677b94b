"""Goal: readiness says the truth and why, liveness and version need nothing, metrics show it all.

Method: an installation in memory or on a real server behind the real application; parts of it are
taken away one at a time.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.health import Readiness
from server.metrics.catalog import Catalog
from server.metrics.scrape import Scrape
from server.metrics.service import MetricsService
from store.jetstream.backend import connect
from store.projection.port import Progress
from store.subjects import Names
from tests.api_kit import answer, open_api
from tests.conftest import NatsServer
from tests.live_kit import NoRows
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def test_a_running_installation_is_ready(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:

        async def ready() -> bool:
            return (await api.http.get("/health/ready")).status_code == 200

        await eventually(ready, what="readiness")
        health = answer(await api.http.get("/health/ready"), 200)
        assert health["ready"] is True
        assert health["reasons"] == []
        assert {check["name"] for check in health["checks"]} == {
            *("nats", "streams", "store", "room", "engines", "projections")
        }
        assert answer(await api.http.get("/health/live"), 200) == {"status": "ok"}
        assert answer(await api.http.get("/version"), 200)["name"] == "snorri"


async def test_partitions_without_an_engine_are_named(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False) as api:
        response = await api.http.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["reasons"] == [
        "engines: partitions without one: 0, 1, 2, 3; start `snorri engine`"
    ]


async def test_a_lost_connection_is_told_and_nothing_else_is_asked(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        api.deps.backend.cut()  # type: ignore[attr-defined]
        response = await api.http.get("/health/ready")
        names = [check["name"] for check in response.json()["checks"]]
        alive = await api.http.get("/health/live")
        api.deps.backend.heal()  # type: ignore[attr-defined]
    assert response.status_code == 503
    assert names == ["nats", "projections"]
    assert alive.status_code == 200


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        (Progress(fault="/var/lib/x is full"), "they stand still; see this process's log"),
        (
            Progress(log_last=9, lag_s=61.5),
            "9 messages, 61.5 s behind; lists are old until they catch up",
        ),
        (Progress(log_last=9, lag_s=2), ""),
        (Progress(rebuilding=0.4), ""),
    ],
)
async def test_projections_that_lag_or_stand_still(
    nats_server: NatsServer, fresh_names: Callable[[], Names], progress: Progress, reason: str
) -> None:
    backend = await connect(nats_server.url, fresh_names(), partitions=1)
    read = NoRows()
    read.progress = progress
    try:
        health = await Readiness(backend, backend.names, read=read).look()
    finally:
        await backend.close()
    check = next(check for check in health.checks if check.name == "projections")
    assert check.ok is not bool(reason)
    assert reason in check.detail


async def test_a_broker_that_does_not_answer_is_told_in_time(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    backend = await connect(nats_server.url, fresh_names(), partitions=1)
    try:
        readiness = Readiness(backend, backend.names)
        assert [check.name for check in (await readiness.look()).checks if not check.ok] == [
            "engines"
        ]
        os.kill(nats_server.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: _state(nats_server.pid) == "T", what="the stop")
            readiness = Readiness(backend, backend.names)
            async with asyncio.timeout(5):
                health = await readiness.look()
        finally:
            os.kill(nats_server.pid, signal.SIGCONT)
    finally:
        await backend.close()
    assert not health.ready
    assert {check.name for check in health.checks if not check.ok} == {
        "streams",
        "store",
        "engines",
    }


def _state(pid: int) -> str:
    """R, S, T (stopped) … of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_an_unhealthy_nats_server_is_told(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    backend = await connect(nats_server.url, fresh_names(), partitions=1)

    async def ill() -> bool:
        return False

    try:
        health = await Readiness(backend, backend.names, healthy=ill).look()
    finally:
        await backend.close()
    assert any(reason.startswith("store: nats-server says") for reason in health.reasons)


async def test_metrics_tell_of_the_installation(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        for number in range(3):
            await api.publish("OrderCreated", _order(f"o-{number}"), f"o-{number}")

        async def completed() -> bool:
            api.deps.metrics.forget()
            return (
                _samples(await _scrape(api.http)).get(
                    ("snorri_instances", ("CheckoutSaga", "completed"))
                )
                == 3
            )

        await eventually(completed, what="three projected checkouts")
        seen = _samples(await _scrape(api.http))
        document = await api.http.get(
            "/metrics", headers={"Accept": "application/openmetrics-text"}
        )
    assert seen["snorri_job_queue_depth", ("process-payment",)] == 0
    assert seen["snorri_nats_connected", ()] == 1
    assert seen["snorri_projection_fault", ()] == 0
    assert seen["snorri_partitions_without_engine", ()] == 0
    assert seen["snorri_refusing_new_sagas", ()] == 0
    assert seen["snorri_projection_sequence", ("log",)] > 10
    assert seen["snorri_http_requests_total", ("GET", "/metrics", "200")] >= 1
    assert document.text.endswith("# EOF\n")


async def _scrape(http: httpx.AsyncClient) -> str:
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return response.text


def _samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _order(id: str) -> dict[str, object]:
    return {"orderId": id, "customerId": "c", "items": [], "total": 100}


async def test_a_process_without_an_api_serves_figures_and_health(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    backend = await connect(nats_server.url, fresh_names(), partitions=1)
    scrape = Scrape(Catalog("9.9"))
    scrape.broker(backend)
    service = MetricsService(scrape, Readiness(backend, backend.names), "127.0.0.1", 0)
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=service.address) as http:
            text = (await http.get("/metrics")).text
            assert 'snorri_build_info{python="' in text
            assert 'version="9.9"' in text
            assert (await http.get("/health/live")).json() == {"status": "ok"}
            assert (await http.get("/health/ready")).status_code == 503
            missing = await http.get("/else")
            assert missing.status_code == 404
            assert missing.json()["next"]
        taken = MetricsService(
            scrape, Readiness(backend, backend.names), "127.0.0.1", int(service.address[-5:])
        )
        with pytest.raises(Exception, match="--metrics-port"):
            await taken.start()
    finally:
        await service.stop()
        await backend.close()
