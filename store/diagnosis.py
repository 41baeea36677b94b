"""What an instance waits for, in words: its document, a few facts and the time become sentences.

Pure. Each wait is one sentence that a person with a pager can act on, with the next step where
there is one. Facts that are not known (no projections at hand, too little history) are left out of
the sentence, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

from sagas.instance import Instance, OpenCommand, Timer
from store.diagnosis_facts import SAMPLE_MIN, Facts, JobFacts, Letter, Pace, Tries
from store.wording import clock, command_line, count, either, first_line, span

WaitKind: TypeAlias = Literal[
    "parked", "paused", "turn", "command", "timer", "child", "message", "letter", "engine", "pace"
]


class Wait(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing an instance waits for: ``subject`` names it, ``words`` is the sentence.

    ``expected`` is when it should end at the latest (a timer's moment; else the 99th percentile of
    the same before), ``overdue`` how many times that span has passed, 0 while it is in time or
    nothing is known.
    """

    kind: WaitKind
    subject: str
    words: str
    since: datetime | None = None
    expected: datetime | None = None
    overdue: float = 0.0


def waits(instance: Instance, facts: Facts, now: datetime) -> list[Wait]:
    """What the instance waits for at ``now`` (UTC), what needs a person first; [] when nothing.

    A finished instance waits for nothing, but children that it left running are told.
    """
    found = [_lost(letter) for letter in facts.letters]
    if instance.finished:
        return found + _children(instance, facts, now)
    if engine := _engine(instance, facts):
        found.insert(0, engine)
    if instance.status == "parked":
        found.insert(0, _parked(instance, facts, now))
    elif instance.status == "paused":
        found.insert(0, _paused(instance, facts, now))
    if instance.gate is not None and not instance.gate.held:
        found.append(_turn(instance, facts, now))
    stopped = instance.parked.command if instance.parked else ""
    open_ = [one for one in instance.commands.items() if one[0] != stopped]
    found += [_command(id, command, facts, now) for id, command in open_]
    found += _children(instance, facts, now)
    found += [_timer(id, timer, now) for id, timer in _by_time(instance.timers)]
    if backlog := _backlog(instance):
        found.append(backlog)
    if instance.status in ("running", "compensating"):
        if not any(wait.kind in _OPEN for wait in found):
            found.append(_message(instance, facts))
        if late := _late(instance, facts, now):
            found.append(late)
    return found


_OPEN = ("turn", "command", "timer", "child", "message")


def headline(found: list[Wait]) -> str:
    """The wait that a list shows: the first that is not only about being late."""
    return next((wait.words for wait in found if wait.kind != "pace"), "")


# --- stopped by a person or a fault


def _parked(instance: Instance, facts: Facts, now: datetime) -> Wait:
    since = facts.since or instance.at
    error, parked = instance.error, instance.parked
    what = f"{error.type}: {first_line(error.message)}" if error else "no reason is on record"
    cause = parked.cause if parked else None
    on = f" on {cause.type or cause.kind}" if cause else ""
    tries = f" (attempt {parked.attempts})" if parked and parked.attempts > 1 else ""
    who = (instance.saga, instance.key)
    return Wait(
        kind="parked",
        subject=error.type if error else "",
        since=since,
        words=f"parked since {clock(since)} ({span(now - since)}){on}{tries}: {what}; mend the "
        f"cause, then {command_line('snorri', 'retry', *who)}, or give it up with "
        f"{command_line('snorri', 'skip', *who)}",
    )


def _paused(instance: Instance, facts: Facts, now: datetime) -> Wait:
    since, by, why = facts.since or instance.at, facts.paused_by, facts.paused_why
    if instance.cause.kind == "operator" and instance.cause.type == "pause":
        since, by, why = instance.at, instance.cause.by, instance.cause.reason
    who = f" by {by}" if by else ""
    reason = f": {first_line(why)}" if why else ""
    resume = command_line("snorri", "resume", instance.saga, instance.key)
    return Wait(
        kind="paused",
        subject=by,
        since=since,
        words=f"paused{who} since {clock(since)} ({span(now - since)}){reason}; {resume} lets it "
        "go on",
    )


def _engine(instance: Instance, facts: Facts) -> Wait | None:
    if facts.engines == 0:
        words = "no engine is running, so nothing moves; start one with `snorri engine`"
        return Wait(kind="engine", subject="", words=words)
    if facts.able == 0:
        return Wait(
            kind="engine",
            subject=instance.saga,
            words=f"no running engine has code for {instance.saga}; start one with the app that "
            "defines it: `snorri engine --app …`",
        )
    return None


def _lost(letter: Letter) -> Wait:
    redrive = command_line("snorri", "dead-letters", "redrive", letter.id)
    return Wait(
        kind="letter",
        subject=letter.id,
        since=letter.at,
        words=f"the message {letter.type} could not reach it: {first_line(letter.reason)}; "
        f"{redrive} sends it again",
    )


# --- what it sent and set


def _turn(instance: Instance, facts: Facts, now: datetime) -> Wait:
    gate = instance.gate.key if instance.gate else ""
    own = f"saga/{instance.saga}/"
    key = gate.removeprefix(own) if gate.startswith(own) else ""
    return Wait(
        kind="turn",
        subject=gate,
        since=instance.started,
        words=f"has waited {span(now - instance.started)} for its turn{_ahead(facts, '')}"
        f"{_under(key)}",
    )


def _ahead(facts: Facts, id: str) -> str:
    ahead = facts.ahead.get(id)
    if ahead is None:
        return ""
    return ": the next to go in" if ahead == 0 else f": {ahead:,} ahead"


def _under(key: str) -> str:
    return f" under concurrency key {key}" if key else " under the limit of its saga"


def _command(id: str, command: OpenCommand, facts: Facts, now: datetime) -> Wait:
    job = facts.jobs.get(command.target)
    waited = now - command.at
    name = f"command {command.target}"
    if command.undo:
        name += f" (it undoes {command.undo})"
    if command.gated:
        words = f"{name} waits for its turn{_ahead(facts, id)}{_under(command.concurrency_key)}"
        return Wait(kind="command", subject=id, since=command.at, words=f"{words} ({span(waited)})")
    late = 0.0
    told = [_stage(facts.tries.get(id), job, waited, inline=command.inline)]
    if command.timeout_s is not None and waited.total_seconds() > command.timeout_s:
        over = span(waited.total_seconds() - command.timeout_s)
        told.append(f"its deadline passed {over} ago")
    if job is not None:
        told += [] if command.inline else _service(command.target, job, now)
        late, often = _lateness(job.pace, waited.total_seconds(), "are answered")
        told += often
    return Wait(
        kind="command",
        subject=id,
        since=command.at,
        expected=_expected(command.at, job.pace if job else None),
        overdue=late,
        words=f"{name} {', '.join(told)}",
    )


def _stage(
    tries: Tries | None, job: JobFacts | None, waited: timedelta, *, inline: bool = False
) -> str:
    """How far a command has come: queued, with a worker or the engine, or between two attempts."""
    for_long = span(waited)
    if tries is not None:
        error = first_line(tries.error) or "the worker stopped"
        return f"sent {for_long} ago, attempt {tries.number + 1} after {error}"
    if inline:
        return f"begun {for_long} ago, the engine itself carries it out"
    queue = job.queue if job is not None else None
    if queue is not None and queue.waiting == 0 and queue.in_flight and job and job.workers:
        return f"sent {for_long} ago, a worker has it"
    return f"queued {for_long}"


def _service(target: str, job: JobFacts, now: datetime) -> list[str]:
    """Who is there to do it, when that is the trouble or says something."""
    if job.workers == 0:
        start = command_line("snorri", "jobs", target)
        if job.seen is None:
            return [f"no worker has ever served it: start one with {start}"]
        if not job.enabled:
            return ["its job is disabled: enable it in the code and start a worker"]
        return [f"no worker has asked for it for {span(now - job.seen)}: start one with {start}"]
    if job.queue is not None and job.queue.waiting > 1:
        return [f"{job.queue.waiting:,} commands wait for {count(job.workers, 'worker')}"]
    return []


def _by_time(timers: Mapping[str, Timer]) -> list[tuple[str, Timer]]:
    return sorted(timers.items(), key=lambda item: item[1].at)


def _timer(id: str, timer: Timer, now: datetime) -> Wait:
    left = timer.at - now
    if left.total_seconds() >= 0:
        words = f"timer {id} fires in {span(left)} ({clock(timer.at)}) and delivers {timer.type}"
        return Wait(kind="timer", subject=id, expected=timer.at, words=words)
    return Wait(
        kind="timer",
        subject=id,
        expected=timer.at,
        overdue=1.0,
        words=f"timer {id} was due {span(-left)} ago and {timer.type} has not come yet; "
        "is an engine running? See `snorri doctor`",
    )


def _children(instance: Instance, facts: Facts, now: datetime) -> list[Wait]:
    running = [child for child, status in instance.children.items() if status == "running"]
    return [_child(instance, child, facts, now) for child in running]


def _child(instance: Instance, child: str, facts: Facts, now: datetime) -> Wait:
    known, lost = facts.children.get(child), facts.lost_children.get(child)
    saga, _, key = child.partition("/")
    show = command_line("snorri", "show", saga, key)
    since = known.since if known else None
    status = known.status if known else "running"
    words = f"child {child} is {status}"
    if lost is not None and not (known and known.status):
        redrive = command_line("snorri", "dead-letters", "redrive", lost.id)
        discard = command_line("snorri", "dead-letters", "discard", lost.id)
        words = f"child {child} was never started: {first_line(lost.reason)}; then {redrive}, or "
        words += f"{discard} counts it as failed"
    elif not status:
        words = f"child {child} has not begun"
    elif since is not None:
        words = f"child {child} has been {status} for {span(now - since)}"
    if instance.finished:
        cancel = command_line("snorri", "cancel", saga, key)
        words += f" although its parent is {instance.status}: an end does not reach children; "
        words += f"{cancel} ends it"
    elif status in ("parked", "paused"):
        words += f"; {show} tells why"
    return Wait(kind="child", subject=child, since=since, words=words)


# --- messages


def _backlog(instance: Instance) -> Wait | None:
    if not instance.backlog:
        return None
    waiting = count(len(instance.backlog), "message")
    since = instance.backlog[0].at
    verb = "waits" if len(instance.backlog) == 1 else "wait"
    until = {"parked": "until it is retried or skipped", "paused": "until it is resumed"}
    when = until.get(instance.status, "and will be taken in order")
    if instance.gate is not None and not instance.gate.held:
        when = "until it has its turn"
    return Wait(
        kind="message",
        subject=instance.backlog[0].type,
        since=since,
        words=f"{waiting} {verb} in its backlog {when}",
    )


def _message(instance: Instance, facts: Facts) -> Wait:
    enough = facts.pace is not None and facts.pace.sample >= SAMPLE_MIN
    types = facts.pace.followers if facts.pace is not None and enough else ()
    types = types or facts.expects
    what = either(types) if types else "a message"
    return Wait(
        kind="message",
        subject=types[0] if len(types) == 1 else "",
        since=instance.at,
        expected=_expected(instance.at, facts.pace),
        words=f"nothing is open: it waits for {what}",
    )


def _late(instance: Instance, facts: Facts, now: datetime) -> Wait | None:
    waited_s = (now - instance.at).total_seconds()
    late, often = _lateness(facts.pace, waited_s, "went on")
    if not often:
        return None
    cause = instance.cause.type or instance.cause.kind
    return Wait(
        kind="pace",
        subject=cause,
        since=instance.at,
        expected=_expected(instance.at, facts.pace),
        overdue=late,
        words=f"it has stood {span(waited_s)} since {cause}, {often[0]}",
    )


# --- lateness, measured against the same saga's own history


def _expected(since: datetime, pace: Pace | None) -> datetime | None:
    if pace is None or pace.sample < SAMPLE_MIN:
        return None
    return since + timedelta(seconds=pace.p99_s)


def _lateness(pace: Pace | None, waited_s: float, verb: str) -> tuple[float, list[str]]:
    """How many times the 99th percentile has passed, and that in words; silent below the 95th."""
    if pace is None or pace.sample < SAMPLE_MIN or waited_s <= pace.p95_s:
        return 0.0, []
    share, limit_s = (99, pace.p99_s) if waited_s > pace.p99_s else (95, pace.p95_s)
    words = f"{share} of 100 {verb} within {span(limit_s)} ({pace.sample:,} seen)"
    late = waited_s / max(pace.p99_s, 0.001)
    return round(late, 1) if late >= 1 else 0.0, [words]
