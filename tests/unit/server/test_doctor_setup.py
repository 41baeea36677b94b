"""Goal: the setup is judged right where a test can't spoil it for real.

Method: made-up mounts, limits and facts.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from server.doctor_setup import judge_limits, judge_place, judge_way, judge_wishes
from server.settings import Settings
from store.jetstream.inspection import StreamFacts
from tests.unit.server.test_doctor import _facts

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/exports /srv/shared nfs4 rw 0 0
tmpfs /srv/shared/fast\\040one tmpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/srv/shared/snorri", "network file system (nfs4)"),
        ("/srv/shared/fast one/snorri", "in memory (tmpfs)"),
        ("/srv/sharedness", ""),
        ("/var/lib/snorri", ""),
    ],
)
def test_the_file_system_is_the_one_of_the_nearest_mount(path: str, words: str) -> None:
    found = judge_place(Path(path), MOUNTS)
    assert (found.found if found else "") == (f"{path} is {_on(words)}{words}" if words else "")


def _on(words: str) -> str:
    return "on a " if words.startswith("network") else ""


def test_where_mounts_are_not_told_nothing_is_said() -> None:
    assert judge_place(Path("/srv"), "") is None


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 256))
    (found,) = judge_limits(_facts())
    assert (found.what, found.level) == ("open files", "warn")


@pytest.mark.parametrize(
    ("url", "facts", "level"),
    [
        ("nats://127.0.0.1:4222,nats://localhost:4223", {"asks_who": False}, "ok"),
        ("nats://127.0.0.1:4222,nats://10.0.0.7:4222", {"asks_who": False}, "fail"),
        ("nats://nats-1:4222", {"encrypts": False}, "warn"),
        ("tls://nats-1:4222", {}, "ok"),
    ],
)
def test_the_way_is_as_safe_as_its_most_open_end(
    url: str, facts: dict[str, Any], level: str
) -> None:
    assert judge_way(_facts(**facts), url).level == level


def test_one_copy_in_a_cluster_is_told() -> None:
    streams = (StreamFacts(name="S", drift=(), replicas=1),)
    found = {
        one.what: one for one in judge_wishes(Settings(), _facts(cluster="c", streams=streams))
    }
    assert (found["copies"].level, found["partitions"].level) == ("warn", "ok")
    three = (StreamFacts(name="S", drift=(), replicas=3),)
    found = {one.what: one for one in judge_wishes(Settings(), _facts(cluster="c", streams=three))}
    assert "copies" not in found
