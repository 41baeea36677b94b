"""What is wrong with a setup and how to mend it: facts become findings. Looks, never changes.

Every finding is ok, a warning (it works, with a risk named) or a failure (it does not, or history
is damaged), and says what to do. The judgements are pure functions of facts; gathering is beside.
"""

from __future__ import annotations

import asyncio
import shutil
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from sagas.errors import IllegalTransition
from sagas.instance import Instance, decode, document_hash
from server.datadir import holder_of
from server.settings import Settings
from store.broker_version import BrokerTooOld, check_version
from store.cards import EngineCard, WorkerCard
from store.jetstream.inspection import ServerFacts, StreamFacts
from store.port import Backend, Stored
from store.subjects import Names

Level: TypeAlias = Literal["ok", "warn", "fail"]

API_LEVEL_MIN = 4  # of 2.14: batches, schedules with time zones
SKEW_S_MAX = 2.0
DISK_FREE_MIN = 0.10
STORE_FULL = 0.90
TAIL_MESSAGES = 1000


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at; ``mend`` is empty when all is well."""

    level: Level
    what: str
    found: str
    mend: str = ""


class Sync(Struct, frozen=True):
    """What the monitoring page says: fsync before each acknowledgement, or None for not known.

    ``complaint`` is why the server calls itself unwell, empty when it does not.
    """

    always: bool | None
    why: str = ""
    complaint: str = ""


def judge_server(facts: ServerFacts) -> list[Finding]:
    """Version, JetStream, API level, message size, clock and limits of a server."""
    found = [_version(facts.version)]
    if not facts.jetstream:
        found.append(
            Finding(
                level="fail",
                what="JetStream",
                found="off",
                mend="start nats-server with `jetstream {}` in its configuration, or with -js",
            )
        )
        return found
    level = f"API level {facts.api_level}"
    if facts.api_level < API_LEVEL_MIN:
        mend = "upgrade nats-server; all servers of a cluster must be new enough"
        found.append(Finding(level="fail", what="JetStream", found=level, mend=mend))
    else:
        found.append(Finding(level="ok", what="JetStream", found=f"on, {level}"))
    found.append(_clock(facts))
    if facts.store_bytes_max > 0:
        share = facts.store_bytes / facts.store_bytes_max
        full = share >= STORE_FULL
        found.append(
            Finding(
                level="warn" if full else "ok",
                what="store",
                found=f"{share:.0%} of the account's {facts.store_bytes_max} bytes used",
                mend="raise max_file_store or archive old instances" if full else "",
            )
        )
    return found


def _version(version: str) -> Finding:
    try:
        warning = check_version(version)
    except (BrokerTooOld, ValueError) as error:
        return Finding(level="fail", what="nats-server", found=version, mend=str(error))
    level: Level = "warn" if warning else "ok"
    return Finding(level=level, what="nats-server", found=version, mend=warning or "")


def _clock(facts: ServerFacts) -> Finding:
    if facts.server_at is None:
        return Finding(level="ok", what="clock", found="not compared, there is no stream yet")
    skew_s = (facts.server_at - facts.asked_at).total_seconds()
    if abs(skew_s) > SKEW_S_MAX:
        mend = "let NTP set both; sagas and jobs go by the server's, your logs by this machine's"
        shown = f"the server's is {skew_s:+.1f} s from ours"
        return Finding(level="warn", what="clock", found=shown, mend=mend)
    return Finding(level="ok", what="clock", found=f"within {SKEW_S_MAX:g} s of the server's")


def judge_streams(facts: ServerFacts) -> list[Finding]:
    """The three streams against what this version wants, and the partitions."""
    found = [_stream(stream) for stream in facts.streams]
    return found


def _stream(stream: StreamFacts) -> Finding:
    what = f"stream {stream.name}"
    if stream.drift is None:
        mend = "an engine makes it at its first start: `snorri dev` or `snorri engine`"
        return Finding(level="fail", what=what, found="missing", mend=mend)
    if stream.drift:
        mend = "edit it with `nats stream edit`, or use another bucket with SNORRI_BUCKET"
        return Finding(level="fail", what=what, found="; ".join(stream.drift), mend=mend)
    size = f"{stream.messages} messages, {stream.size_bytes} bytes, R{stream.replicas}"
    if stream.replicas_behind:
        late = ", ".join(stream.replicas_behind)
        mend = "look at these servers; until they are back, fewer may fail"
        return Finding(level="warn", what=what, found=f"{size}; not current: {late}", mend=mend)
    return Finding(level="ok", what=what, found=size)


def judge_sync(sync: Sync, replicas: int) -> Finding:
    """Whether an acknowledged write survives a power cut."""
    if sync.always:
        return Finding(level="ok", what="fsync", found="before each acknowledgement")
    if sync.always is None:
        return Finding(
            level="warn",
            what="fsync",
            found=f"not known: {sync.why}",
            mend="name the server's monitoring address with --monitor-url http://host:8222",
        )
    if replicas >= 3:
        shown = f"not before each acknowledgement, but {replicas} replicas"
        return Finding(level="ok", what="fsync", found=shown)
    return Finding(
        level="warn",
        what="fsync",
        found="not before each acknowledgement, and one replica",
        mend="a power cut can lose the last two minutes: `sync_interval: always` or 3 replicas",
    )


def judge_health(sync: Sync) -> Finding | None:
    """What the server complains of: a stream it can't write to any more. None when of nothing."""
    if not sync.complaint:
        return None
    return Finding(
        level="fail",
        what="nats-server",
        found=f"it calls itself unwell: {sync.complaint}",
        mend="look at its disk, make room or replace it, then start the server anew: until then it "
        "stores nothing on that stream; what was acknowledged before is there",
    )


def judge_alive(engines: Sequence[EngineCard], workers: Sequence[WorkerCard]) -> list[Finding]:
    """Who is there to do the work."""
    found: list[Finding] = []
    names = ", ".join(f"{e.id} (partitions {list(e.partitions)})" for e in engines)
    mend = "" if engines else "nothing is decided: start `snorri engine` or `snorri dev`"
    level: Level = "ok" if engines else "warn"
    found.append(Finding(level=level, what="engines", found=names or "none", mend=mend))
    names = ", ".join(f"{w.id} ({len(w.targets)} targets)" for w in workers)
    mend = "" if workers else "commands wait: start `snorri jobs` or `snorri dev`"
    level = "ok" if workers else "warn"
    found.append(Finding(level=level, what="workers", found=names or "none", mend=mend))
    return found


def judge_commands(revisions: Iterable[Stored], workers: Sequence[WorkerCard]) -> Finding | None:
    """Whether commands at the end of the history wait for jobs that no worker has; None: all have
    one. Workers in other languages leave no card, so this is never more than a warning.
    """
    latest = {stored.subject: stored.data for stored in revisions}
    known = {target for worker in workers for target in worker.targets}
    waiting: Counter[str] = Counter()
    for document in latest.values():
        try:
            instance = decode(document)
        except (msgspec.DecodeError, IllegalTransition):
            continue  # judge_tail tells
        waiting.update(c.target for c in instance.commands.values() if c.target not in known)
    if not waiting:
        return None
    shown = ", ".join(f"{target} ({count})" for target, count in sorted(waiting.items()))
    mend = "start `snorri jobs` with the app that has them; workers of other makes are not seen"
    return Finding(
        level="warn", what="commands", found=f"no worker has the job of {shown}", mend=mend
    )


def judge_tail(revisions: Iterable[Stored], names: Names) -> Finding:
    """Whether the given revisions follow one another: versions without gaps, hashes that fit."""
    last: dict[str, tuple[Instance, str]] = {}
    faults: list[str] = []
    count = 0
    for stored in revisions:
        count += 1
        try:
            instance = decode(stored.data)
        except (msgspec.DecodeError, IllegalTransition) as error:
            faults.append(f"revision {stored.seq} can't be read ({error})")
            continue
        name = f"{instance.saga}/{instance.key}"
        if stored.subject != names.instance(instance.saga, instance.key):
            faults.append(f"revision {stored.seq} of {name} stands under {stored.subject}")
        before = last.get(stored.subject)
        if before is not None and instance.version != before[0].version + 1:
            faults.append(f"{name}: version {instance.version} follows {before[0].version}")
        elif before is not None and instance.prev != before[1]:
            faults.append(f"{name}: version {instance.version} does not continue the one before")
        last[stored.subject] = (instance, document_hash(stored.data))
    if faults:
        shown = "; ".join(faults[:5]) + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        mend = "history was lost or altered: stop the engines and restore a backup, or ask for help"
        return Finding(level="fail", what="history", found=shown, mend=mend)
    return Finding(
        level="ok", what="history", found=f"{count} revisions at the end follow one another"
    )


def judge_ends(faults: Sequence[str]) -> Finding:
    """Whether the streams and the positions in them end together; ``faults`` of store.audit."""
    if faults:
        shown = "; ".join(faults[:5]) + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        mend = (
            "the server lost its last writes: restore a backup, or publish those events again under"
            " their ids; then let it sync each write (sync_interval: always)"
        )
        return Finding(level="fail", what="ends of the streams", found=shown, mend=mend)
    return Finding(level="ok", what="ends of the streams", found="nothing is missing")


def judge_disk(path: Path) -> Finding | None:
    """The disk of a data directory, None when there is none here."""
    if not path.exists():
        return None
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    if share < DISK_FREE_MIN:
        mend = "make room: a full disk stops nats-server until it is restarted"
        return Finding(level="warn", what="disk", found=f"{share:.0%} free at {path}", mend=mend)
    return Finding(level="ok", what="disk", found=f"{share:.0%} free at {path}")


# --- gathering


async def tail_of(backend: Backend, names: Names, last_seq: int, count: int) -> list[Stored]:
    """The revisions among the last ``count`` messages of the log."""
    after = max(0, last_seq - count)
    return [stored async for stored in backend.log.history(names.instances(), after)]


async def alive(backend: Backend) -> tuple[list[EngineCard], list[WorkerCard]]:
    """The engines and workers that have shown a sign of life just now."""
    engines = [
        msgspec.json.decode(entry.data, type=EngineCard)
        for entry in await backend.meta.entries("engine.")
        if entry.data is not None
    ]
    workers = [
        msgspec.json.decode(entry.data, type=WorkerCard)
        for entry in await backend.meta.entries("worker.")
        if entry.data is not None
    ]
    return engines, workers


async def sync_of(monitor_url: str | None) -> Sync:
    """What the server's monitoring page says about fsync."""
    if monitor_url is None:
        return Sync(None, "the server's monitoring address is not known")
    return await asyncio.to_thread(_read_sync, monitor_url)


def monitor_url_of(settings: Settings) -> str | None:
    """The monitoring address of the embedded server that holds the data directory, if any."""
    data = Path(settings.data)
    holder = holder_of(data)
    if holder is not None and holder.ports:  # of a cluster; all its servers are set up alike
        data = data / "nodes" / "n1"
        holder = holder_of(data)
    if settings.nats_url is not None or holder is None or holder.server_pid is None:
        return None
    file = data / "nats" / f"nats-server_{holder.server_pid}.ports"
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])["monitoring"][0]
    except (OSError, msgspec.MsgspecError, LookupError):
        return None


class _Config(Struct, frozen=True):
    sync_always: bool = False


class _Page(Struct, frozen=True):
    config: _Config = _Config()


def _read_sync(monitor_url: str) -> Sync:
    if not monitor_url.startswith(("http://", "https://")):
        return Sync(None, f"{monitor_url} is no http address")
    root = monitor_url.rstrip("/")
    url = f"{root}/jsz?config=true"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - checked above
            page = msgspec.json.decode(answer.read(1_000_000), type=_Page)
    except (OSError, urllib.error.URLError, msgspec.MsgspecError, ValueError) as error:
        return Sync(None, f"{url} gives no answer that can be read ({error})")
    return Sync(page.config.sync_always, complaint=_complaint(f"{root}/healthz"))


def _complaint(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - checked where it comes from
            return ""
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace").strip()
    except OSError:
        return ""  # nobody says anything; what else is asked tells that
