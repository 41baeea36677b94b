"""Asks a server about itself: see ``store.broker_state``. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from store.broker_state import BrokerState, ConsumerState, StreamState
from store.jetstream import api, wire
from store.jetstream.link import Link
from store.port import StoreError
from store.subjects import Names

NEVER = "0001-"  # how the server writes a time that is none


async def broker_state(link: Link, names: Names) -> BrokerState:
    """Gather the facts with one request each, at once; raises Unreachable and StoreErrors."""
    streams = (names.events_stream, names.log_stream, names.meta_stream)
    account, *answers = await asyncio.gather(
        api.ask(link, "INFO"),
        *(api.ask(link, f"STREAM.INFO.{stream}") for stream in streams),
        *(api.ask(link, f"CONSUMER.LIST.{stream}", {"offset": 0}) for stream in streams),
    )
    found = [_consumer(one) for answer in answers[3:] for one in answer.get("consumers") or ()]
    found.sort(key=lambda one: (-one.pending, -one.unacknowledged, one.stream, one.name))
    info = link.server_info
    return BrokerState(
        version=str(info.get("version", "")),
        server=str(info.get("server_name", "")),
        cluster=str(info.get("cluster", "")),
        payload_max=int(info.get("max_payload", 0)),
        store_bytes=int(account.get("storage", 0)),
        store_bytes_max=int(account.get("limits", {}).get("max_storage", -1)),
        streams=tuple(_stream(answer) for answer in answers[:3]),
        consumers=tuple(found),
    )


async def broker_time(link: Link, names: Names) -> datetime:
    """What the clock of the log's leader says, UTC; raises Unreachable and other StoreErrors."""
    answer = await api.ask(link, f"STREAM.INFO.{names.log_stream}")
    at = _moment(answer.get("ts"))
    if at is None:
        raise StoreError("the server does not tell its time; run a newer one, see `snorri doctor`")
    return at


def _stream(answer: Mapping[str, Any]) -> StreamState:
    config, state = answer["config"], answer["state"]
    cluster: Mapping[str, Any] = answer.get("cluster") or {}
    replicas: list[Mapping[str, Any]] = cluster.get("replicas") or []
    return StreamState(
        name=str(config["name"]),
        messages=int(state["messages"]),
        size_bytes=int(state["bytes"]),
        first_seq=int(state["first_seq"]),
        last_seq=int(state["last_seq"]),
        last_at=_moment(state.get("last_ts")),
        subjects=int(state.get("num_subjects", 0)),
        consumers=int(state.get("consumer_count", 0)),
        storage=str(config.get("storage", "")),
        age_max_s=int(config.get("max_age", 0)) / 1e9,
        replicas=int(config.get("num_replicas", 1)),
        leader=str(cluster.get("leader", "")) if replicas else "",
        behind=tuple(
            str(one.get("name")) for one in replicas if one.get("offline") or not one.get("current")
        ),
    )


def _consumer(one: Mapping[str, Any]) -> ConsumerState:
    config = one["config"]
    only = config.get("filter_subject")
    return ConsumerState(
        stream=str(one["stream_name"]),
        name=str(one["name"]),
        filters=tuple([only] if only else config.get("filter_subjects") or ()),
        durable=bool(config.get("durable_name")),
        pending=int(one.get("num_pending", 0)),
        unacknowledged=int(one.get("num_ack_pending", 0)),
        redelivered=int(one.get("num_redelivered", 0)),
        last_at=_moment(one.get("delivered", {}).get("last_active")),
    )


def _moment(text: str | None) -> datetime | None:
    if not text or text.startswith(NEVER):
        return None
    return datetime.fromtimestamp(wire.nanoseconds_of(text) / 1e9, UTC)
