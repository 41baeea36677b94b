"""Goal: each process does its whole work as its own NATS user, and none needs more than its table.

Method: a real nats-server with the users that `snorri nats-users` wrote; engine, worker and API are
processes, each with its own key; what any of them was denied would stand in its output.
"""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.examples import jobs as samples
from server.nats_users import CONF
from store.jetstream.dial import dial
from store.jetstream.permissions import USERS, User
from store.port import Denied
from store.subjects import Names
from tests.integration.cli_kit import Process, Snorri, port_when_ready
from tests.nats_guarded import GuardedNats
from tests.waiting import eventually_sync

ORDER = '{"orderId":"o-1","items":[{"productId":"p-1"}],"total":4999}'


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    """A server that lets in the users of the usual installation only."""
    folder = tmp_path_factory.mktemp("guarded")
    nats = GuardedNats(folder, Names(), [job.target for job in samples])
    nats.start()
    yield nats
    nats.close()


def _as(nats: GuardedNats, user: User, cwd: Path) -> Snorri:
    return Snorri(cwd, **_environment(nats, user))


def _environment(nats: GuardedNats, user: User) -> dict[str, str]:
    return {
        "SNORRI_NATS_URL": nats.url,
        "SNORRI_NATS_CREDS": str(nats.users[user].file),
        "SNORRI_LOG_FORMAT": "json",
    }


async def _ask(nats: GuardedNats, user: User, subject: str) -> dict[str, Any]:
    """Ask the micro service as the nats command does."""
    link = await dial(nats.url, login=nats.login(user))
    try:
        reply = await link.ask(subject, b'{"saga":"CheckoutSaga","key":"o-1"}')
        return json.loads(reply.data)
    finally:
        await link.hang_up()


def test_a_checkout_runs_to_its_end_with_a_user_for_each_part(
    nats: GuardedNats, tmp_path: Path
) -> None:
    running: list[Process] = []

    def start(user: User, *command: str) -> Process:
        process = Process(tmp_path, *command, **_environment(nats, user))
        running.append(process)
        process.until("Ctrl-C stops")
        return process

    try:
        start("engine", "engine")
        worker = start("worker", "jobs", "--metrics-port", "0")
        metrics = re.search(r"metrics and health are at (http://[\d.:]+)", worker.output)
        assert metrics is not None
        assert httpx.get(f"{metrics[1]}/health/ready").json()["ready"] is True
        api = start("api", "serve", "--port", "0")
        port = port_when_ready(api)
        publisher, viewer = _as(nats, "publisher", tmp_path), _as(nats, "viewer", tmp_path)
        publisher.run("publish", "OrderCreated", ORDER, "--key", "o-1")
        instance = f"http://127.0.0.1:{port}/api/v1/sagas/instances/CheckoutSaga/o-1"

        def is_now(status: str) -> bool:
            return httpx.get(instance).json().get("status") == status

        eventually_sync(lambda: is_now("completed"), what="the checkout being completed")
        assert viewer.json("show", "CheckoutSaga", "o-1")["status"] == "completed"
        assert len(viewer.run("history", "CheckoutSaga", "o-1").stdout.splitlines()) > 3
        viewer.run("sagas")
        viewer.run("verify", "--port", port)
        for user in ("viewer", "api"):
            looked = _as(nats, user, tmp_path).json("doctor", "--port", port)
            assert [one for one in looked if one["what"] in ("permissions", "installation")] == []
        asked = asyncio.run(_ask(nats, "operator", Names().api("show")))
        assert asked["status"] == "completed"
        with pytest.raises(Denied):
            asyncio.run(_ask(nats, "viewer", Names().api("show")))
        acting = _as(nats, "api", tmp_path)
        acting.run("compensate", "CheckoutSaga", "o-1", "--reason", "sent back")
        eventually_sync(lambda: is_now("cancelled"), what="the checkout being undone")
        rows = f"http://127.0.0.1:{port}/api/v1/sagas/instances"
        eventually_sync(lambda: "o-1" in httpx.get(rows).text, what="the checkout in the list")
        _as(nats, "operator", tmp_path).run("backup", str(tmp_path / "copy"))
        for process in running:
            assert process.stop() == 130
        denied = {line for one in running for line in one.output.splitlines() if "denies" in line}
        assert not denied
    finally:
        for process in running:
            process.close()


def test_seeds_are_for_their_owner_only_and_in_no_output(tmp_path: Path) -> None:
    snorri = Snorri(tmp_path)
    told = snorri.run("nats-users", "--out", "n").output + snorri.run("config").output
    table = snorri.json("nats-users", "--out", "n")
    assert [row["user"] for row in table] == list(USERS)
    conf = (tmp_path / "n" / CONF).read_text()
    for row in table:
        file = tmp_path / row["file"]
        comment, seed = file.read_text().splitlines()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (comment, seed[:2]) == (f"# inbox: {row['inbox']}", "SU")
        assert row["public"] in conf
        assert seed not in told + conf + json.dumps(table)
        assert row["inbox"] + ".>" in row["subscribe"] or row["user"] == "operator"


def test_keys_stay_until_they_are_rotated(tmp_path: Path) -> None:
    snorri = Snorri(tmp_path)
    first = {row["user"]: row["public"] for row in snorri.json("nats-users")}
    assert {row["user"]: row["public"] for row in snorri.json("nats-users")} == first
    rows = snorri.json("nats-users", "--rotate", "worker")
    changed = {row["user"] for row in rows if row["public"] != first[row["user"]]}
    assert changed == {"worker"}
    assert [row["user"] for row in rows if row["new"]] == ["worker"]
    seed = tmp_path / "nats-users" / "api.nk"
    seed.chmod(0o644)
    assert "chmod 600" in snorri.run("nats-users", code=1).stderr
    seed.chmod(0o600)
    seed.write_text("SUnotaseed")
    assert "no seed" in snorri.run("nats-users", code=1).stderr


def test_with_an_app_workers_have_its_queues_only(tmp_path: Path) -> None:
    snorri = Snorri(tmp_path)
    shop = {row["user"]: row for row in snorri.json("nats-users", "--app", "jobs.examples")}
    assert "$JS.ACK.KV_SAGA.job-book-hotel.>" in shop["worker"]["publish"]
    assert not [one for one in shop["worker"]["publish"] if "KV_SAGA.*" in one]
    assert "$JS.API.CONSUMER.DELETE.KV_SAGA.job-book-hotel" in shop["viewer"]["deny"]
    other = Snorri(tmp_path, SNORRI_BUCKET="SHOP", SNORRI_NAMESPACE="shop")
    rows = {row["user"]: row for row in other.json("nats-users", "--out", "other")}
    assert rows["publisher"]["publish"] == [
        *("shop.events.*", "shop.events.*.*", "$JS.API.STREAM.INFO.SHOP_EVENTS")
    ]
    assert "no name of an account" in snorri.run("nats-users", "--account", "a b", code=2).stderr
