"""Goal: `snorri doctor` finds what somebody has spoiled, and says how to mend it.

Method: real servers and installations that are well; then one thing is planted in each, and the
finding that was fine before must tell of it. What can't be planted here (an old server, a clock
that is off) is judged from made-up facts in the unit tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from sagas.examples.checkout import checkout
from sagas.instance import decode
from sagas.kernel import Snapshot, Transition, decide
from sagas.messages import Cause, to_raw
from server.cli import cli
from store.cards import EngineCard
from store.jetstream import JetStreamBackend, api, connect
from store.jetstream.dial import dial
from store.jetstream.link import Link
from store.jetstream.queues import consumer_name
from store.port import Outgoing
from store.subjects import Names
from tests.conftest import NatsServer
from tests.nats_guarded import ConfiguredNats, GuardedNats
from tests.waiting import eventually_sync

Finding = dict[str, str]
RANK = ("ok", "warn", "fail")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Patient:
    """An installation and the settings by which the doctor looks at it."""

    def __init__(self, folder: Path, url: str, names: Names) -> None:
        self.folder = folder
        self.url = url
        self.names = names
        self.environment = {
            "SNORRI_NATS_URL": url,
            "SNORRI_BUCKET": names.bucket,
            "SNORRI_NAMESPACE": names.namespace,
            "SNORRI_DATA": str(folder / "data"),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SNORRI_")}
        self._base = {name: "" for name in os.environ if name not in kept}

    def examine(self) -> dict[str, Finding]:
        """The findings by what they are of, the worst of each."""
        with contextlib.chdir(self.folder):
            done = CliRunner(env={**self._base, **self.environment}).invoke(
                cli, ["doctor", "--json", "--port", "1"], prog_name="snorri"
            )
        assert done.exit_code in (0, 1, 3), done.output
        found: dict[str, Finding] = {}
        for one in json.loads(done.stdout):
            before = found.get(one["what"])
            if before is None or RANK.index(one["level"]) > RANK.index(before["level"]):
                found[one["what"]] = one
        failed = any(one["level"] == "fail" for one in found.values())
        assert (done.exit_code != 0) is failed
        return found

    def plant(self, work: Callable[[Link, Names], Awaitable[object]]) -> None:
        """Do something over a bare connection."""

        async def body() -> None:
            link = await dial(self.url)
            await work(link, self.names)
            await link.hang_up()

        asyncio.run(body())

    def made(self, work: Callable[[JetStreamBackend], Awaitable[object]] | None = None) -> None:
        """Make the installation as an engine does, and do something with it."""

        async def body() -> None:
            backend = await connect(self.url, self.names)
            if work is not None:
                await work(backend)
            await backend.close()

        asyncio.run(body())

    def finds(self, what: str, level: str, words: str, plant: Callable[[], object]) -> None:
        """The finding was no worse than a shrug before ``plant``, and tells of it afterwards."""
        before = self.examine().get(what)
        assert before is None or words not in before["found"], before
        plant()
        after = self.examine()[what]
        assert (after["level"], words in after["found"]) == (level, True), after
        assert len(after["mend"]) > 10


@pytest.fixture
def patient(tmp_path: Path, nats_server: NatsServer, fresh_names: Callable[[], Names]) -> Patient:
    """A healthy one on the session's server."""
    patient = Patient(tmp_path, nats_server.url, fresh_names())
    patient.made()
    return patient


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., ConfiguredNats]]:
    """Starts a server of its own with some configuration."""
    running: list[ConfiguredNats] = []

    def start(lines: str = "", **more: str) -> ConfiguredNats:
        nats = ConfiguredNats(tmp_path / f"nats{len(running)}", lines, **more)
        running.append(nats)
        nats.start()
        return nats

    yield start
    for nats in running:
        nats.close()


def _edit(stream: str, **changes: Any) -> Callable[[Link, Names], Awaitable[object]]:
    """Change a stream as anybody may who has the nats command."""

    async def work(link: Link, names: Names) -> None:
        name: str = getattr(names, stream)
        config = (await api.ask(link, f"STREAM.INFO.{name}"))["config"] | changes
        await api.ask(link, f"STREAM.UPDATE.{name}", config)

    return work


STREAM_EDITS = {
    "a shorter window for duplicates": ("events_stream", {"duplicate_window": 10**9}),
    "events that expire": ("events_stream", {"max_age": 3600 * 10**9}),
    "a limit of messages": ("log_stream", {"max_msgs": 1000}),
    "a short history of keys": ("log_stream", {"max_msgs_per_subject": 64}),
    "no batches": ("log_stream", {"allow_atomic": False}),
    "partitions taken away": ("events_stream", {"subject_transform": None}),
    "another number of partitions": (
        "events_stream",
        {
            "subject_transform": {
                "src": "{space}.events.*.*",
                "dest": "{space}.in.{{partition(7,2)}}.{{wildcard(1)}}.{{wildcard(2)}}",
            }
        },
    ),
    "markers of expiry that stay": ("meta_stream", {"subject_delete_marker_ttl": 3600 * 10**9}),
    "smaller messages": ("events_stream", {"max_msg_size": 1000}),
    "messages from another stream": ("events_stream", {"sources": [{"name": "ELSEWHERE"}]}),
    "sealed": ("meta_stream", {"sealed": True}),
}


@pytest.mark.parametrize("name", STREAM_EDITS)
def test_a_stream_that_was_edited(patient: Patient, name: str) -> None:
    stream, changes = STREAM_EDITS[name]
    space = patient.names.namespace
    filled = json.loads(json.dumps(changes).replace("{space}", space))
    (field,) = changes
    what = f"stream {getattr(patient.names, stream)}"
    patient.finds(what, "fail", field, lambda: patient.plant(_edit(stream, **filled)))


def test_a_stream_in_memory_and_one_that_is_gone(patient: Patient) -> None:
    stream = patient.names.events_stream

    async def again(link: Link, names: Names) -> None:
        config = (await api.ask(link, f"STREAM.INFO.{stream}"))["config"]
        await api.ask(link, f"STREAM.DELETE.{stream}")
        await api.ask(link, f"STREAM.CREATE.{stream}", config | {"storage": "memory"})

    async def gone(link: Link, names: Names) -> None:
        await api.ask(link, f"STREAM.DELETE.{stream}")

    patient.finds(f"stream {stream}", "fail", "storage", lambda: patient.plant(again))
    patient.finds(f"stream {stream}", "fail", "missing", lambda: patient.plant(gone))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_deliver": 3}, "max_deliver"),
        ({"filter_subject": "{space}.signals.>"}, "no job's"),
    ],
)
def test_the_queue_of_a_job_that_was_changed(
    patient: Patient, changes: dict[str, object], words: str
) -> None:
    async def open_queue(backend: JetStreamBackend) -> None:
        await backend.queues.open("charge", ack_wait_s=30, in_flight_max=10)

    async def change(link: Link, names: Names) -> None:
        stream, name = names.log_stream, consumer_name("charge")
        config = (await api.ask(link, f"CONSUMER.INFO.{stream}.{name}"))["config"] | {
            field: value.format(space=names.namespace) if isinstance(value, str) else value
            for field, value in changes.items()
        }
        body = {"stream_name": stream, "config": config}
        await api.ask(link, f"CONSUMER.DURABLE.CREATE.{stream}.{name}", body)

    patient.made(open_queue)
    patient.finds("queues", "fail", words, lambda: patient.plant(change))


def test_the_queue_of_a_job_that_was_paused(patient: Patient) -> None:
    async def open_queue(backend: JetStreamBackend) -> None:
        await backend.queues.open("charge", ack_wait_s=30, in_flight_max=10)

    async def pause(link: Link, names: Names) -> None:
        until = {"pause_until": "2999-01-01T00:00:00Z"}
        await api.ask(link, f"CONSUMER.PAUSE.{names.log_stream}.{consumer_name('charge')}", until)

    patient.made(open_queue)
    patient.finds("queues", "fail", "paused", lambda: patient.plant(pause))


@pytest.mark.parametrize(
    ("variable", "value", "what", "level", "words"),
    [
        ("SNORRI_PARTITIONS", "8", "partitions", "fail", "the streams have 4"),
        ("SNORRI_REPLICAS", "3", "copies", "fail", "the streams have 1"),
        ("SNORRI_PARTITONS", "8", "environment", "warn", "did you mean SNORRI_PARTITIONS"),
        ("SNORRI_DATA", "/dev/shm", "data directory", "warn", "in memory"),
        ("SNORRI_AUTH", "absent.toml", "users and tokens", "fail", "absent.toml"),
    ],
)
def test_settings_that_do_not_fit(
    patient: Patient, variable: str, value: str, what: str, level: str, words: str
) -> None:
    def plant() -> None:
        patient.environment[variable] = value

    patient.finds(what, level, words, plant)


def test_secrets_that_others_can_read(patient: Patient, tmp_path: Path) -> None:
    nats = GuardedNats(tmp_path / "keys", Names())
    seed = nats.users["viewer"].file
    patient.environment["SNORRI_NATS_CREDS"] = str(seed)
    patient.finds("keys", "warn", "viewer.nk", lambda: seed.chmod(0o644))


def test_an_open_api_without_tls_and_names(patient: Patient, tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    token = f'[tokens.ci]\nsha256 = "{"0" * 64}"\nrole = "admin"\n'
    file.write_text(f'allowed_hosts = ["snorri.example"]\nsecure_cookies = true\n{token}')
    file.chmod(0o600)
    patient.environment |= {"SNORRI_HOST": "0.0.0.0", "SNORRI_AUTH": str(file)}
    patient.finds("open API", "warn", "without TLS", lambda: file.write_text(token))


def test_a_server_that_asks_nobody_who_they_are(
    server: Callable[..., ConfiguredNats], tmp_path: Path
) -> None:
    nats = server()
    patient = Patient(tmp_path, nats.url, Names())

    def plant() -> None:
        patient.environment["SNORRI_NATS_URL"] = f"nats://0.0.0.0:{nats.port}"

    patient.finds("way to NATS", "fail", "asks nobody", plant)
    guarded = GuardedNats(tmp_path / "guarded", Names())
    guarded.start()
    try:
        patient.environment["SNORRI_NATS_URL"] = f"nats://0.0.0.0:{guarded.port}"
        patient.environment["SNORRI_NATS_CREDS"] = str(guarded.users["api"].file)
        assert "without TLS" in patient.examine()["way to NATS"]["found"]
        patient.environment["SNORRI_NATS_CREDS"] = str(guarded.users["publisher"].file)
        told = patient.examine()["permissions"]
        assert (told["level"], "viewer" in told["mend"]) == ("fail", True)
    finally:
        guarded.close()


def test_a_server_with_limits_that_are_too_low(
    server: Callable[..., ConfiguredNats], tmp_path: Path
) -> None:
    found = Patient(tmp_path, server("max_payload: 200KB").url, Names()).examine()
    assert found["max_payload"]["level"] == "warn"
    assert "memory of the account" not in found
    account = "A { jetstream: { max_mem: 0, max_file: 1MB }, users: [{user: a, password: p}] }"
    small = server(f"accounts {{ {account} }}\nno_auth_user: a")
    found = Patient(tmp_path, small.url, Names()).examine()
    assert found["memory of the account"]["level"] == "fail"
    assert "max_payload" not in found


def test_a_server_without_jetstream(tmp_path: Path) -> None:
    nats = ConfiguredNats(tmp_path / "nats", "")
    nats.config.write_text(f"listen: 127.0.0.1:{nats.port}\n")
    nats.start()
    try:
        found = Patient(tmp_path, nats.url, Names()).examine()["JetStream"]
        assert (found["level"], found["found"]) == ("fail", "off")
    finally:
        nats.close()


@pytest.mark.parametrize(("sync", "level"), [("always", "ok"), ("10s", "warn")])
def test_a_server_that_does_not_sync(
    server: Callable[..., ConfiguredNats], tmp_path: Path, sync: str, level: str
) -> None:
    nats = server(jetstream=f"sync_interval: {sync}")
    patient = Patient(tmp_path, nats.url, Names())
    address = eventually_sync(nats.monitor_address, 30, "the file with the server's ports")
    done = CliRunner(env=patient.environment).invoke(
        cli, ["doctor", "--json", "--port", "1", "--monitor-url", address], prog_name="snorri"
    )
    (fsync,) = [one for one in json.loads(done.stdout) if one["what"] == "fsync"]
    assert fsync["level"] == level


def _card(id: str, sagas: tuple[str, ...], **versions: int) -> tuple[str, bytes]:
    card = EngineCard(id=id, host="h", pid=1, started=NOW, sagas=sagas, versions=versions)
    return f"engine.{id}", msgspec.json.encode(card)


def _put(*cards: tuple[str, bytes]) -> Callable[[JetStreamBackend], Awaitable[object]]:
    async def work(backend: JetStreamBackend) -> None:
        for key, data in cards:
            await backend.meta.put(key, data, ttl_s=60)

    return work


def test_nobody_is_there_to_work(patient: Patient) -> None:
    found = patient.examine()
    for what in ("engines", "workers", "API"):
        assert (found[what]["level"], len(found[what]["mend"]) > 10) == ("warn", True)
    engine = _card("e1", ("Shop",))
    patient.finds("leases", "warn", "0, 1, 2, 3", lambda: patient.made(_put(engine)))


def test_engines_with_unlike_code(patient: Patient) -> None:
    patient.made(_put(_card("e1", ("Shop",))))
    newer = _put(_card("e2", ("Shop",), Shop=2))
    patient.finds("code of engines", "warn", "e2 has version 2", lambda: patient.made(newer))
    other = _put(_card("e3", ("Mail",)))
    patient.finds("code of engines", "warn", "does not have it", lambda: patient.made(other))


def test_work_that_nobody_has_the_code_for(patient: Patient) -> None:
    names = patient.names
    payload = to_raw({"orderId": "o-1", "total": 5})
    cause = Cause(kind="event", type="OrderCreated", id="1", seq=1, at=NOW, payload=payload)
    done = decide(checkout, Snapshot("o-1"), cause, NOW)
    assert isinstance(done, Transition)
    document = done.document

    async def store(backend: JetStreamBackend) -> None:
        await backend.log.commit(
            [Outgoing(names.instance("CheckoutSaga", "o-1"), document, expect=0)]
        )

    def plant() -> None:
        patient.made(store)

    assert decode(document).commands
    patient.made(_put(_card("e1", ("Mail",))))
    patient.finds("sagas", "warn", "CheckoutSaga (1)", plant)
    told = patient.examine()["commands"]
    assert (told["level"], "snorri jobs" in told["mend"]) == ("warn", True)


def test_a_program_that_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(tmp_path, "", Names())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        patient.environment["SNORRI_NATS_PORT"] = str(probe.getsockname()[1])
    assert "as published" in patient.examine()["nats-server program"]["found"]
    monkeypatch.setattr("server.doctor_setup._recorded", lambda _program: "A" * 43)
    told = patient.examine()["nats-server program"]
    assert (told["level"], "not as published" in told["found"]) == ("fail", True)
