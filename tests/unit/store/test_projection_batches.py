"""Goal: the rows do not depend on how the streams were cut into batches, or on rubbish in them.

Method: the story applied whole is what all others must equal, row by row: cut by chance, with
either stream ahead of the other, message by message, over a restart. Then messages that can't be
read are planted among good ones: the good ones' rows stay, and each bad one is named.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from store.duck.file import DuckFile
from store.live_mask import LiveMask
from store.port import Stored
from store.projection.checkpoint import digest_of
from tests.unit.store.projected import MADE, Story, dump, rows, tables_of, tell

Cut = list[tuple[int, int]]


@pytest.fixture(scope="module")
def story() -> Story:
    """The story."""
    return asyncio.run(tell())


@pytest.fixture(scope="module")
def whole(story: Story, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """All its rows, made in one batch."""
    file = tables_of(tmp_path_factory.mktemp("whole"), story)
    found = dump(file)
    file.close()
    assert all(found[name] for name in found), "a relation without rows would prove nothing"
    return found


def _cut(story: Story, chance: random.Random, size: int) -> Cut:
    """Batches of up to ``size`` of each stream, now and then none of one."""
    events, messages = len(story.events), len(story.log)
    cut: Cut = []
    while events or messages:
        one = (min(events, chance.randint(0, size)), min(messages, chance.randint(0, size)))
        events, messages = events - one[0], messages - one[1]
        cut.append(one)
    return cut


@pytest.mark.parametrize("size", [3, 8, 30, 60])
def test_cut_by_chance(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path, seed: int, size: int
) -> None:
    file = tables_of(tmp_path, story, _cut(story, random.Random(seed), size))
    assert dump(file) == whole
    file.close()


@pytest.mark.parametrize("first", ["events", "log"])
def test_one_stream_before_the_other(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path, first: str
) -> None:
    events, messages = len(story.events), len(story.log)
    parts: Cut = [(events, 0), (0, messages)]
    file = tables_of(tmp_path, story, parts if first == "events" else parts[::-1])
    assert dump(file) == whole
    file.close()


def test_message_by_message(story: Story, whole: dict[str, list[Any]], tmp_path: Path) -> None:
    """In the order in which they were stored."""
    order = sorted(
        [(one.at_ns, 0, one.seq) for one in story.events]
        + [(one.at_ns, 1, one.seq) for one in story.log]
    )
    file = tables_of(tmp_path, story, [(1, 0) if part == 0 else (0, 1) for _, part, _ in order])
    assert dump(file) == whole
    file.close()


def test_over_a_restart_the_rest_is_added(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path
) -> None:
    half = Story(names=story.names, events=story.events[:20], log=story.log[:50])
    file = tables_of(tmp_path, half)
    file.close()
    again = DuckFile(file.path, story.names, LiveMask())
    assert again.checkpoint is not None
    marks = again.checkpoint.events, again.checkpoint.log
    assert [mark.applied for mark in marks] == [half.events[-1].seq, half.log[-1].seq]
    again.apply(story.events[20:], story.log[50:])
    assert dump(again) == whole
    again.close()


def test_a_crash_leaves_what_was_flushed(story: Story, tmp_path: Path) -> None:
    """The file as another process would find it, without the end of this one."""
    file = tables_of(
        tmp_path, Story(names=story.names, events=story.events[:20], log=story.log[:50])
    )
    file.flush()
    then = dump(file)
    file.apply(story.events[20:], story.log[50:])
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(file.path.read_bytes())
    found = DuckFile(copy, story.names, LiveMask())
    assert dump(found) == then
    assert found.checkpoint is not None
    assert found.checkpoint.log.applied == story.log[49].seq
    found.close()
    file.close()


def test_the_anchor_is_a_message_that_stays(story: Story, tmp_path: Path) -> None:
    file = tables_of(tmp_path, story)
    assert file.checkpoint is not None
    last = {one.seq: one for one in story.log}
    anchor = last[file.checkpoint.log.anchor]
    assert not anchor.subject.startswith((f"$KV.{story.names.bucket}.p.", "saga.timers."))
    assert digest_of(anchor) == file.checkpoint.log.digest
    assert file.checkpoint.events.anchor == story.events[-1].seq
    file.close()


def _stored(subject: str, data: bytes, **headers: str) -> Stored:
    return Stored(subject, 0, 0, data, {name.replace("_", "-"): v for name, v in headers.items()})


NAMES = {"instance": "$KV.SAGA.i.Order.zz", "note": "$KV.SAGA.n.0", "letter": "$KV.SAGA.d.x"}
GOOD = (
    b'{"v":1,"saga":"Order","key":"zz","version":1,"status":"running","state":{},"started":"x",'
    b'"at":"x","cause":{"kind":"event","type":"T","id":"","seq":1,"at":"x"},"effects":[],'
    b'"error":null,"definition":"","trace":"","prev":""}'
)
BAD_LOG = {
    "no JSON": _stored(NAMES["instance"], b"\x00\xff{"),
    "another shape": _stored(NAMES["instance"], b"[1,2]"),
    "a newer schema": _stored(NAMES["instance"], GOOD.replace(b'"v":1', b'"v":99')),
    "another instance": _stored(NAMES["instance"], GOOD.replace(b'"zz"', b'"yy"')),
    "no version": _stored(NAMES["instance"], GOOD.replace(b'"version":1,', b"")),
    "a version that is none": _stored(
        NAMES["instance"], GOOD.replace(b'"version":1,', b'"version":1e99,')
    ),
    "deep": _stored(NAMES["instance"], b"[" * 100_000),
    "no token": _stored("$KV.SAGA.i.Order", GOOD),
    "a token of no text": _stored("$KV.SAGA.i.Order.=FF", GOOD),
    "a command without an id": _stored("saga.commands.pay.o-1", b"{}"),
    "notes": _stored(NAMES["note"], b'{"items":7}'),
    "a letter": _stored(NAMES["letter"], b"{}"),
    "an action": _stored("saga.sig.0.operator.o-1", b'{"cause":1}'),
    "a sequence out of range": _stored(
        "saga.sig.0.operator.o-1",
        b'{"to":{"saga":"S","key":"k"},"cause":{"kind":"operator","type":"pause","id":"",'
        b'"seq":99999999999999999999}}',
    ),
}


@pytest.mark.parametrize("name", BAD_LOG)
def test_what_cannot_be_read_in_the_log_is_named(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    bad = BAD_LOG[name]
    end = story.log[-1].seq
    planted = [Stored(bad.subject, end + n, n, bad.data, bad.headers) for n in (1, 2, 3)]
    log = [*planted[:2], *story.log, planted[2]]
    file = tables_of(tmp_path, Story(names=story.names, events=story.events, log=log))
    found = dump(file)
    named = [row for row in found.pop("unreadable") if row[0] == "log"]
    assert len(named) == len(planted)
    assert all(reason for *_, reason in named)
    assert found == {name: part for name, part in whole.items() if name != "unreadable"}
    assert file.unreadable == len(planted) + len(whole["unreadable"])
    file.close()


BAD_EVENTS = {
    "no type": _stored("saga.other.x", b"{}"),
    "no text": _stored("saga.in.0.=FF.k", b"{}"),
    "surrogates": _stored("saga.in.0.T.\udcff", b"{}", x="\udcff\udc00"),
    "an infinite number": _stored("saga.events.T", b'{"a":1e999}'),
    "lone surrogate": _stored("saga.events.T", b'{"a":"\\ud800"}'),
    "no payload": _stored("saga.events.T", b""),
    "binary": _stored("saga.events.T", bytes(range(256))),
    "deep": _stored("saga.events.T", b"[" * 50_000 + b"]" * 50_000),
    "an id of bytes": _stored("saga.events.T", b"1", Nats_Msg_Id="\udce4"),
    "an execution of nobody": _stored("saga.events.T", b"1", Snorri_Execution="[]"),
    "an execution of bytes": _stored("saga.events.T", b"1", Snorri_Execution="\udcff"),
    "odd command": _stored(
        "saga.events.T",
        b"1",
        Snorri_Execution='{"command":"=FF.=FF.1.1","target":"t","worker":"w","attempt":1,'
        '"queued":"?","started":"?","ended":"?","outcome":"completed"}',
    ),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_an_event_that_cannot_be_read_is_a_row_all_the_same(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    bad = BAD_EVENTS[name]
    seq = story.events[-1].seq + 1
    events = [*story.events, Stored(bad.subject, seq, 1000, bad.data, bad.headers)]
    file = tables_of(tmp_path, Story(names=story.names, events=events, log=story.log))
    found = dump(file)
    assert len(found["events"]) == len(whole["events"]) + 1
    assert rows(file, "SELECT bytes, outcome FROM events WHERE seq = $1", seq) == [
        (len(bad.data), "waiting")
    ]
    assert rows(file, "SELECT count(headers) FROM events WHERE seq = $1", seq) == [(1,)]
    for relation in set(whole) - {"events", "unreadable", "executions"}:
        assert found[relation] == whole[relation]
    named = len(found["unreadable"]) + len(found["executions"])
    assert named == len(whole["unreadable"]) + len(whole["executions"]) + ("xecution" in str(bad))
    file.close()


def test_a_message_the_database_refuses_is_left_out_alone(
    story: Story, whole: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody thought of: here a column that takes no such number."""
    file = DuckFile(tmp_path / "t.duckdb", story.names, LiveMask())
    file.begin(MADE, "")
    with file.cursor() as cursor:
        cursor.execute("ALTER TABLE base.events ALTER bytes TYPE UTINYINT")
    large = Stored("saga.events.Large", story.events[-1].seq + 1, 1, b'"%s"' % (b"x" * 300), {})
    file.apply([*story.events, large], story.log)
    found = dump(file)
    assert found["events"] == whole["events"]
    assert found["transitions"] == whole["transitions"]
    assert [row[:3] for row in found["unreadable"] if row not in whole["unreadable"]] == [
        ("events", large.seq, large.subject)
    ]
    assert file.checkpoint is not None
    assert file.checkpoint.events.applied == large.seq
    file.close()
