"""Goal: whatever the OpenAPI document allows works, whatever it forbids is refused, as it says.

Method: schemathesis makes a thousand requests from the document, valid ones and ones that are
wrong in one way each, against a real server over an installation in memory; tests/schemathesis.toml
says which of its checks are on. A seed fixes what it sends, so a failure can be repeated.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.api import lists, outcomes
from server.api.service import ApiService
from tests.api_kit import Api, open_api
from tests.conftest import LONG

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests" / "schemathesis.toml"
SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
EXAMPLES = 10 if LONG else 1
WAIT_S = 0.05  # how long a request waits for what will not come: a sequence, an outcome
INSTANCES = "^/api/v1/sagas/(instances|bulk)"
# Two tests of the same length, so that they can run beside each other.
PARTS = {
    "instances": ("--include-path-regex", INSTANCES),
    "all others": ("--exclude-path-regex", f"{INSTANCES}|^/api/v1/sagas/subscribe$"),
}
ORDER = {"orderId": "o-1", "total": 4999}


class _Server:
    """The API of an installation in a thread of its own; ``address`` is known once it runs."""

    def __init__(self, folder: Path) -> None:
        self.address = ""
        self._folder = folder
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="api")

    def start(self) -> None:
        """Bring it up."""
        self._thread.start()
        assert self._ready.wait(30)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with open_api(self._folder) as api:
            await _fill(api)
            service = ApiService(api.app, "127.0.0.1", 0)
            await service.start()
            self.address = service.address
            self._ready.set()
            await self._stop.wait()
            await service.stop()


async def _fill(api: Api) -> None:
    """Something to look at: instances that completed, wait and are parked, a dead letter."""
    await api.publish("OrderCreated", ORDER, "o-1")
    await api.publish("CartChanged", {"cartId": "c-1"}, "c-1")
    await api.publish("Nobody", {}, "n-1")
    await api.status("CheckoutSaga", "o-1", "completed")
    await api.status("CartReminderSaga", "c-1", "running")
    await api.caught_up()


def _soon(settled: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same, without the patience that a request may ask for."""
    return lambda deps, saga, key, timeout_s: settled(deps, saga, key, min(timeout_s, WAIT_S))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """The API under test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "WAIT_S", WAIT_S)
        patch.setattr(outcomes, "settled", _soon(outcomes.settled))
        server = _Server(tmp_path_factory.mktemp("api"))
        server.start()
        yield server
        server.stop()


@pytest.mark.timeout(900 if LONG else 300)
@pytest.mark.parametrize("part", PARTS)
def test_the_api_does_what_its_document_says(server: _Server, part: str) -> None:
    """A stream has no end to wait for, so it is left out; tests/integration/test_live.py reads
    it.
    """
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", str(CONFIG), "run", f"{server.address}/schema"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            # One worker: CPython 3.11's parser, which hypothesis asks, is not safe in threads.
            *("--seed", "1", "--workers", "1", "--request-timeout", "20", "--no-color"),
            *PARTS[part],
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schema_checks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert re.search(r"\b[1-9]\d{2,3} generated", done.stdout), done.stdout[-2_000:]
