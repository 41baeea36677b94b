"""What the overview says is unwell: in sentences, each with the next step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from store.cards import EngineCard, WorkerCard
from store.projection.overview import Queue
from store.projection.port import Progress
from ui.pages.overview import trouble

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def _engine(*partitions: int, of: int = 4) -> EngineCard:
    return EngineCard(id="e-1", host="h", pid=1, started=NOW, partitions=partitions, of=of)


def _worker(*targets: str) -> WorkerCard:
    return WorkerCard(id="w-1", host="h", pid=2, started=NOW, targets=targets)


def _queue(open: int, *, sent: int = 0, answered: int = 0) -> Queue:
    oldest = NOW - timedelta(seconds=90)
    return Queue(target="pay", open=open, oldest_at=oldest, tried=0, sent=sent, answered=answered)


def test_nothing_is_said_while_all_is_well() -> None:
    well = trouble(([_engine(0, 1), _engine(2, 3)], [_worker("pay")]), [_queue(3)], Progress(), NOW)
    assert well == []


def test_no_engine_and_no_worker_are_told_with_the_command_that_helps() -> None:
    engine, worker = trouble(([], []), [_queue(1)], Progress(), NOW)
    assert engine.endswith("start one with `snorri engine`.")
    assert worker.startswith("1 command waits for pay, the oldest for 1 min 30 s")
    assert worker.endswith("start one with `snorri jobs pay`.")


def test_partitions_without_an_engine_are_named() -> None:
    [one] = trouble(([_engine(0, 1, 2)], []), [], Progress(), NOW)
    assert one.startswith("No engine works on partition 3, ")
    [two] = trouble(([_engine(0, 3)], []), [], Progress(), NOW)
    assert two.startswith("No engine works on partitions 1, 2, ")
    assert "`snorri engine`" in two


def test_a_job_that_falls_behind_and_a_rebuild_are_told() -> None:
    slow, rebuild = trouble(
        ([_engine(0, of=1)], [_worker("pay")]),
        [_queue(5_000, sent=9_000, answered=100)],
        Progress(rebuilding=0.256),
        NOW,
    )
    assert "pay falls behind" in slow
    assert "`snorri jobs pay`" in slow
    assert "26 % done" in rebuild


def test_a_silent_broker_is_all_that_can_be_told() -> None:
    [silent] = trouble(None, [_queue(1)], Progress(), NOW)
    assert silent.startswith("The broker does not answer")
    assert "`snorri doctor`" in silent
