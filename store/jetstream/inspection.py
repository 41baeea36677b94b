"""What `snorri doctor` may know of a server: facts, gathered without changing or making anything.

Judges nothing but a stream's differences from what this version wants; opens one connection of its
own, so that it also works where the installation can't be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from store.jetstream import api, topology, wire
from store.jetstream.dial import dial
from store.jetstream.link import Link
from store.jetstream.login import ANYBODY, Login
from store.jetstream.queues import QUEUE, is_queue
from store.port import StoreError
from store.subjects import Names


class StreamFacts(Struct, frozen=True, kw_only=True):
    """A stream: ``drift`` has a line for each field that differs, None when there is no stream."""

    name: str
    drift: tuple[str, ...] | None
    messages: int = 0
    size_bytes: int = 0
    last_seq: int = 0
    replicas: int = 0
    replicas_behind: tuple[str, ...] = ()


class QueueFacts(Struct, frozen=True):
    """The queue of a job: its durable consumer and what of it no worker would have made."""

    name: str
    wrong: tuple[str, ...] = ()


class ServerFacts(Struct, frozen=True, kw_only=True):
    """A server as a connected client sees it; times are UTC, sizes bytes, ``-1`` is no limit.

    ``asks_who`` and ``encrypts`` tell of our own connection: whether it had to log in, and TLS.
    """

    version: str
    jetstream: bool
    api_level: int
    payload_max: int
    cluster: str
    server_at: datetime | None
    asked_at: datetime
    store_bytes: int
    store_bytes_max: int
    partitions: int | None
    streams: tuple[StreamFacts, ...]
    queues: tuple[QueueFacts, ...] = ()
    asks_who: bool = True
    encrypts: bool = True
    memory_bytes_max: int = -1


async def inspect(url: str, names: Names, *, login: Login = ANYBODY) -> ServerFacts:
    """Connect and gather; raises Unreachable, and StoreError for an answer that makes no sense."""
    link = await dial(url, login=login, name="snorri-doctor")
    try:
        return await _gather(link, names)
    finally:
        await link.hang_up()


async def _gather(link: Link, names: Names) -> ServerFacts:
    info = link.server_info
    jetstream = bool(info.get("jetstream", False))
    account: Mapping[str, Any] = await api.ask(link, "INFO") if jetstream else {}
    streams: list[StreamFacts] = []
    partitions: int | None = None
    server_at: datetime | None = None
    asked_at = datetime.now(UTC)
    if jetstream:
        try:
            partitions = await topology.discover(link, names)
        except StoreError:
            partitions = None  # not made by us; its drift says so
        count = partitions or 1
        for want in (
            topology.events_config(names, count, 1),
            topology.log_config(names, count, 1),
            topology.meta_config(names, 1),
        ):
            asked_at = datetime.now(UTC)
            facts, at = await _stream(link, want)
            streams.append(facts)
            server_at = at or server_at
    tier: Mapping[str, Any] = account.get("limits", {})
    return ServerFacts(
        version=str(info.get("version", "")),
        jetstream=jetstream,
        api_level=int(account.get("api", {}).get("level", 0)),
        payload_max=int(info.get("max_payload", 0)),
        cluster=str(info.get("cluster", "")),
        server_at=server_at,
        asked_at=asked_at,
        store_bytes=int(account.get("storage", 0)),
        store_bytes_max=int(tier.get("max_storage", -1)),
        partitions=partitions,
        streams=tuple(streams),
        queues=await _queues(link, names) if streams and streams[1].drift is not None else (),
        asks_who=bool(info.get("auth_required", False)),
        encrypts=bool(info.get("tls_required", False)),
        memory_bytes_max=int(tier.get("max_memory", -1)),
    )


async def _queues(link: Link, names: Names) -> tuple[QueueFacts, ...]:
    found: list[QueueFacts] = []
    read = 0
    while True:
        page = await api.ask(link, f"CONSUMER.LIST.{names.log_stream}", {"offset": read})
        infos: list[dict[str, Any]] = page["consumers"] or []
        found += [_queue(info, names) for info in infos if is_queue(info["name"])]
        read += len(infos)
        if not infos or read >= page["total"]:
            return tuple(found)


def _queue(info: dict[str, Any], names: Names) -> QueueFacts:
    config: dict[str, Any] = info["config"]
    wrong = topology.differences(QUEUE, config)
    filter = str(config.get("filter_subject", ""))
    if not filter.startswith(f"{names.namespace}.commands."):
        wrong.append(f"filter_subject: {filter!r} is no job's")
    if info.get("paused"):
        wrong.append("paused: want False, have True")
    return QueueFacts(str(info["name"]), tuple(wrong))


async def _stream(link: Link, want: Mapping[str, Any]) -> tuple[StreamFacts, datetime | None]:
    name = str(want["name"])
    try:
        answer = await api.ask(link, f"STREAM.INFO.{name}")
    except api.ApiError:
        return StreamFacts(name=name, drift=None), None
    config, state = answer["config"], answer["state"]
    replicas: list[Mapping[str, Any]] = answer.get("cluster", {}).get("replicas") or []
    behind = [str(r.get("name")) for r in replicas if r.get("offline") or not r.get("current")]
    facts = StreamFacts(
        name=name,
        drift=(*topology.differences(topology.fixed(want), config), *_foreign(config)),
        messages=int(state["messages"]),
        size_bytes=int(state["bytes"]),
        last_seq=int(state["last_seq"]),
        replicas=int(config.get("num_replicas", 1)),
        replicas_behind=tuple(behind),
    )
    at = answer.get("ts")
    return facts, _moment(at) if at else None


def _foreign(config: Mapping[str, Any]) -> list[str]:
    """What none of our streams has: messages from elsewhere, or an end to all writing."""
    fields = ("mirror", "sources", "sealed")
    return [f"{field}: want none, have {config[field]!r}" for field in fields if config.get(field)]


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(wire.nanoseconds_of(text) / 1e9, UTC)
