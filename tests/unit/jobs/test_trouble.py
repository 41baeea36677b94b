"""Goal: an operator who reads the engine's log hears of every parked instance and dead letter once.

Method: the lane on the memory broker with messages that park and messages that can't be delivered;
the records of the log are looked at.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


def _told(caplog: pytest.LogCaptureFixture, words: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if words in record.getMessage()]


async def test_a_dead_letter_is_told_with_its_reason(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await rig.lane()
    await rig.publish("Placed", "o-1", payload=b"{")
    await rig.drained()
    (line,) = _told(caplog, "dead letter")
    (letter,) = rig.letters()
    assert letter.id in line["message"]
    assert letter.reason in line["message"]


async def test_many_alike_are_a_few_lines_and_a_count(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(50):
        await rig.publish("Placed", "o-1", payload=b"{")
    await rig.lane()
    await rig.drained()
    lines = len(_told(caplog, "dead letter"))
    assert len(rig.letters()) == 50
    assert 6 <= lines < 25
    assert _told(caplog, "more dead letters")


async def test_a_parked_instance_is_told_once_with_its_fault(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.publish("Broken", "o-1", {"order": "o-1"})
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.drained()
    assert rig.last("Order", "o-1").status == "parked"
    (line,) = _told(caplog, "is parked")
    assert "Order/o-1 is parked: RuntimeError: no way: None" in line["message"]
    assert line["instance"] == "Order/o-1"
    assert line["trace"] == rig.last("Order", "o-1").trace
