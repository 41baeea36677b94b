"""Goal: `snorri events` and `snorri event` tell people and programs what happened to an event.

Method: a real `snorri dev`, commands beside it that ask its API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.cli_kit import Process, Snorri, dev, port_when_ready


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An installation with the samples."""
    process = dev(tmp_path_factory.mktemp("events"))
    yield process
    process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands that find its API."""
    return Snorri(running.cwd, SNORRI_PORT=port_when_ready(running))


def _publish(snorri: Snorri, type: str, payload: str) -> int:
    receipt = snorri.json("publish", type, payload)
    return int(receipt[0]["seq"] if isinstance(receipt, list) else receipt["seq"])


def _told(snorri: Snorri, seq: int, words: str) -> Any:
    """All about an event once its answer holds these words."""

    def look() -> Any:
        told = snorri.json("event", str(seq))
        return told if words in told["answer"] else None

    return snorri.eventually(look, f"{words!r} of event {seq}")


def test_an_event_with_all_it_led_to(snorri: Snorri) -> None:
    seq = _publish(snorri, "OrderCreated", '{"orderId":"o-1","total":5}')
    _told(snorri, seq, "It changed CheckoutSaga/o-1.")
    snorri.eventually(
        lambda: snorri.json("instances", "--status", "completed"), "the order to be completed"
    )
    snorri.eventually(
        lambda: len(snorri.json("event", str(seq))["events"]) >= 2, "the answers of two jobs"
    )
    shown = snorri.run("event", str(seq)).stdout
    assert f"OrderCreated  event {seq}" in shown
    assert "CheckoutSaga/o-1 version 1" in shown
    assert "send reserve-inventory: completed, completed" in shown
    assert "InventoryReserved: applied" in shown
    assert "CheckoutSaga/o-1 version 2" in shown
    alone = snorri.json("event", str(seq), "--depth", "0")
    assert alone["events"] == []


def test_events_are_listed_and_found_by_outcome(snorri: Snorri) -> None:
    seq = _publish(snorri, "Nonsense", '{"about":"penguins"}')
    _told(snorri, seq, "No saga handles 'Nonsense'")
    found = snorri.json("events", "--outcome", "no_saga", "--search", "Penguins")
    assert [one["seq"] for one in found] == [seq]
    shown = snorri.run("events", "--type", "Nonsense", "--limit", "5").stdout
    assert "no saga handles 'Nonsense'; register a handler for it or leave it be" in shown
    [group] = snorri.json("events", "--unmatched", "--since", "1h")
    assert (group["type"], group["count"], group["seqs"]) == ("Nonsense", 1, [seq])
    assert "Nonsense" in snorri.run("events", "--unmatched").stdout
    assert "no such events" in snorri.run("events", "--key", "nobody").stderr


def test_what_can_not_be_told_says_why(snorri: Snorri) -> None:
    missing = snorri.run("event", "9999", code=1).stderr
    assert "holds nothing under the sequence 9999. `snorri events` lists" in missing
    assert "is no time; write it like" in snorri.run("events", "--since", "soon", code=1).stderr
    snorri.run("events", "--outcome", "lost", code=2)
    nowhere = snorri.run("events", "--port", "1", code=3).stderr
    assert "no API answers at http://127.0.0.1:1" in nowhere
