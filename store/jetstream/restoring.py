"""Streams made from a backup: each message under the sequence and the time it had.

A stream that is being restored listens to no subject of ours, fires no schedule and carries a mark;
``finish`` gives it its real configuration. So nobody can take a half restored installation for a
whole one, and ``begin`` removes what an earlier attempt has left. It refuses a server that has any
of the streams for real.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from store.backup.manifest import ConsumerPlace
from store.broker_version import format_version, parse_version
from store.jetstream import api, topology, wire
from store.jetstream.dial import dial
from store.jetstream.feeds import JetStreamFeeds
from store.jetstream.link import Link, Reply, Waiter
from store.jetstream.log import JetStreamLog
from store.jetstream.login import ANYBODY, Login
from store.jetstream.meta import JetStreamMeta
from store.jetstream.snapshot import State, archive
from store.jetstream.topology import RESTORING as MARK
from store.jetstream.topology import Config
from store.port import Committed, Outgoing, Stored, StoreError, StreamName, Unreachable
from store.subjects import Names

VERSION_NEEDED = (2, 15, 0)  # the first whose snapshots list messages
CHUNKS_IN_FLIGHT = 8
CHUNK_TIMEOUT_S = 60.0
CARD_TTL_S = 3600  # of a job's card: whether it still has workers is not known
TIMERS_MESSAGES = 400  # of one batch
END_TIMEOUT_S = 600.0  # the server syncs and indexes all of it before it answers


class NotEmpty(StoreError):
    """The server has an installation under these names already; nothing was changed."""


class Restorer:
    """Restores one installation, opened by ``open_restorer``."""

    def __init__(self, link: Link, names: Names, partitions: int, replicas: int) -> None:
        self._link = link
        self._configs: dict[StreamName, Config] = {
            "events": topology.events_config(names, partitions, replicas),
            "log": topology.log_config(names, partitions, replicas),
        }
        self._meta = topology.meta_config(names, replicas)
        self.feeds = JetStreamFeeds(link, names)
        self._log = JetStreamLog(link, names)
        self._bucket = JetStreamMeta(link, names)

    async def begin(self) -> None:
        """Check that there is room for the streams; raises NotEmpty, StoreError."""
        topology.check_server(self._link)
        version = str(self._link.server_info.get("version", ""))
        if parse_version(version) < VERSION_NEEDED:
            raise StoreError(
                f"nats-server {version} can't take a backup back; restoring needs "
                f"{format_version(VERSION_NEEDED)} or newer: update it, or restore into a data "
                "directory of its own (--data DIR)"
            )
        wanted = (*self._configs.values(), self._meta)
        there = [await topology.stream_config(self._link, want["name"]) for want in wanted]
        cut_off = any(have is not None and topology.is_restoring(have) for have in there)
        for want, have in zip(wanted, there, strict=True):
            if have is None:
                continue
            if not cut_off:
                raise NotEmpty(
                    f"there is a stream {want['name']} already; a backup is restored into an empty "
                    "server or data directory only. Choose another with --data DIR or --nats-url, "
                    "or another --bucket and --namespace"
                )
            await api.ask(self._link, f"STREAM.DELETE.{want['name']}")

    async def restore(
        self,
        stream: StreamName,
        state: State,
        consumers: Iterable[ConsumerPlace],
        messages: Iterable[Stored],
    ) -> None:
        """Send one stream; raises StoreError when the server does not take it."""
        config = _marked(self._configs[stream])
        request = {"config": config, "state": msgspec.to_builtins(state)}
        answer = await api.ask(self._link, f"STREAM.RESTORE.{config['name']}", request)
        subject = str(answer["deliver_subject"])
        waiting: deque[asyncio.Task[bytes]] = deque()
        try:
            for chunk in archive(state, consumers, messages):
                waiting.append(asyncio.create_task(self._send(subject, chunk, CHUNK_TIMEOUT_S)))
                await asyncio.sleep(0)  # the tasks post in the order in which they were made
                if len(waiting) >= CHUNKS_IN_FLIGHT:
                    _check(stream, await waiting.popleft())
            while waiting:
                _check(stream, await waiting.popleft())
            _check(stream, await self._send(subject, b"", END_TIMEOUT_S))
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def finish(self, timers: Iterable[Outgoing], cards: Mapping[str, bytes]) -> None:
        """Arm the timers, put the cards of sagas and jobs up, open the streams; raises StoreError.

        Schedules that are stored while a stream takes none are known to the server later, but they
        don't fire: its clock is only wound by the next one. So they are published like any others.
        """
        for config in self._configs.values():
            await self._update(config | {"metadata": {MARK: "true"}})
        batch: list[Outgoing] = []
        for timer in timers:
            batch.append(timer)
            if len(batch) == TIMERS_MESSAGES:
                await self._commit(batch)
                batch = []
        if batch:
            await self._commit(batch)
        await api.ask(self._link, f"STREAM.CREATE.{self._meta['name']}", self._meta)
        for key, card in cards.items():
            ttl_s = 0 if key.startswith("saga.") else CARD_TTL_S
            await self._bucket.put(key, card, ttl_s=ttl_s)
        for config in self._configs.values():
            await self._update(config)

    async def _update(self, config: Config) -> None:
        await api.ask(self._link, f"STREAM.UPDATE.{config['name']}", config)

    async def _commit(self, batch: list[Outgoing]) -> None:
        outcome = await self._log.commit(batch)
        if not isinstance(outcome, Committed):
            raise StoreError(f"timers could not be armed ({outcome}); restore again")

    async def abandon(self) -> None:
        """Remove what was restored and not finished; raises Unreachable."""
        for config in self._configs.values():
            have = await topology.stream_config(self._link, config["name"])
            if have is not None and topology.is_restoring(have):
                await api.ask(self._link, f"STREAM.DELETE.{config['name']}")

    async def _send(self, subject: str, chunk: bytes, timeout_s: float) -> bytes:
        """Send a chunk and wait for its answer, which is empty when all is well."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def offer(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        def build(inbox: str) -> bytes:
            return wire.pub(subject, inbox, chunk)

        reply: Reply = await self._link.wait(
            subject, build, Waiter(future, offer, subject), timeout_s
        )
        if wire.status_of(reply.header):
            raise Unreachable("the server has given the restore up; look into its log")
        return reply.data


def _marked(config: Config) -> Config:
    """The configuration of a stream that is not open yet."""
    return config | {
        "subjects": [f"{MARK}.{config['name']}"],
        "allow_msg_schedules": False,
        "metadata": {MARK: "true"},
    }


def _check(stream: StreamName, answer: bytes) -> None:
    if not answer:
        return
    found: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
    error = found.get("error")
    if error is not None:
        code = error.get("err_code", 0)
        raise StoreError(
            f"the server did not take the {stream} back: {error.get('description')} ({code}); "
            "look into its log, make room, and restore again"
        )


@asynccontextmanager
async def open_restorer(
    url: str, names: Names, *, partitions: int, replicas: int = 1, login: Login = ANYBODY
) -> AsyncGenerator[Restorer]:
    """A connection for restoring; raises Unreachable."""
    link = await dial(url, login=login, name="snorri-restore")
    restorer = Restorer(link, names, partitions, replicas)
    try:
        yield restorer
    finally:
        await restorer.feeds.close()
        await link.hang_up()
