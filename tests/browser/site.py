"""A running installation for browser tests: `snorri dev` with the samples, and its HTTP API.

Tests look and act in the browser; what happens elsewhere (a publish, another operator) goes through
``Site``. Everything blocks: Playwright's loop owns the process.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.browser.shop import EFFECTS
from tests.integration.cli_kit import Process, dev
from tests.waiting import eventually_sync

APPS = (
    "sagas.examples",
    "jobs.examples",
    "tests.browser.shop",
    "tests.browser.hampers",
    "tests.browser.members",
)
WITH_APPS = tuple(argument for app in APPS for argument in ("--app", app))
_numbers = itertools.count(1)
ITEMS = [{"productId": "book-1", "quantity": 1, "price": 4999}]


class Site:
    """One installation; ``url`` is where its dashboard is."""

    def __init__(self, folder: Path, *arguments: str, token: str = "", **environment: str) -> None:
        """``token`` is sent with everything that goes through this object."""
        self.folder = folder
        self._arguments, self._environment = arguments, environment
        self.process = self._start("0")
        found = re.search(r"http://[\d.]+:(\d+)", self.process.output)
        assert found is not None, self.process.output
        self.url = found.group(0)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=self.url, timeout=30, headers=headers)

    def _start(self, port: str) -> Process:
        return dev(self.folder, "--port", port, *self._arguments, **self._environment)

    def start_again(self) -> None:
        """After ``process.stop()``: at the same address with the same data."""
        self.process = self._start(self.url.rsplit(":", 1)[1])

    def close(self) -> None:
        """End it."""
        self.http.close()
        self.process.stop()
        self.process.close()

    def get(self, path: str) -> Any:
        """The JSON of an API route below /api/v1."""
        answer = self.http.get(f"/api/v1{path}")
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, body: object) -> Any:
        """Send JSON to an API route below /api/v1."""
        answer = self.http.post(f"/api/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def order(self, *, simulate: str = "", key: str | None = None, **more: object) -> str:
        """Publish an order; the key of its checkout."""
        key = key or f"order-{next(_numbers)}"
        payload = {"orderId": key, "customerId": "c-7", "items": ITEMS, "total": 4999, **more}
        if simulate:
            payload["simulate"] = simulate
        self.post("/sagas/publish", {"type": "OrderCreated", "key": key, "payload": payload})
        return key

    def parcel(self, **fields: object) -> str:
        """Order a parcel (see ``shop``); its key."""
        key = f"parcel-{next(_numbers)}"
        payload = {"parcelId": key, **fields}
        self.post("/sagas/publish", {"type": "ParcelOrdered", "key": key, "payload": payload})
        return key

    def effects(self, key: str) -> list[dict[str, str]]:
        """What the shop's jobs have done for a parcel, in order."""
        path = self.folder / EFFECTS
        lines = path.read_text().splitlines() if path.exists() else []
        return [done for done in map(json.loads, lines) if done["parcel"] == key]

    def instance(self, key: str, saga: str = "CheckoutSaga") -> Any:
        """An instance as the API tells it, or None."""
        answer = self.http.get(f"/api/v1/sagas/instances/{saga}/{quote(key, safe='')}")
        return answer.json() if answer.is_success else None

    def until(self, key: str, *statuses: str, saga: str = "CheckoutSaga") -> Any:
        """The instance once it has one of these statuses, and lists hold it so."""

        def look() -> Any:
            found = self.instance(key, saga)
            return found if found and _status(found) in statuses else None

        found = eventually_sync(look, 30.0, f"{saga}/{key} is {' or '.join(statuses)}")
        listed = f"/api/v1/sagas/instances?limit=1&wait_for={found['seq']}"
        # One request waits some seconds, then says that the lists are behind.
        eventually_sync(lambda: self.http.get(listed).is_success, 30.0, f"the lists have {key}")
        return found


def _status(instance: Any) -> str:
    return str(instance.get("status") or instance["document"]["status"])
