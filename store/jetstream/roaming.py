"""Which server of a cluster to talk to: when to leave one for another, and which comes next.

A server that ends is noticed by everybody. One that retires says so; one that is stopped says
nothing; one that is cut off from the others goes on talking, and stores nothing. Writers report how
their writes fare (``wrote``, ``stuck``), and this decides. With one server there is nowhere to go,
and all it does is to come back to it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Server

from store.jetstream.login import Login, LoginClient

log = logging.getLogger(__name__)

RECONNECT_DELAY_MIN_S = 0.02
RECONNECT_DELAY_MAX_S = 1.0
PING_INTERVAL_S = 10  # one that has fallen silent is taken for lost after three of these
PING_INTERVAL_CLUSTER_S = 2
WRITE_TIMEOUT_S = 5.0
# Of a cluster the leader of a stream may be gone while its answer is waited for.
WRITE_TIMEOUT_CLUSTER_S = 3.0
STUCK_S_MAX = 2.9  # so that one time-out is enough when nothing else was stored meanwhile
RETIRE_S_MAX = 1.0


class RoamingClient(LoginClient):
    """A client that chooses its server; ``awaiting`` says whether answers are waited for."""

    def __init__(self, login: Login, awaiting: Callable[[], bool]) -> None:
        super().__init__(login)
        self._awaiting = awaiting
        self._attempts = 0
        self._left = ""  # the server that was left last
        self._leaving: asyncio.Task[None] | None = None
        self._stuck_since_s: float | None = None

    @property
    def alone(self) -> bool:
        """Whether there is no other server to go to."""
        return len(self._server_pool) < 2

    @property
    def write_timeout_s(self) -> float:
        """How long to wait for the answer to a write."""
        return WRITE_TIMEOUT_S if self.alone else WRITE_TIMEOUT_CLUSTER_S

    def wrote(self) -> None:
        """A write was stored: this server is one of those that agree."""
        self._stuck_since_s = None

    def stuck(self, since_s: float) -> None:
        """A write that was sent then has found nobody to store it.

        When it goes on like this, another server may be better off.
        """
        now_s = asyncio.get_running_loop().time()
        self._stuck_since_s = min(self._stuck_since_s or since_s, since_s)
        if self.alone or now_s - self._stuck_since_s < STUCK_S_MAX or not self.is_connected:
            return
        self._stuck_since_s = None
        log.warning("this NATS server stores nothing any more; going to another one")
        self._leaving = asyncio.create_task(
            self._process_op_err(errors.Error("the server stores nothing"))
        )

    def stay(self) -> None:
        """Go nowhere any more: the connection is being closed."""
        if self._leaving is not None:
            self._leaving.cancel()

    async def _on_lame_duck(self) -> None:
        """The server is about to stop and asks us to go: do so when no answer is waited for."""
        if not self.alone:
            log.info("the NATS server will stop; going to another one")
            self._leaving = asyncio.create_task(self._retire())

    async def _retire(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.uniform(0.0, RETIRE_S_MAX))  # noqa: S311 - not all at once
        deadline_s = loop.time() + RETIRE_S_MAX
        while self._awaiting() and loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await self._process_op_err(errors.Error("the server will stop"))

    def _next_server(
        self, servers: list[Server], _info: dict[str, Any]
    ) -> tuple[Server | None, float]:
        if self._transport is not None:  # nats-py leaves that of an attempt that failed open
            self._transport.close()
        delay_s = min(RECONNECT_DELAY_MAX_S, RECONNECT_DELAY_MIN_S * 2 ** min(self._attempts, 10))
        if not self._attempts and self._current_server is not None:
            self._left = self._current_server.uri.netloc
        servers = sorted(servers, key=lambda one: one.uri.netloc == self._left)  # that one last
        server = servers[self._attempts % len(servers)] if servers else None
        self._attempts += 1
        return server, delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
