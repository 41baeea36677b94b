"""The load client of a mixed run: a stranger with plain NATS and plain HTTP.

It publishes each event again under its id until somebody says that it is stored, and reads
instances as a person does. All it did and heard is in its operation log.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence

import httpx
import msgspec
import nats
import nats.errors
from nats.aio.client import Client

from store.subjects import Names
from tests.chaos.mixed.oplog import OpLog
from tests.chaos.mixed.scripts import Message, Script
from tests.waiting import any_moment, eventually, until_moment

ANSWER_S = 2.0
PATIENCE_S = 60.0
REMEMBERED = 1000
REPEATED = 200


class LoadClient:
    """Publishes scripts, repeats what it published, and reads."""

    def __init__(self, names: Names, oplog: OpLog, nats_url: str, api_url: str) -> None:
        self.oplog = oplog
        self._names = names
        self._nats_url = nats_url
        self._http = httpx.AsyncClient(base_url=api_url, timeout=ANSWER_S)
        self._nats: Client | None = None
        self._done: deque[tuple[str, Message]] = deque(maxlen=REMEMBERED)
        self._chance = random.Random()
        self._places = asyncio.Semaphore(64)

    async def open(self) -> None:
        """Connect."""

        async def quiet(error: Exception) -> None:
            """Faults are the point; the outcome of each call is what counts."""

        self._nats = await nats.connect(
            self._nats_url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            pending_size=-1,
            error_cb=quiet,
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._http.aclose()
        if self._nats is not None:
            await self._nats.close()

    async def play(self, scripts: Sequence[Script], begun_s: float) -> None:
        """Play scripts that begin at their times after ``begun_s``, each in order."""
        await asyncio.gather(*(self._play(script, begun_s) for script in scripts))

    async def repeat(self, chance: random.Random) -> None:
        """Publish what was published lately once more, out of order, under the same ids."""
        chosen = chance.sample(list(self._done), min(REPEATED, len(self._done)))
        await asyncio.gather(*(self.publish(saga, message) for saga, message in chosen))

    async def publish(self, saga: str, message: Message) -> None:
        """Publish until it is stored."""
        about = {"saga": saga, "key": message.key, "type": message.type, "id": message.id}

        async def stored() -> bool:
            self.oplog.write("ask", **about, via=message.via)
            try:
                await (self._by_http(message) if message.via == "http" else self._by_nats(message))
            except (nats.errors.Error, httpx.HTTPError, TimeoutError, OSError) as error:
                self.oplog.write("unknown", **about, word=type(error).__name__)
                await any_moment(self._chance, 0.05, 0.3)
                return False
            self.oplog.write("ok", **about)
            return True

        async with self._places:
            await eventually(stored, PATIENCE_S, f"{message.id} being stored")
        self._done.append((saga, message))

    async def read_on(self, chance: random.Random) -> None:
        """Read instances one after the other, again and again, until cancelled."""
        while True:
            await any_moment(chance, 0.0, 0.2)
            if not self._done:
                continue
            saga, message = chance.choice(self._done)
            path = f"/api/v1/sagas/instances/{saga}/{message.key}?waits=false"
            try:
                answer = await self._http.get(path)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                version = msgspec.json.decode(answer.content)["version"]
                self.oplog.write("read", saga=saga, key=message.key, version=version)

    async def _play(self, script: Script, begun_s: float) -> None:
        next_s = begun_s + script.begin_s
        for message in script.messages:
            await until_moment(next_s + message.after_s)
            await self.publish(script.saga, message)
            next_s = time.monotonic()

    async def _by_nats(self, message: Message) -> None:
        assert self._nats is not None
        await self._nats.jetstream(timeout=ANSWER_S).publish(
            self._names.event(message.type, message.key),
            msgspec.json.encode(message.payload),
            headers={"Nats-Msg-Id": message.id},
        )

    async def _by_http(self, message: Message) -> None:
        answer = await self._http.post(
            "/api/v1/sagas/publish",
            json={
                "type": message.type,
                "key": message.key,
                "id": message.id,
                "payload": message.payload,
            },
        )
        answer.raise_for_status()
