"""The doctor's look at the parts of an installation: queues, leases, the code of its engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from sagas.errors import IllegalTransition
from sagas.instance import FINISHED, decode
from server.doctor import Finding
from store.cards import EngineCard
from store.jetstream.inspection import ServerFacts
from store.port import Stored

OWN = "Snorri-"  # sagas that every engine has without a word


def judge_queues(facts: ServerFacts) -> Finding:
    """The consumers by which workers share the commands of each job."""
    wrong = [f"{queue.name}: {'; '.join(queue.wrong)}" for queue in facts.queues if queue.wrong]
    if wrong:
        mend = (
            "somebody changed them: stop the workers of that job, `nats consumer rm`, start them "
            "again; commands that were done are known and change nothing"
        )
        return Finding(level="fail", what="queues", found="; ".join(wrong), mend=mend)
    return Finding(level="ok", what="queues", found=f"{len(facts.queues)}, as workers make them")


def judge_leases(held: Iterable[str], partitions: int, engines: Sequence[EngineCard]) -> Finding:
    """Whether each partition has an engine; ``held`` are the numbers of those that have one."""
    missing = sorted(set(map(str, range(partitions))) - set(held), key=int)
    if missing and engines:
        mend = "leases move within 10 s; when it stays, see the log of the engines and restart one"
        shown = f"no engine works on {', '.join(missing)}"
        return Finding(level="warn", what="leases", found=shown, mend=mend)
    shown = f"{partitions - len(missing)} of {partitions} partitions have an engine"
    return Finding(level="ok", what="leases", found=shown)


def judge_code(engines: Sequence[EngineCard]) -> Finding:
    """Whether the engines have the same sagas in the same versions."""
    known = sorted({saga for engine in engines for saga in engine.sagas})
    unlike: list[str] = []
    for saga in known:
        has = {e.id: e.versions.get(saga, 1) if saga in e.sagas else None for e in engines}
        if len(set(has.values())) > 1:
            told = ", ".join(f"{id} {_version(version)}" for id, version in sorted(has.items()))
            unlike.append(f"{saga} ({told})")
    if unlike:
        mend = "fine while a deployment rolls; otherwise start all engines with the same --app"
        shown = f"engines differ in {'; '.join(unlike)}"
        return Finding(level="warn", what="code of engines", found=shown, mend=mend)
    shown = f"{len(known)} sagas, the same in all engines"
    return Finding(level="ok", what="code of engines", found=shown)


def judge_orphans(revisions: Iterable[Stored], engines: Sequence[EngineCard]) -> Finding | None:
    """Instances under way, among the last ones written, whose saga no engine has; None: none."""
    if not engines:
        return None  # the finding on engines tells
    has = {saga for engine in engines for saga in engine.sagas}
    latest = {stored.subject: stored.data for stored in revisions}
    lost: Counter[str] = Counter()
    for document in latest.values():
        try:
            instance = decode(document)
        except (msgspec.DecodeError, IllegalTransition):
            continue  # the finding on history tells
        known = instance.saga in has or instance.saga.startswith(OWN)
        if not known and instance.status not in FINISHED:
            lost[instance.saga] += 1
    if not lost:
        return None
    shown = ", ".join(f"{saga} ({count})" for saga, count in sorted(lost.items()))
    mend = "their messages become dead letters: start an engine with the app that has them"
    return Finding(level="warn", what="sagas", found=f"no engine has {shown}", mend=mend)


def _version(version: int | None) -> str:
    return "does not have it" if version is None else f"has version {version}"
