"""Goal: each thing that can be wrong with a setup is found, and each finding says how to mend it.

Method: pure judgements on made-up facts; the real thing is in the integration tests.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sagas.instance import Instance, decode, document_hash, encode
from sagas.kernel import Snapshot, Transition, decide
from sagas.messages import Cause, to_raw
from server.doctor import (
    Finding,
    Sync,
    judge_alive,
    judge_commands,
    judge_disk,
    judge_health,
    judge_server,
    judge_streams,
    judge_sync,
    judge_tail,
)
from server.doctor_api import Reached, judge_access, judge_api
from server.health import Check, Health
from server.settings import Settings
from store.cards import EngineCard, WorkerCard
from store.jetstream.inspection import ServerFacts, StreamFacts
from store.port import Stored
from store.subjects import Names
from tests.unit.store.shop import shop

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NAMES = Names()


def _facts(**changes: Any) -> ServerFacts:
    good: dict[str, Any] = {
        "version": "2.15.1",
        "jetstream": True,
        "api_level": 5,
        "payload_max": 1048576,
        "cluster": "",
        "server_at": NOW,
        "asked_at": NOW,
        "store_bytes": 1,
        "store_bytes_max": 100,
        "partitions": 4,
        "streams": (StreamFacts(name="S", drift=()),),
    }
    return ServerFacts(**{**good, **changes})


def _worst(findings: list[Finding]) -> Finding:
    return max(findings, key=lambda finding: ["ok", "warn", "fail"].index(finding.level))


def test_a_good_setup_has_nothing_to_mend() -> None:
    for finding in (*judge_server(_facts()), *judge_streams(_facts())):
        assert (finding.level, finding.mend) == ("ok", "")


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"version": "2.10.0"}, "fail", "nats-server"),
        ({"version": "2.14.3"}, "warn", "nats-server"),
        ({"version": "?"}, "fail", "nats-server"),
        ({"jetstream": False}, "fail", "JetStream"),
        ({"api_level": 1}, "fail", "JetStream"),
        ({"server_at": NOW + timedelta(seconds=9)}, "warn", "clock"),
        ({"server_at": NOW - timedelta(seconds=9)}, "warn", "clock"),
        ({"store_bytes": 95}, "warn", "store"),
    ],
)
def test_what_is_wrong_with_a_server(changes: dict[str, Any], level: str, what: str) -> None:
    worst = _worst(judge_server(_facts(**changes)))
    assert (worst.level, worst.what) == (level, what)
    assert worst.mend


@pytest.mark.parametrize(
    ("stream", "level"),
    [
        (StreamFacts(name="S", drift=None), "fail"),
        (StreamFacts(name="S", drift=("max_age: want 0, have 1",)), "fail"),
        (StreamFacts(name="S", drift=(), replicas=3, replicas_behind=("n2",)), "warn"),
    ],
)
def test_what_is_wrong_with_a_stream(stream: StreamFacts, level: str) -> None:
    worst = _worst(judge_streams(_facts(streams=(stream,))))
    assert worst.level == level
    assert worst.mend


@pytest.mark.parametrize(
    ("sync", "replicas", "level"),
    [
        (Sync(True), 1, "ok"),
        (Sync(False), 1, "warn"),
        (Sync(False), 3, "ok"),
        (Sync(None, "why"), 1, "warn"),
    ],
)
def test_fsync(sync: Sync, replicas: int, level: str) -> None:
    assert judge_sync(sync, replicas).level == level


def test_a_server_that_stores_no_more_is_told_with_its_own_words() -> None:
    assert judge_health(Sync(True)) is None
    found = judge_health(Sync(True, complaint="write error: no space left on device"))
    assert found is not None
    assert found.level == "fail"
    assert "no space left on device" in found.found
    assert "start the server anew" in found.mend


def test_who_is_alive() -> None:
    engine = EngineCard(id="e1", host="h", pid=1, started=NOW, partitions=(0, 1))
    worker = WorkerCard(id="w1", host="h", pid=1, started=NOW, targets=("a",))
    assert [finding.level for finding in judge_alive([engine], [worker])] == ["ok", "ok"]
    assert [finding.level for finding in judge_alive([], [])] == ["warn", "warn"]


def test_the_disk(tmp_path: Path) -> None:
    assert judge_disk(tmp_path / "absent") is None
    assert judge_disk(tmp_path) is not None


def _history(count: int, amount: int = 5) -> list[Stored]:
    """Revisions of one instance as the kernel makes them."""
    snapshot, revisions = Snapshot("o-1"), []
    for version in range(1, count + 1):
        payload = to_raw({"orderId": "o-1", "amount": amount})
        cause = Cause(
            kind="event", type="OrderPlaced", id=f"i{version}", seq=version, at=NOW, payload=payload
        )
        decision = decide(shop, snapshot, cause, NOW)
        assert isinstance(decision, Transition)
        snapshot = Snapshot("o-1", decision.after, document_hash(decision.document))
        subject = NAMES.instance("Shop", "o-1")
        revisions.append(Stored(subject, version, 0, decision.document))
    return revisions


def _changed(stored: Stored, **changes: Any) -> Stored:
    instance = msgspec.structs.replace(msgspec.json.decode(stored.data, type=Instance), **changes)
    return msgspec.structs.replace(stored, data=encode(instance))


def test_a_whole_history_is_well() -> None:
    assert judge_tail(_history(4), NAMES).level == "ok"
    assert judge_tail(_history(4)[2:], NAMES).level == "ok"  # where the look begins is arbitrary
    assert judge_tail([], NAMES).level == "ok"


def test_commands_that_no_worker_takes_are_named() -> None:
    revisions = _history(1, amount=1)
    (target,) = {c.target for c in decode(revisions[0].data).commands.values()}
    found = judge_commands(revisions, [])
    assert found is not None
    assert (found.level, found.what) == ("warn", "commands")
    assert f"{target} (1)" in found.found
    worker = WorkerCard(id="w", host="h", pid=1, started=NOW, targets=(target,))
    assert judge_commands(revisions, [worker]) is None
    broken = [msgspec.structs.replace(revisions[0], data=b"{")]
    assert judge_commands(broken, []) is None


def test_damage_is_found() -> None:
    whole = _history(4)
    gap = [*whole[:1], *whole[2:]]
    assert "version 3 follows 1" in judge_tail(gap, NAMES).found
    altered = [whole[0], _changed(whole[1], state=to_raw({"orderId": "x"})), *whole[2:]]
    assert "version 3 does not continue" in judge_tail(altered, NAMES).found
    torn = [*whole[:3], msgspec.structs.replace(whole[3], data=b'{"v":1')]
    assert "can't be read" in judge_tail(torn, NAMES).found
    moved = [msgspec.structs.replace(whole[0], subject=NAMES.instance("Shop", "o-2"))]
    assert "stands under" in judge_tail(moved, NAMES).found
    for revisions in (gap, altered, torn, moved):
        assert judge_tail(revisions, NAMES).level == "fail"
        assert judge_tail(revisions, NAMES).mend


def test_the_file_of_users_and_tokens(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    path = tmp_path / "auth.toml"

    def judged(text: str, mode: int = 0o600) -> Finding:
        path.write_text(text)
        path.chmod(mode)
        return judge_access(Settings(auth=str(path)), now)

    admin = f'[tokens.ci]\nsha256 = "{"0" * 64}"\nrole = "admin"\nexpires = 2025-01-01T00:00:00Z\n'
    assert "everybody on this machine" in judge_access(Settings(), now).found
    good = judged(admin)
    assert (good.level, good.found) == ("ok", "0 users and 1 tokens, 1 of them expired")
    assert judged(admin, 0o644).level == "warn"
    assert "none is an admin" in judged(admin.replace("admin", "viewer")).found
    assert judged("[tokens").level == "fail"
    path.unlink()
    assert judge_access(Settings(auth=str(path)), now).level == "fail"


def test_the_api_and_what_keeps_it_from_being_ready() -> None:
    (away,) = judge_api(Reached("http://h:1", None, "refused"))
    assert (away.level, away.what) == ("warn", "API")
    assert "snorri serve" in away.mend
    checks = (Check("nats", True, "connected"), Check("projections", True, "3 behind"))
    (well,) = judge_api(Reached("http://h:1", Health(True, (), checks)))
    assert (well.level, well.found) == ("ok", "ready at http://h:1; 3 behind")
    bad = (Check("engines", False, "partition 2 has none"), Check("live", False, "closed"), *checks)
    found = judge_api(Reached("http://h:1", Health(False, (), bad)))
    assert [(one.level, one.what) for one in found] == [
        ("fail", "API: engines"),
        ("fail", "API: live"),
    ]
    assert all(one.mend for one in found)
