"""What must hold after any run, whatever went wrong in it; each check complains in words.

``intake``, ``fences``, ``versions`` and what they find in the log are here; what jobs did and what
sagas came to is judged in ``outcomes``, runs of programs in ``judge_programs``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from jobs.ticks import CRON
from sagas.draft import DRAIN, GRANTED
from sagas.effects import Publish, Schedule, Send, Signal, Spawn
from sagas.errors import IllegalTransition
from sagas.instance import FINISHED, Instance, document_hash, evolve
from sagas.messages import Cause
from sagas.names import is_call
from sagas.requeue import REQUEUE
from store import codec
from store.codec import moment
from store.port import Stored
from tests.simulation.evidence import Evidence, Moved, Revision, Taken, stream_of
from tests.simulation.judge_programs import PROGRAMS
from tests.simulation.outcomes import OUTCOMES
from tests.simulation.plan import Plan

Check = Callable[[Evidence], Iterator[str]]
COMPLAINTS_MAX = 5  # of one check; the first ones tell enough


def verdicts(evidence: Evidence, plan: Plan) -> list[str]:
    """All complaints about a run, each with the name of its check."""
    found: list[str] = []
    for check in CHECKS:
        for complaint in check(evidence):
            found.append(f"{check.__name__}: {complaint}")
            if len(found) >= COMPLAINTS_MAX:
                return found
    for outcome in (*OUTCOMES, *PROGRAMS):
        found += [f"{outcome.__name__}: {text}" for text in outcome(evidence, plan)]
    return found[:COMPLAINTS_MAX]


# --- instances


def versions(evidence: Evidence) -> Iterator[str]:
    """Versions are 1..n without gaps, each continues the one before by a legal change of status."""
    for name, history in evidence.histories.items():
        before: Instance | None = None
        prev = ""
        for revision in history:
            try:
                before = evolve(before, prev, revision.instance)
            except IllegalTransition as error:
                yield f"{name}: {error}"
                break
            prev = document_hash(revision.data)


def once(evidence: Evidence) -> Iterator[str]:
    """A message changes an instance once: it may wait first, and is then worked on once; and of all
    messages under one id of a publisher one has an effect.
    """
    for name, history in evidence.histories.items():
        queued: Counter[tuple[str, object]] = Counter()
        worked: Counter[tuple[str, object]] = Counter()
        ids: dict[tuple[str, str], int] = {}
        before: Instance | None = None
        for revision in history:
            after, cause = revision.instance, revision.instance.cause
            if cause.type == REQUEUE:  # the word of each engine that takes a partition over
                before = after
                continue
            place = (stream_of(cause), cause.seq or cause.answers or cause.type)
            waits = len(after.backlog) > (len(before.backlog) if before else 0)
            (queued if waits else worked)[place] += 1
            if cause.id and cause.from_outside and cause.seq != ids.get((cause.kind, cause.id)):
                if (cause.kind, cause.id) in ids:
                    yield f"{name}: the id {cause.id!r} has changed it twice, v{after.version}"
                ids[cause.kind, cause.id] = cause.seq
            before = after
        for kind, counts in (("queued", queued), ("worked on", worked)):
            for place, count in counts.items():
                if count > 1:
                    yield f"{name}: message {place} was {kind} {count} times"


def after_the_end(evidence: Evidence) -> Iterator[str]:
    """A finished instance does nothing more, unless an operator asks; what it had sent goes on."""
    for name, history in evidence.histories.items():
        for before, after in pairwise(history):
            if before.instance.status not in FINISHED or after.instance.cause.kind == "operator":
                continue
            for effect in after.instance.effects:
                open = before.instance.commands
                late = isinstance(effect, Send) and (
                    open[effect.id].gated or open[effect.id].inline
                )
                if not late and not isinstance(effect, Signal):
                    yield f"{name}: {type(effect).__name__} after the end"


# --- what transitions send


def commands(evidence: Evidence) -> Iterator[str]:
    """Each command stands in the log once for the transition that sent it, in the same commit; what
    steps send themselves is judged elsewhere.
    """
    wanted = Counter[tuple[int, str]]()
    for revision in evidence.revisions:
        for effect in revision.instance.effects:
            if isinstance(effect, Send) and not (effect.gated or effect.inline):
                wanted[revision.commit, effect.id] += 1
    ids = ((index, one.headers[codec.COMMAND_ID]) for index, one in evidence.commands)
    found = Counter((index, id) for index, id in ids if not is_call(id))
    for (index, id), count in (wanted - found).items():
        yield f"command {id} of commit {index} is missing {count} times"
    for (index, id), count in (found - wanted).items():
        yield f"command {id} stands in commit {index} {count} times without a transition"


def signals(evidence: Evidence) -> Iterator[str]:
    """The same for what instances tell each other and themselves, children and public events."""
    wanted = Counter[tuple[int, str]]()
    for revision in evidence.revisions:
        for effect in revision.instance.effects:
            if isinstance(effect, Signal):
                wanted[revision.commit, effect.cause.id] += 1
            elif isinstance(effect, Spawn | Publish):
                wanted[revision.commit, effect.id] += 1
    found = Counter(
        (one.commit, one.envelope.cause.id)
        for one in evidence.signals
        if not one.fired and one.envelope.cause.kind != "operator"
    )
    for (index, id), count in (wanted - found).items():
        yield f"signal {id} of commit {index} is missing {count} times"
    for (index, id), count in (found - wanted).items():
        yield f"signal {id} stands in commit {index} {count} times without a transition"


def timers(evidence: Evidence) -> Iterator[str]:
    """A timer is armed with the transition that sets it, fires once and not early, and is taken
    only while it is set; none is left behind by an instance that is over.
    """
    fired = Counter(
        (str(one.envelope.to), one.envelope.cause.id)
        for one in evidence.signals
        if one.fired and one.envelope.cause.id != CRON
    )
    for (who, id), count in fired.items():
        if count > 1:
            yield f"the timer {id} of {who} has fired {count} times"
    for name, history in evidence.histories.items():
        before: Instance | None = None
        for revision in history:
            after = revision.instance
            if text := _timer_taken(before, after):
                yield f"{name}: {text}"
            before = after
        yield from _armed_at_the_end(evidence, *name, history[-1].instance)
    yield from _armed_with_transitions(evidence)


def _timer_taken(before: Instance | None, after: Instance) -> str:
    cause = after.cause
    if cause.kind != "timer" or before is None or cause in after.backlog:
        return ""
    timer = before.timers.get(cause.id.rpartition("@")[0])
    if timer is None or timer.version != cause.epoch:
        return f"took the timer {cause.id}, which was not set (v{after.version})"
    return f"the timer {cause.id} was early (v{after.version})" if after.at < timer.at else ""


def _armed_at_the_end(evidence: Evidence, saga: str, key: str, last: Instance) -> Iterator[str]:
    prefix = evidence.names.timer(saga, key, "x")[:-1]
    there = {one for one in evidence.broker.log.subjects() if one.startswith(prefix)}
    wanted = {evidence.names.timer(saga, key, id) for id in last.timers}
    if there - wanted:
        yield f"{saga}/{key} has left timers behind: {sorted(there - wanted)}"


def _armed_with_transitions(evidence: Evidence) -> Iterator[str]:
    wanted = Counter[tuple[int, str]]()
    for revision in evidence.revisions:
        one = revision.instance
        for id, timer in one.timers.items():
            if timer.version == one.version:
                wanted[revision.commit, evidence.names.timer(one.saga, one.key, id)] += 1
    found = Counter((index, one.subject) for index, one in evidence.armed)
    for index, subject in wanted.keys() - found.keys():
        yield f"the timer {subject} of commit {index} is not armed"
    for index, subject in found.keys() - wanted.keys():
        if not _replaced_in_its_batch(evidence, index, subject):
            yield f"the timer {subject} is armed in commit {index} without a transition"


def _replaced_in_its_batch(evidence: Evidence, index: int, subject: str) -> bool:
    """Whether a transition of this commit set the timer although it does not stand at its end."""
    return any(
        isinstance(effect, Schedule)
        and evidence.names.timer(one.instance.saga, one.instance.key, effect.id) == subject
        for one in evidence.revisions
        if one.commit == index
        for effect in one.instance.effects
    )


# --- messages and positions


def fences(evidence: Evidence) -> Iterator[str]:
    """Positions only move forward."""
    for number, moves in evidence.moved.items():
        events = signals = 0
        for moved in moves:
            position = moved.position
            if position.events < events or position.signals < signals:
                yield (
                    f"partition {number} went back from {events}/{signals} to"
                    f" {position.events}/{position.signals} in commit {moved.commit}"
                )
            events, signals = position.events, position.signals


def intake(evidence: Evidence) -> Iterator[str]:
    """A position moves past a message in the commit that deals with it, for each instance it is for
    exactly once: as a transition, a note or a dead letter.
    """
    for number, moves in evidence.moved.items():
        events = signals = 0
        for moved in moves:
            position = moved.position
            for stored in _between(evidence, "events", number, events, position.events):
                yield from _dealt_with(evidence, moved, "events", stored)
            for stored in _between(evidence, "log", number, signals, position.signals):
                yield from _dealt_with(evidence, moved, "log", stored)
            events, signals = position.events, position.signals


def _between(
    evidence: Evidence, stream: str, number: int, after: int, upto: int
) -> Iterator[Stored]:
    if stream == "events":
        source, filters = evidence.broker.events, evidence.names.event_filters(number)
    else:
        source, filters = evidence.broker.log, evidence.names.signal_filters(number)
    for stored in source.since(after, filters):
        if stored.seq > upto:
            return
        yield stored


def _dealt_with(evidence: Evidence, moved: Moved, stream: Any, stored: Stored) -> Iterator[str]:
    nobody: Any = SimpleNamespace(number=moved.number)
    read = evidence.reader.read(nobody, stream, stored)
    taken = Counter(evidence.taken[moved.commit])
    what = f"message {stored.seq} of {stream}, which commit {moved.commit} moves past,"
    if read.relay is not None and read.relay.cause.id not in evidence.event_ids:
        yield f"{what} is an event that was never published"
    words = {(one.definition.id, one.key) for one in read.arrivals if _is_word(one.cause)}
    wanted = Counter((one.definition.id, one.key) for one in read.arrivals)
    wanted.update((one.saga, one.key) for one in (*read.letters, *read.notes))
    for name, times in wanted.items():
        count = taken[Taken(stream, stored.seq, *name)]
        if count == 0 and name in words and name in evidence.written[moved.commit]:
            continue
        if count != times:
            yield f"{what} is dealt with {count} times for {'/'.join(name)}, not {times}"


def _is_word(cause: Cause) -> bool:
    """A word to go on: what is on record then is the message that had waited."""
    return cause.kind == "signal" and cause.type in (DRAIN, GRANTED)


def times(evidence: Evidence) -> Iterator[str]:
    """Nothing is decided before it was stored."""
    stored_at = {("events", one.seq): one.at_ns for _, one in evidence.events}
    stored_at |= {("log", one.stored.seq): one.stored.at_ns for one in evidence.signals}
    for revision in evidence.revisions:
        yield from _too_early(revision, stored_at)


def _too_early(revision: Revision, stored_at: dict[tuple[str, int], int]) -> Iterator[str]:
    one = revision.instance
    if one.cause.seq == 0:  # the answer of a step that the engine carried out itself
        return
    at_ns = stored_at.get((stream_of(one.cause), one.cause.seq))
    name = f"{one.saga}/{one.key} v{one.version}"
    if at_ns is None:
        yield f"{name} was caused by message {one.cause.seq}, which was never stored"
    elif one.at < moment(at_ns):
        yield f"{name} was decided before its message was stored"


CHECKS: tuple[Check, ...] = (
    *(versions, once, after_the_end, commands, signals, timers, fences, intake, times),
)
