"""The streams of one installation as data: make them when they are absent, refuse when they differ.

Owns the configuration of the two streams and of the meta bucket. Promises that an existing stream
is never changed but for its room for consumers, which is only ever raised: any other difference is
a TopologyDrift that names each field with what is wanted and what is there. The number of
partitions is set when the streams are first made, since it decides where stored messages are
looked for; it is read back from the stream, and only ``repartition`` changes it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, cast

from store.broker_version import BrokerTooOld, check_version
from store.jetstream import api, codes
from store.jetstream.link import Link
from store.port import StoreError, TopologyDrift
from store.subjects import Names

log = logging.getLogger(__name__)

PARTITIONS_MAX = 64
REVISIONS_MAX = 2147483647  # "no limit", in a form that KV clients of all languages accept
DUPLICATE_WINDOW_S = 120
META_MARKER_TTL_S = 60
CONSUMERS_MAX = 20_000  # of the log, one for each job; the server allows 1,000 when nobody says

RESTORING = "snorri-restoring"  # in the metadata of a stream that a backup is being put into

CHANGING = "snorri-partitions"  # in that of the log while the number of partitions is changed

_PARTITION = re.compile(r"\{\{\s*partition\(\s*(\d+)\s*,")

Config = dict[str, Any]  # a JetStream stream configuration, JSON


def check_server(link: Link) -> None:
    """Raise StoreError when the connected server is too old or runs without JetStream."""
    info = link.server_info
    try:
        warning = check_version(str(info.get("version", "")))
    except (BrokerTooOld, ValueError) as problem:
        raise StoreError(str(problem)) from problem
    if warning is not None:
        log.warning("%s", warning)
    if not info.get("jetstream", False):
        raise StoreError(
            "the NATS server runs without JetStream; start it with `jetstream {}` in its "
            "configuration or with -js"
        )


def _stream(name: str, subjects: list[str], replicas: int) -> Config:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "max_msgs_per_subject": -1,
        "duplicate_window": DUPLICATE_WINDOW_S * 1_000_000_000,
        "allow_direct": False,
        "allow_rollup_hdrs": False,
        "deny_delete": False,
        "deny_purge": False,
    }


def _partitioned(source: str, target: str, partitions: int) -> dict[str, str]:
    slots = f"{{{{partition({partitions},2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"
    return {"src": f"{source}.*.*", "dest": f"{target}.{slots}"}


def events_config(names: Names, partitions: int, replicas: int) -> Config:
    """The door: anyone may publish here, so nothing in it can be deleted, purged or rolled up."""
    space = names.namespace
    return _stream(names.events_stream, [f"{space}.events.*", f"{space}.events.*.*"], replicas) | {
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
        "subject_transform": _partitioned(f"{space}.events", f"{space}.in", partitions),
    }


def log_config(names: Names, partitions: int, replicas: int) -> Config:
    """The log: a KV bucket with further subjects, batches and schedules; only we write to it."""
    space = names.namespace
    subjects = [f"$KV.{names.bucket}.>"]
    subjects += [f"{space}.{room}.>" for room in ("signals", "commands", "timers")]
    return _stream(names.log_stream, subjects, replicas) | {
        "allow_atomic": True,
        "allow_direct": True,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,  # schedules need it
        "deny_delete": True,
        "max_consumers": CONSUMERS_MAX,
        "max_msgs_per_subject": REVISIONS_MAX,
        "subject_transform": _partitioned(f"{space}.signals", f"{space}.sig", partitions),
    }


def meta_config(names: Names, replicas: int) -> Config:
    """The meta bucket: last values only, with TTLs, and markers that tell watchers of an expiry.

    One value for each subject also keeps the server from raising short TTLs to that of the markers.
    """
    return _stream(names.meta_stream, [f"$KV.{names.meta_bucket}.>"], replicas) | {
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "max_msgs_per_subject": 1,
        "subject_delete_marker_ttl": META_MARKER_TTL_S * 1_000_000_000,
    }


def differences(want: Mapping[str, Any], have: Mapping[str, Any]) -> list[str]:
    """``field: want …, have …`` for each field of ``want`` that ``have`` does not fulfil.

    An absent field counts as the value that the server leaves out (false, 0, empty).
    """
    lines: list[str] = []
    for field, wanted in want.items():
        found = have.get(field)
        if isinstance(wanted, dict):
            nested = cast("Config", found) if isinstance(found, dict) else {}
            lines += [f"{field}.{line}" for line in differences(cast("Config", wanted), nested)]
        elif wanted != found and (wanted or found):
            lines.append(f"{field}: want {wanted!r}, have {found!r}")
    return lines


def fixed(want: Mapping[str, Any]) -> Config:
    """What must be so for everybody: how many copies and consumers there may be can differ."""
    free = ("num_replicas", "max_consumers")
    return {field: value for field, value in want.items() if field not in free}


def partitions_of(config: Mapping[str, Any]) -> int | None:
    """The number of partitions in a stream's subject transform, or None when it has none."""
    transform = cast("Config", config.get("subject_transform") or {})
    match = _PARTITION.search(str(transform.get("dest", "")))
    return int(match.group(1)) if match else None


async def stream_config(link: Link, name: str) -> Config | None:
    """The configuration of a stream as the server holds it; None when there is no such stream."""
    try:
        answer = await api.ask(link, f"STREAM.INFO.{name}")
    except api.ApiError as failure:
        if failure.error.err_code == codes.STREAM_NOT_FOUND:
            return None
        raise
    return answer["config"]


def is_restoring(config: Mapping[str, Any]) -> bool:
    """Whether a stream is the half of a restore, which nobody may use."""
    return RESTORING in cast("Config", config.get("metadata") or {})


def changing(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """From how many partitions to how many the log is being changed; None when it is not."""
    mark = str(cast("Config", config.get("metadata") or {}).get(CHANGING, ""))
    before, _, after = mark.partition(">")
    return (int(before), int(after)) if mark else None


def closed_subjects(names: Names) -> list[str]:
    """What the events stream listens to while nobody may publish."""
    return [f"{names.namespace}.closed"]


async def discover(link: Link, names: Names) -> int | None:
    """The number of partitions of the installation, or None when its streams were never made."""
    config = await stream_config(link, names.log_stream)
    if config is None:
        return None
    if is_restoring(config):
        raise StoreError(
            f"a backup is being restored into {names.log_stream}, or that was cut off; wait for its"
            " end, or say the same `snorri restore` again"
        )
    if change := changing(config):
        raise StoreError(
            f"the number of partitions is being changed from {change[0]} to {change[1]}, or that "
            f"was cut off; wait for its end, or say `snorri partitions --change {change[1]}` again"
        )
    partitions = partitions_of(config)
    if partitions is None:
        raise TopologyDrift(
            f"the stream {names.log_stream} exists but was not made by Snorri (no partitions in "
            "its subject transform); choose another bucket with SNORRI_BUCKET"
        )
    return partitions


async def ensure(
    link: Link, names: Names, partitions: int, replicas: int, *, make: bool = True
) -> int:
    """Make what is missing, check what is there; the number of partitions that holds.

    With ``make`` another number of partitions than the existing one is refused; without it the
    existing number and whatever number of replicas is accepted, and nothing is made. Raises
    TopologyDrift, StoreError, Unreachable.
    """
    check_server(link)
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise StoreError(f"{partitions} partitions; choose 1 to {PARTITIONS_MAX}")
    existing = await discover(link, names)
    if existing is None and not make:
        raise _no_bucket(names)
    if existing is not None and make and existing != partitions:
        raise TopologyDrift(
            f"the bucket {names.bucket} has {existing} partitions and {partitions} are asked for; "
            f"set SNORRI_PARTITIONS={existing}, or change it: snorri partitions --change"
        )
    count = existing or partitions
    for want in (
        events_config(names, count, replicas),
        log_config(names, count, replicas),
        meta_config(names, replicas),
    ):
        await _ensure_stream(link, want, make=make)
    return count


async def check_door(link: Link, names: Names) -> int:
    """Check the events stream alone; the number of partitions. Raises what ``ensure`` does."""
    check_server(link)
    config = await stream_config(link, names.events_stream)
    if config is None:
        raise _no_bucket(names)
    count = partitions_of(config) or 1  # another one's stream differs in its transform
    await _ensure_stream(link, events_config(names, count, 1), make=False)
    return count


async def replicas_of(link: Link, names: Names) -> int:
    """How many copies of the log the server keeps; raises Unreachable."""
    config = await stream_config(link, names.log_stream)
    return int(config["num_replicas"]) if config else 0


def _no_bucket(names: Names) -> StoreError:
    return StoreError(
        f"there is no bucket {names.bucket} on this server; start an engine first "
        "(`snorri engine` or `snorri dev`), or set SNORRI_BUCKET"
    )


async def _ensure_stream(link: Link, want: Config, *, make: bool) -> None:
    name = want["name"]
    have = await stream_config(link, name)
    if have is None and make:
        try:
            have = (await api.ask(link, f"STREAM.CREATE.{name}", want))["config"]
        except api.ApiError as failure:
            have = await stream_config(link, name)  # another process may have made it just now
            if have is None:
                raise StoreError(
                    f"the stream {name} can't be made: {failure}; check the server's limits"
                ) from failure
    if have is None:
        raise StoreError(f"the stream {name} is missing; start an engine to make it")
    replicas = {"num_replicas": want["num_replicas"]} if make else {}
    lines = differences(fixed(want) | replicas, have)
    if lines:
        raise TopologyDrift(
            f"the stream {name} differs from what this version needs:\n  "
            + "\n  ".join(lines)
            + "\nEdit it (`nats stream edit`), set SNORRI_REPLICAS, or use another SNORRI_BUCKET"
        )
    if make:
        await _give_room(link, want, have)


async def _give_room(link: Link, want: Config, have: Config) -> None:
    """Raise the room of a stream for consumers where it is smaller than it should be."""
    wanted = want.get("max_consumers", 0)
    if not wanted or have.get("max_consumers", 0) >= wanted:
        return
    try:
        await api.ask(link, f"STREAM.UPDATE.{want['name']}", have | {"max_consumers": wanted})
    except StoreError as failure:
        log.warning(
            "the stream %s keeps its limit of consumers, so about 1,000 jobs can have workers (%s);"
            " let somebody who may change it set its max_consumers to %d",
            want["name"],
            failure,
            wanted,
        )
