"""Goal: what the contract promises to strangers is there: names, headers, subjects, fields, codes.

Method: tables of promises against a running engine, read with a plain NATS client, and against the
public names of the packages. A line that has to change here is a change for users.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NoKeysError

import jobs
import sagas
import sagas.testing
from jobs import JobContext
from sagas import Context, Draft, SagaBuilder
from sagas.actions import ACTIONS
from sagas.instance import Instance, Status
from sagas.messages import Cause
from server.cli import cli
from server.commands.common import DONE, FAILED, UNREACHED, USAGE
from server.settings import load_settings
from store.publisher import create_publisher
from tests.api_document import document
from tests.chaos.processes import World, world
from tests.waiting import eventually

COMMAND_HEADERS = {
    "Snorri-Command-Id",
    "Snorri-Saga",
    "Snorri-Key",
    "Snorri-Version",
    "Snorri-Attempt",
    "traceparent",
}
DOCUMENT_FIELDS = {  # in every document
    *("v", "saga", "key", "version", "status", "state", "started", "at", "cause"),
    *("effects", "error", "definition", "trace", "prev"),
}
DOCUMENT_FIELDS_SOMETIMES = {"steps", "timers", "backlog"}  # left out while they are empty
CAUSE_FIELDS = {"kind", "type", "id", "seq", "at", "payload", "by", "reason"}
STATUSES = {
    *("running", "completed", "failed", "compensating"),
    *("compensated", "cancelled", "paused", "parked"),
}


# --- the names that authors import


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (sagas.send, ["target", "payload"]),
        (sagas.send, ["idempotency_key", "concurrency_key", "retry", "timeout"]),
        (sagas.publish, ["type", "payload", "key"]),
        (sagas.schedule, ["message", "delay", "id"]),
        (sagas.unschedule, ["id"]),
        (sagas.spawn, ["child", "input", "key"]),
        (sagas.complete, ["result"]),
        (sagas.fail, ["reason"]),
        (sagas.compensate, ["message", "reason"]),
        (sagas.define_saga, ["id"]),
        (jobs.job, ["retry", "timeout", "concurrency", "on_success", "on_failure"]),
        (jobs.success, ["data"]),
        (jobs.failure, ["reason"]),
        (create_publisher, ["nats_url"]),
        (SagaBuilder[Any].on, ["type", "handler", "starts"]),
        (SagaBuilder[Any].compensate, ["type", "handler"]),
        (SagaBuilder[Any].on_signal, ["name", "handler"]),
        (SagaBuilder[Any].on_query, ["name", "handler"]),
        (Draft.concurrency, ["limit", "key"]),
        (Draft.schedule, ["cron", "time_zone"]),
        (JobContext.publish, ["type", "payload"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_authors_call_takes_what_was_promised(function: Any, parameters: list[str]) -> None:
    have = inspect.signature(function).parameters
    assert [name for name in parameters if name not in have] == []


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (Draft, "name description topic tags durability state correlate concurrency schedule"),
        (Draft, "on_unknown retention"),
        (SagaBuilder, "name description topic tags durability correlate on compensate concurrency"),
        (SagaBuilder, "schedule on_signal on_query on_unknown retention build"),
        (Context, "saga_id instance_id key state message attempt now version traceparent"),
        (JobContext, "payload command_id saga key attempt log trace publish heartbeat resolve"),
        (sagas.testing, "given"),
    ],
)
def test_what_authors_read_is_there(owner: Any, names: str) -> None:
    assert [name for name in names.split() if not hasattr(owner, name)] == []


ROUTES = """
GET /health/live
GET /health/ready
GET /metrics
GET /api/v1/sagas/sagas
GET /api/v1/sagas/sagas/{saga}
GET /api/v1/sagas/instances
GET /api/v1/sagas/instances/{saga}/{key}
GET /api/v1/sagas/instances/{saga}/{key}/transitions
GET /api/v1/sagas/instances/{saga}/{key}/at/{when}
GET /api/v1/sagas/instances/{saga}/{key}/query/{name}
POST /api/v1/sagas/sagas/{saga}/start
POST /api/v1/sagas/publish
POST /api/v1/sagas/publish-many
POST /api/v1/sagas/bulk
GET /api/v1/sagas/subscribe
GET /api/v1/workers/jobs
POST /api/v1/workers/jobs/{id}/trigger
GET /api/v1/workers/jobs/{id}/executions
GET /api/v1/sagas/dead-letters
POST /api/v1/sagas/dead-letters/{id}/redrive
POST /api/v1/sagas/dead-letters/{id}/discard
POST /api/v1/sql
"""


def test_every_route_that_was_promised_is_served() -> None:
    wanted = {(line.split()[0].lower(), line.split()[1]) for line in ROUTES.split("\n") if line}
    acts = "/api/v1/sagas/instances/{saga}/{key}/"
    wanted |= {("post", acts + action) for action in ACTIONS}
    paths = document()["paths"]
    assert {(method, path) for path, item in paths.items() for method in item} >= wanted
    at_once = {"limit", "cursor", "saga", "status", "key", "q", "since", "until"}
    listed = paths["/api/v1/sagas/instances"]["get"]["parameters"]
    assert {one["name"] for one in listed} >= at_once


def test_words_and_numbers() -> None:
    assert set(get_args(Status)) == STATUSES
    assert (DONE, FAILED, USAGE, UNREACHED) == (0, 1, 2, 3)
    promised = "dev engine jobs start publish sagas instances show history dead-letters doctor init"
    promised += " serve sql"
    assert {*promised.split(), "new", "config", "version", *ACTIONS} <= set(cli.commands)
    acts = "retry resume pause cancel compensate signal patch skip"
    assert set(ACTIONS) == set(acts.split())
    assert {field.name for field in _fields(Instance)} >= DOCUMENT_FIELDS
    assert {field.name for field in _fields(Instance)} >= DOCUMENT_FIELDS_SOMETIMES
    assert {field.name for field in _fields(Cause)} >= CAUSE_FIELDS


def _fields(struct: Any) -> Any:
    return msgspec.structs.fields(struct)


def test_settings_have_the_defaults_that_were_promised() -> None:
    settings = load_settings({}, {})
    assert (settings.data, settings.nats_url, settings.app) == (".snorri", None, ())
    assert (settings.host, settings.port, settings.nats_port) == ("127.0.0.1", 8092, 4222)
    assert (settings.bucket, settings.namespace) == ("SAGA", "saga")
    assert (settings.partitions, settings.replicas, settings.auth) == (4, 1, None)


# --- what stands in NATS


@pytest_asyncio.fixture
async def home(tmp_path: Path) -> AsyncIterator[World]:
    """An installation with an engine that runs the samples, and no worker."""
    async with world(tmp_path) as home:
        engine = home.process(
            *("-m", "server", "engine", "--nats-url", home.server.url), name="engine"
        )
        await engine.start("Ctrl-C stops")
        yield home


@pytest_asyncio.fixture
async def client(home: World) -> AsyncIterator[Client]:
    """A plain connection."""
    client = await nats.connect(home.server.url)
    yield client
    await client.close()


async def _document(stream: JetStreamContext, key: str, version: int) -> dict[str, Any]:
    bucket = await stream.key_value("SAGA")

    async def look() -> dict[str, Any] | None:
        found = [json.loads(entry.value or b"{}") for entry in await _entries(bucket, key)]
        return found[version - 1] if len(found) >= version else None

    document = await eventually(look, 10, f"version {version} of {key}")
    assert document is not None
    return document


async def _entries(bucket: Any, key: str) -> list[Any]:
    try:
        return await bucket.history(key)
    except NoKeysError:
        return []


async def _command(stream: JetStreamContext, target: str) -> Any:
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT)
    commands = await stream.pull_subscribe(
        f"saga.commands.{target}.>", durable=f"other-{target}", stream="KV_SAGA", config=config
    )
    (command,) = await commands.fetch(1, timeout=10)
    return command


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_an_event_a_command_and_the_document_of_an_instance(client: Client) -> None:
    stream = client.jetstream()
    order = {"orderId": "a@b.com", "customerId": "c-7", "items": [], "total": 4999}
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"Nats-Msg-Id": "e-1", "traceparent": trace, "Snorri-Saga": "CheckoutSaga"}
    body = json.dumps(order).encode()
    ack = await stream.publish("saga.events.OrderCreated.a=40b=2Ecom", body, headers=headers)
    assert ack.stream == "SAGA_EVENTS"
    document = await _document(stream, "i.CheckoutSaga.a=40b=2Ecom", 1)
    assert document.keys() >= DOCUMENT_FIELDS
    assert document["v"] == 1
    assert (document["saga"], document["key"]) == ("CheckoutSaga", "a@b.com")
    assert document["version"] == 1
    assert (document["status"], document["error"], document["prev"]) == ("running", None, "")
    assert document["state"]["status"] == "payment_pending"  # the author's own word
    cause = document["cause"]
    assert (cause["kind"], cause["type"], cause["id"]) == ("event", "OrderCreated", "e-1")
    assert (cause["seq"], cause["payload"]) == (ack.seq, order)
    for moment in (document["started"], document["at"], cause["at"]):
        assert datetime.fromisoformat(moment).tzinfo == UTC
        assert moment.endswith("Z")
    (effect,) = document["effects"]
    assert (effect["kind"], effect["target"]) == ("send", "process-payment")
    assert effect["payload"] == {"orderId": "a@b.com", "amount": 4999}
    command = await _command(stream, "process-payment")
    own = {name for name in command.headers if not name.startswith("Nats-")}
    assert own == COMMAND_HEADERS
    assert command.headers["Snorri-Command-Id"] == effect["id"]
    assert command.headers["Snorri-Saga"] == "CheckoutSaga"
    assert command.headers["Snorri-Key"] == "a=40b=2Ecom"
    assert command.headers["Snorri-Version"] == "1"
    assert command.headers["Snorri-Attempt"] == "1"
    assert command.headers["traceparent"].startswith(trace[:36])
    assert document["trace"][:36] == trace[:36]
    assert json.loads(command.data) == effect["payload"]
    await command.ack()


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_a_command_sent_again_keeps_its_id_and_counts(client: Client, home: World) -> None:
    stream = client.jetstream()
    await stream.publish("saga.events.OrderCreated.o-1", b'{"orderId":"o-1","total":1}')
    first = await _document(stream, "i.CheckoutSaga.o-1", 1)
    again = home.process(
        *("-m", "server", "retry", "CheckoutSaga", "o-1", "--nats-url", home.server.url),
        *("--command", first["effects"][0]["id"]),
        name="retry",
    )
    await again.start("retry done")
    (effect,) = (await _document(stream, "i.CheckoutSaga.o-1", 2))["effects"]
    assert effect["id"] == first["effects"][0]["id"]
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT)
    commands = await stream.pull_subscribe(
        "saga.commands.process-payment.o-1", durable="other", stream="KV_SAGA", config=config
    )
    found = [(await commands.fetch(1, timeout=10))[0].headers or {} for _ in range(2)]
    assert [one["Snorri-Attempt"] for one in found] == ["1", "2"]
    assert len({one["Snorri-Command-Id"] for one in found}) == 1


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_a_timer_stands_in_the_document_and_the_positions_in_the_bucket(
    client: Client,
) -> None:
    stream = client.jetstream()
    await stream.publish("saga.events.CartChanged.c-1", b'{"cartId":"c-1"}')
    document = await _document(stream, "i.CartReminderSaga.c-1", 1)
    assert set(document["timers"]) == {"patience"}
    assert document["timers"]["patience"]["type"] == "CartAbandoned"
    bucket = await stream.key_value("SAGA")
    keys = [key for key in await bucket.keys() if key.startswith("p.")]
    assert len(keys) >= 1
    position = json.loads((await bucket.get(keys[0])).value or b"{}")
    assert position["events"] >= 1
