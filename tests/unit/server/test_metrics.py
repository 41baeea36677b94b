"""Goal: each moment moves the figures it should, each request is counted under its route.

Method: a lane in memory and moments made by hand, told to a metrics hook; small ASGI applications
behind the request metrics; then the samples of the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobs.telemetry import (
    BatchConflicted,
    CommandRefused,
    CommitBusy,
    CommitUnknown,
    JobEnded,
    JobStarted,
    PartitionLeft,
    PartitionTaken,
    ResultLost,
    ResultsDelayed,
    ResultsPublished,
    Telemetry,
)
from server.metrics.catalog import Catalog
from server.metrics.hook import MetricsHook
from server.metrics.requests import RequestMetrics
from server.metrics.scrape import Scrape
from store.codec import Outcome
from store.memory import MemoryBroker
from store.port import Unreachable
from store.projection.port import Progress, ReadError
from tests.unit.jobs.rig import Rig
from tests.unit.jobs.sample import all_sagas


@pytest.fixture
def catalog() -> Catalog:
    """Fresh metrics."""
    return Catalog("1.2.3")


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    """A broker with the sample sagas."""
    rig = Rig(all_sagas())
    yield rig
    await rig.close()


def _value(catalog: Catalog, name: str, **labels: str) -> float | None:
    return catalog.registry.get_sample_value(name, labels)


def _tell(catalog: Catalog, *moments: Telemetry) -> None:
    hook = MetricsHook(catalog)
    for moment in moments:
        hook.told(moment)


@pytest.mark.asyncio
async def test_transitions_are_counted_by_saga_and_outcome(rig: Rig, catalog: Catalog) -> None:
    for key in "abc":
        await rig.publish("Placed", key, {"order": key})
    await rig.publish("Noted", "a", {"order": "a", "n": 1})
    await rig.publish("Paid", "b", {"order": "b"})
    await rig.publish("Broken", "c", {"order": "c"})
    await rig.publish("Placed", "d", b"no json")
    await rig.lane()
    await rig.drained()
    _tell(catalog, *rig.counts[0].moments)

    def transitions(outcome: str) -> float | None:
        return _value(catalog, "snorri_transitions_total", saga="Order", outcome=outcome)

    assert transitions("started") == 3
    assert [transitions(outcome) for outcome in ("state_changed", "completed", "parked")] == [1] * 3
    assert _value(catalog, "snorri_messages_total") == 7
    assert _value(catalog, "snorri_dead_letters_written_total") == 1
    assert _value(catalog, "snorri_commit_batch_transitions_sum") == 6
    assert _value(catalog, "snorri_partitions_owned") == 4
    assert _value(catalog, "snorri_commit_message_age_seconds_count")


@pytest.mark.asyncio
async def test_a_timer_that_comes_late_is_measured(rig: Rig, catalog: Catalog) -> None:
    await rig.publish("Placed", "a", {"order": "a"})
    await rig.publish("Armed", "a", {"order": "a"})
    lane = await rig.lane()
    await rig.drained()
    lane.stop()
    await rig.broker.advance(45)  # it was due after 30
    await rig.lane()
    await rig.drained()
    for counts in rig.counts:
        _tell(catalog, *counts.moments)
    assert _value(catalog, "snorri_timer_lateness_seconds_count") == 1
    assert _value(catalog, "snorri_timer_lateness_seconds_sum") == pytest.approx(15, abs=0.5)


def test_trouble_with_commits_is_counted(catalog: Catalog) -> None:
    _tell(
        catalog,
        *(
            BatchConflicted("e", 3),
            CommitBusy("e", ""),
            CommitBusy("e", ""),
            CommitUnknown("e", ""),
        ),
        *(PartitionTaken("e", 1), PartitionTaken("e", 2), PartitionLeft("e", 1, lost=True)),
    )
    assert _value(catalog, "snorri_commit_conflicts_total") == 1
    assert _value(catalog, "snorri_commit_busy_total") == 2
    assert _value(catalog, "snorri_commit_unknown_total") == 1
    assert _value(catalog, "snorri_partitions_owned") == 1


def _attempt(number: int, outcome: Outcome, duration_s: float = 1.0) -> list[Telemetry]:
    return [
        JobStarted("w", "pay", "c", number, waited_s=2.0),
        JobEnded("w", "pay", "c", number, outcome, duration_s, ""),
    ]


def test_attempts_are_counted_and_timed(catalog: Catalog) -> None:
    running = JobStarted("w", "pay", "d", 1, waited_s=4.0)
    _tell(catalog, *_attempt(1, "retried"), *_attempt(2, "completed", 3.0), running)
    pay = {"target": "pay"}
    assert _value(catalog, "snorri_attempts_total", **pay, outcome="retried") == 1
    assert _value(catalog, "snorri_attempts_total", **pay, outcome="completed") == 1
    assert _value(catalog, "snorri_job_seconds_sum", **pay) == 4.0
    assert _value(catalog, "snorri_job_wait_seconds_count", **pay) == 2  # first attempts only
    assert _value(catalog, "snorri_job_wait_seconds_sum", **pay) == 6.0
    assert _value(catalog, "snorri_jobs_running", **pay) == 1


def test_results_are_counted(catalog: Catalog) -> None:
    _tell(
        catalog,
        *(ResultsPublished("w", 5, 0.1), ResultsDelayed("w", 2, ""), ResultLost("w", "c", "")),
        CommandRefused("w", "s", 1, ""),
    )
    assert _value(catalog, "snorri_results_stored_total") == 5
    assert _value(catalog, "snorri_results_delayed_total") == 2
    assert _value(catalog, "snorri_results_lost_total") == 1
    assert _value(catalog, "snorri_commands_refused_total") == 1


async def _ask(catalog: Catalog, method: str, answer: Any, path: str = "/x") -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = answer.pop("template", None)
        if answer.pop("raises", False):
            raise ConnectionError("gone")
        await send({"type": "http.response.start", "status": 200, "headers": [], **answer})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*_: Any) -> None: ...

    scope: Any = {"type": "http", "method": method, "path": path}
    await RequestMetrics(app, catalog)(scope, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_requests_are_counted_by_template_never_by_path(catalog: Catalog) -> None:
    await _ask(catalog, "GET", {"template": "/i/{key}", "status": 404}, "/i/secret-key")
    await _ask(catalog, "BREW", {"status": 405}, "/random-1")
    with pytest.raises(ConnectionError):
        await _ask(catalog, "GET", {"raises": True})
    name = "snorri_http_requests_total"
    assert _value(catalog, name, method="GET", route="/i/{key}", status="404") == 1
    assert _value(catalog, name, method="other", route="none", status="405") == 1
    assert _value(catalog, name, method="GET", route="none", status="499") == 1
    assert _value(catalog, "snorri_http_request_seconds_count", route="/i/{key}") == 1
    _, body = await Scrape(catalog).answer()
    assert b"secret-key" not in body
    assert b"random-1" not in body


@pytest.mark.asyncio
async def test_streams_are_counted_and_not_timed(catalog: Catalog) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await _ask(catalog, "GET", {"template": "/stream", "headers": headers})
    name = "snorri_http_requests_total"
    assert _value(catalog, name, method="GET", route="/stream", status="200") == 1
    assert _value(catalog, "snorri_http_request_seconds_count", route="/stream") is None


class _Broken:
    """A read model that can't be asked."""

    progress = Progress(events_seq=3, log_seq=5, log_last=9, lag_s=1.5, fault="full")

    async def fetch(self, sql: str, parameters: object, row: object) -> list[Any]:
        raise ReadError("the file is locked")

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return False


@pytest.mark.asyncio
async def test_a_scrape_says_what_can_be_said(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    backend = broker.backend()

    async def away(prefix: str) -> list[Any]:
        raise Unreachable("no answer")

    monkeypatch.setattr(backend.meta, "entries", away)
    scrape = Scrape(catalog)
    scrape.installation(backend, _Broken(), None)
    await asyncio.gather(*(scrape.answer() for _ in range(10)))
    assert _value(catalog, "snorri_scrape_errors_total", source="projections") == 1  # asked once
    assert _value(catalog, "snorri_scrape_errors_total", source="queues") == 1
    assert _value(catalog, "snorri_projection_lag_messages") == 4
    assert _value(catalog, "snorri_projection_lag_seconds") == 1.5
    assert _value(catalog, "snorri_projection_fault") == 1
    assert _value(catalog, "snorri_nats_connected") == 1
    backend.cut()
    assert _value(catalog, "snorri_nats_connected") == 0
    await broker.close()


def test_lane_depth_is_the_engine_s_own(catalog: Catalog) -> None:
    class Engine:
        waiting = 7

    Scrape(catalog).engine(Engine())
    assert _value(catalog, "snorri_lane_depth") == 7
