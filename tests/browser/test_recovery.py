"""Goal: an open page is never wrong quietly. What happens elsewhere is on it within a second; while
the server or the broker is away it says so, and afterwards it is right again by itself.

Method: an installation of its own on a broker of its own, both ended and started again under pages
that nobody touches.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from server.embedded import find_server
from tests.browser.site import Site
from tests.waiting import eventually_sync

AWAY_MS = 30_000


class Broker:
    """A nats-server on a fixed port with its data on disk."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._command = [str(find_server()), "-js", "-sd", str(folder), "-a", "127.0.0.1"]
        self._command += ["-p", str(self.port)]
        self.start()

    def start(self) -> None:
        """Run it, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        eventually_sync(self._listens, 20.0, "the broker listens")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=20)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of this module's installation."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def shaken(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation that is ended and started again."""
    site = Site(tmp_path_factory.mktemp("shaken"), SNORRI_NATS_URL=broker.url)
    yield site
    site.close()


def test_pages_stay_right_while_server_and_broker_come_and_go(
    page: Page, broker: Broker, shaken: Site
) -> None:
    page.expected_errors += ["ERR_", "502", "503", "504", "500"]  # type: ignore[attr-defined]
    key = shaken.order()
    shaken.until(key, "completed")
    page.goto(f"{shaken.url}/instances/CheckoutSaga/{key}")
    light = page.get_by_title("Live connection")
    expect(light).to_have_text("live")

    shaken.process.stop()
    expect(light).to_have_text("connecting again", timeout=AWAY_MS)
    shaken.start_again()
    _undo(shaken, key)  # before the page is back: it must catch up
    expect(light).to_have_text("live", timeout=AWAY_MS)
    expect(page.locator("#instance .head")).to_contain_text("cancelled", timeout=AWAY_MS)

    other = shaken.order()
    shaken.until(other, "completed")
    page.goto(f"{shaken.url}/instances/CheckoutSaga/{other}")
    expect(light).to_have_text("live", timeout=AWAY_MS)
    broker.stop()
    expect(light).not_to_have_text("live", timeout=AWAY_MS)
    _lists_are_there_without_a_broker(shaken)
    broker.start()
    expect(light).to_have_text("live", timeout=AWAY_MS)
    eventually_sync(lambda: _undone(shaken, other), 30.0, "the broker takes an action again")
    expect(page.locator("#instance .head")).to_contain_text("cancelled", timeout=AWAY_MS)


def _lists_are_there_without_a_broker(site: Site) -> None:
    told = {"/": "The broker does not answer", "/instances": "completed", "/system": "unwell"}
    for path in ("/failures", "/failures/dead-letters", "/events", "/timers", *told):
        answer = site.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, (path, answer.text)
        assert told.get(path, "") in answer.text, path


def _undo(site: Site, key: str) -> None:
    body = {"reason": "while nobody looked", "types": ["RefundPayment"]}
    site.post(f"/sagas/instances/CheckoutSaga/{key}/compensate", body)


def _undone(site: Site, key: str) -> bool:
    body = {"reason": "after the broker was away", "types": ["RefundPayment"]}
    path = f"/api/v1/sagas/instances/CheckoutSaga/{key}/compensate"
    return site.http.post(path, json=body).status_code < 500
