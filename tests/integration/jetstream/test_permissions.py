"""Goal: what a user must not do is refused by the server, one thing after the other, and said so.

Method: a real nats-server with the users that `snorri nats-users` writes and an installation that
an engine made; each user tries what the others are there for, over the same link as our processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from store.jetstream import api, connect
from store.jetstream.backend import connect_door
from store.jetstream.dial import dial
from store.jetstream.link import Link
from store.jetstream.login import BadLogin, Login
from store.jetstream.permissions import USERS, User
from store.jetstream.queues import consumer_name
from store.jetstream.reader import Reader
from store.port import Refused, Unreachable
from store.subjects import Names
from tests.nats_guarded import GuardedNats
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

NAMES = Names()
JOB, OTHER_JOB = "charge", "refund"
QUEUE = consumer_name(JOB)
COMMAND = NAMES.command(JOB, "k")
INSTANCE = NAMES.instance("Shop", "k")

# What changes or reads something: the subject, and the body of the request.
ACTS: dict[str, tuple[str, object]] = {
    "publish an event": (NAMES.event("T", "k"), {}),
    "publish where events are stored": ("saga.in.0.T.k", {}),
    "write an instance": (INSTANCE, {}),
    "move a position": (NAMES.position(0), {}),
    "write a dead letter": (NAMES.dead_letter("x"), {}),
    "send a signal": (NAMES.signal("retry", "k"), {}),
    "send a command": (COMMAND, {}),
    "send a command to a job it need not know": (NAMES.command(OTHER_JOB, "k"), {}),
    "set a timer": (NAMES.timer("Shop", "k", "t"), {}),
    "take a lease": ("$KV.SAGA_META.lease.0", {}),
    "forge a session": ("$KV.SAGA_META.session.x", {}),
    "say that the store is full": ("$KV.SAGA_META.room", {}),
    "read an instance": (f"$JS.API.DIRECT.GET.KV_SAGA.{INSTANCE}", None),
    "read any message of the log": ("$JS.API.STREAM.MSG.GET.KV_SAGA", {"seq": 1}),
    "read any event": ("$JS.API.STREAM.MSG.GET.SAGA_EVENTS", {"seq": 1}),
    "read a session": ("$JS.API.STREAM.MSG.GET.KV_SAGA_META", {"last_by_subj": "$KV.SAGA_META.x"}),
    "read the log through a consumer": (
        f"$JS.API.CONSUMER.CREATE.KV_SAGA.mine.{NAMES.records()}",
        {
            "stream_name": "KV_SAGA",
            "config": {
                "name": "mine",
                "filter_subject": NAMES.records(),
                "ack_policy": "none",
                "inactive_threshold": 10**9,
            },
        },
    ),
    "drain the queue of a job": (f"$JS.API.CONSUMER.MSG.NEXT.KV_SAGA.{QUEUE}", {"no_wait": True}),
    "change the queue of a job": (
        f"$JS.API.CONSUMER.CREATE.KV_SAGA.{QUEUE}.{NAMES.records()}",
        {
            "stream_name": "KV_SAGA",
            "config": {
                "durable_name": QUEUE,
                "filter_subject": NAMES.records(),
                "ack_policy": "explicit",
            },
        },
    ),
    "remove the queue of a job": (f"$JS.API.CONSUMER.DELETE.KV_SAGA.{QUEUE}", None),
    "drain another job's queue": (
        f"$JS.API.CONSUMER.MSG.NEXT.KV_SAGA.{consumer_name(OTHER_JOB)}",
        {"no_wait": True},
    ),
    "purge the log": ("$JS.API.STREAM.PURGE.KV_SAGA", None),
    "purge the events": ("$JS.API.STREAM.PURGE.SAGA_EVENTS", None),
    "delete a message": ("$JS.API.STREAM.MSG.DELETE.KV_SAGA", {"seq": 1}),
    "change a stream": ("$JS.API.STREAM.UPDATE.KV_SAGA", {"name": "KV_SAGA"}),
    "delete a stream": ("$JS.API.STREAM.DELETE.SAGA_EVENTS", None),
    "take a snapshot": ("$JS.API.STREAM.SNAPSHOT.KV_SAGA", {"deliver_subject": "x"}),
    "make a stream of one's own": ("$JS.API.STREAM.CREATE.MINE", {"name": "MINE"}),
    "act through the API": (NAMES.api("action"), {}),
}

READS = {
    "read an instance",
    "read any message of the log",
    "read any event",
    "read the log through a consumer",
}
LOG = {
    *("write an instance", "move a position", "write a dead letter", "send a signal"),
    *("send a command", "set a timer", "take a lease", "say that the store is full"),
    "send a command to a job it need not know",
}
QUEUES = {"drain the queue of a job", "change the queue of a job", "remove the queue of a job"}

MAY: dict[User, set[str]] = {
    "publisher": {"publish an event"},
    "worker": {"publish an event", "drain the queue of a job", "send a command"},
    "viewer": READS | {"drain another job's queue"},
    "api": READS
    | {
        *("publish an event", "write a dead letter", "send a signal", "send a command"),
        *("take a lease", "forge a session", "say that the store is full", "read a session"),
        *("drain another job's queue", "send a command to a job it need not know"),
    },
    "engine": READS
    | LOG
    | QUEUES
    | {"publish an event", "read a session", "drain another job's queue"},
}


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    """A server that lets in the users of one installation, whose workers have one job."""
    nats = GuardedNats(tmp_path_factory.mktemp("guarded"), NAMES, [JOB])
    nats.start()
    yield nats
    nats.close()


@pytest_asyncio.fixture
async def made(nats: GuardedNats) -> AsyncIterator[GuardedNats]:
    """The same with its streams and the queues of two jobs."""
    backend = await connect(nats.url, NAMES, login=nats.login("engine"))
    for job in (JOB, OTHER_JOB):
        await backend.queues.open(job, ack_wait_s=30, in_flight_max=10)
    await backend.close()
    yield nats


async def _is_denied(link: Link, subject: str, body: object) -> bool:
    """Whether the server denies it; any other answer, an error too, came from behind the gate.

    A server denies a message before it answers the PING after it, however slow it is.
    """
    payload = b"" if body is None else msgspec.json.encode(body)

    def build(inbox: str) -> bytes:
        return f"PUB {subject} {inbox} {len(payload)}\r\n".encode() + payload + b"\r\n"

    asked = asyncio.ensure_future(link.exchange(subject, build))
    for _ in range(3):  # turns of the loop: until it is written
        await asyncio.sleep(0)
    await link.flush(timeout=30)
    await asyncio.wait({asked}, timeout=0.05)
    asked.cancel()
    try:
        await asked
    except Refused as refused:
        return "snorri nats-users" in str(refused)
    except (Unreachable, asyncio.CancelledError):
        pass  # nobody there, or no answer yet
    return False


@pytest.mark.parametrize("user", list(MAY))
async def test_each_user_may_do_what_its_table_says_and_nothing_else(
    made: GuardedNats, user: User
) -> None:
    link = await dial(made.url, login=made.login(user))
    try:
        allowed = {
            act for act, (where, body) in ACTS.items() if not await _is_denied(link, where, body)
        }
    finally:
        await link.hang_up()
    assert allowed == MAY[user]


async def test_the_viewer_reads_cards_but_no_sessions(made: GuardedNats) -> None:
    backend = await connect(made.url, NAMES, login=made.login("viewer"), make=False)
    try:
        assert await backend.meta.entries("saga.") == []
        with pytest.raises(Refused, match="session"):
            await backend.meta.entries("session.")
        with pytest.raises(Refused):
            await backend.meta.get("session.x")
    finally:
        await backend.close()


async def test_nobody_listens_to_the_answers_of_others(made: GuardedNats) -> None:
    link = await dial(made.url, login=made.login("viewer"))
    try:
        for subject in (f"{made.users['engine'].inbox}.>", "_INBOX.>", "$JS.EVENT.>", ">"):
            await link.attach(subject, lambda *_: None)
            await link.flush()
            await link.flush()
            assert subject.lower() in link.problem
    finally:
        await link.hang_up()


async def test_a_user_without_an_inbox_is_told_at_once(made: GuardedNats, tmp_path: Path) -> None:
    link = await dial(made.url, login=made.login("viewer"))
    await link.open_mailbox(made.users["engine"].inbox)
    with pytest.raises(Refused, match="grant this user the subject"):
        await api.ask(link, "STREAM.INFO.KV_SAGA")
    with pytest.raises(Refused):
        await api.ask(link, "STREAM.INFO.KV_SAGA")
    await link.hang_up()


async def test_who_may_only_publish_publishes_and_gets_no_further(made: GuardedNats) -> None:
    door = await connect_door(made.url, NAMES, login=made.login("publisher"))
    assert (await door.door.publish(NAMES.event("T", "k"), b"{}")).seq > 0
    with pytest.raises(Refused):
        await door.door.publish(NAMES.signal("retry", "k"), b"{}")
    with pytest.raises(Refused):
        await door.log.read(INSTANCE)
    await door.close()
    with pytest.raises(Refused, match=r"stream\.info\.kv_saga"):
        await connect(made.url, NAMES, login=made.login("publisher"), make=False)


async def test_a_reader_that_may_not_remove_its_consumer_goes_on(made: GuardedNats) -> None:
    link = await dial(made.url, login=made.login("viewer"))
    for _ in range(2):
        reader = Reader(link, NAMES.log_stream, [NAMES.records()], 0, lambda: None)
        await reader.open()
        await reader.close()
        await link.flush()
    assert not link.may_tidy
    await link.hang_up()


async def test_nobody_comes_in_without_a_key_of_this_server(
    made: GuardedNats, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable, match="SNORRI_NATS_CREDS"):
        await dial(made.url)
    stranger = GuardedNats(tmp_path, NAMES).login("operator")
    with pytest.raises(Unreachable, match="SNORRI_NATS_CREDS"):
        await dial(made.url, login=stranger)


async def test_all_users_but_the_operator_are_in_the_table() -> None:
    assert set(MAY) == set(USERS) - {"operator"}


@pytest.mark.parametrize("text", ["", "nothing of use", "SU" + "A" * 56, None])
async def test_a_file_without_a_good_seed_is_named(
    made: GuardedNats, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "bad.nk"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadLogin, match=r"bad\.nk.*(nats-users|SNORRI_NATS_CREDS)") as problem:
        await dial(made.url, login=Login(creds=str(file)))
    assert not text or text not in str(problem.value)


async def test_a_key_that_is_rotated_holds_from_the_reload_on(tmp_path: Path) -> None:
    nats = GuardedNats(tmp_path / "nats", NAMES)
    nats.start()
    backend = await connect(nats.url, NAMES, login=nats.login("engine"))
    try:
        old = nats.users["engine"].public
        nats.rotate("engine")
        assert nats.users["engine"].public != old

        async def back() -> bool:
            try:
                return (await backend.log.extent("log")).last >= 0 and backend.connected
            except Unreachable:
                return False

        await nats.reloaded()
        await eventually(back, what="the connection with the new key")
        await backend.door.publish(NAMES.event("T", "k"), b"{}")
        feed = await backend.feeds.open("events", [">"], 0, lambda: None)
        await eventually(lambda: feed.take(1), what="the event through a consumer")
    finally:
        await backend.close()
        nats.close()
