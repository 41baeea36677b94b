"""The spans of an order, made of what engines and workers tell: names, ids, parents, times. Pure.

One order is one trace. Every span id but that of a publish over HTTP is derived from what it stands
for, so each process can name the spans of the others without having seen them:

    publish OrderCreated                          the API
      transition CheckoutSaga (version 1)         engine: parent is what the message carries
        command process-payment                   engine, when the answer is there: sent to answered
          wait process-payment                    worker: stored until the first attempt began
          job process-payment                     worker: one for each attempt
          transition CheckoutSaga (version 2)     engine: caused by the answer
            publish OrderPaid / spawn Shipping    engine: what others are started by
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct

from jobs.telemetry import JobEnded
from sagas.decision import Transition
from sagas.draft import GATE_SAGA
from sagas.effects import Publish, Spawn
from sagas.instance import Instance, OpenCommand
from sagas.messages import Cause
from sagas.names import parse_command_id
from server.traceparent import TraceContext, read_traceparent
from store.outbox import span_of

SpanKind: TypeAlias = Literal["internal", "producer", "consumer"]
Attribute: TypeAlias = str | int | float | bool


class Span(Struct, frozen=True, kw_only=True):
    """One finished span; ``parent`` is a span id of the same trace, empty for a root.

    ``link`` is the context of another trace that had a part in it. ``error`` is empty when it went
    well. Times are UTC.
    """

    name: str
    context: TraceContext
    parent: str
    start: datetime
    end: datetime
    kind: SpanKind = "internal"
    link: TraceContext | None = None
    error: str = ""
    attributes: Mapping[str, Attribute] = {}


def transition_spans(transition: Transition, committed: datetime) -> Iterator[Span]:
    """The spans that a stored transition makes known: itself, the commands it closed, what it
    emitted.
    """
    before, after = transition.before, transition.after
    context = read_traceparent(after.trace)
    if context is None or not context.sampled or after.saga == GATE_SAGA:
        return
    own = TraceContext(context.trace, transition_span(after.saga, after.key, after.version))
    if before is not None:
        for id, command in before.commands.items():
            if id not in after.commands:
                yield _command(own, id, command, after)
    yield _transition(own, before, after, committed)
    for effect in after.effects:
        match effect:
            case Publish():
                yield _emitted(own, f"publish {effect.type}", effect.id, after)
            case Spawn():
                yield _emitted(own, f"spawn {effect.saga}", effect.id, after)
            case _:
                pass


def attempt_spans(ended: JobEnded) -> Iterator[Span]:
    """The spans of an attempt that has ended: it, and the wait before the first."""
    command = read_traceparent(ended.trace)
    if command is None or not command.sampled:
        return
    attributes = {
        "snorri.command": ended.command,
        "snorri.target": ended.target,
        "snorri.attempt": ended.attempt,
        "snorri.worker": ended.worker,
        "snorri.outcome": ended.outcome,
    }
    if ended.attempt == 1:
        yield Span(
            name=f"wait {ended.target}",
            context=TraceContext(command.trace, _derived(f"wait {ended.command}")),
            parent=command.span,
            start=min(ended.queued, ended.started),
            end=ended.started,
            attributes={"snorri.command": ended.command, "snorri.target": ended.target},
        )
    yield Span(
        name=f"job {ended.target}",
        context=attempt_context(command, ended.command, ended.attempt),
        parent=command.span,
        start=ended.started,
        end=ended.ended,
        kind="consumer",
        error=ended.error,
        attributes=attributes,
    )


def attempt_context(command: TraceContext, id: str, attempt: int) -> TraceContext:
    """The context in which an attempt runs, within that of its command."""
    return TraceContext(command.trace, _derived(f"attempt {attempt} {id}"), command.flags)


def transition_span(saga: str, key: str, version: int) -> str:
    """The span id of a transition."""
    return _derived(f"transition {saga}\0{key}\0{version}")


def _transition(
    own: TraceContext, before: Instance | None, after: Instance, committed: datetime
) -> Span:
    parent, link = _cause(own, before, after)
    cause = after.cause
    moved = before is None or before.status != after.status
    error = ""
    if after.status in ("failed", "parked") and moved:
        error = after.error.type if after.error else after.status
    return Span(
        name=f"transition {after.saga}",
        context=own,
        parent=parent,
        start=after.at,
        end=max(after.at, committed),
        kind="consumer",
        link=link,
        error=error,
        attributes={
            "snorri.saga": after.saga,
            "snorri.key": after.key,
            "snorri.version": after.version,
            "snorri.status": after.status,
            "snorri.cause.kind": cause.kind,
            "snorri.cause.type": cause.type,
            "snorri.waited_s": max(0.0, (after.at - cause.at).total_seconds()),
        },
    )


def _cause(
    own: TraceContext, before: Instance | None, after: Instance
) -> tuple[str, TraceContext | None]:
    """The parent of a transition, and a link when its message belongs to another trace."""
    cause = after.cause
    if before is not None:
        if cause.answers in before.commands:
            return span_of(cause.answers), None
        if cause.kind == "timer" and cause.epoch:
            return transition_span(after.saga, after.key, cause.epoch), None
    carried = read_traceparent(cause.trace)
    if carried is not None and carried.trace == own.trace:
        return carried.span, None
    first = "" if before is None else transition_span(after.saga, after.key, 1)
    return first, carried


def _command(own: TraceContext, id: str, command: OpenCommand, after: Instance) -> Span:
    cause, origin = after.cause, parse_command_id(id)
    answered = cause.answers == id
    outcome = ("failed" if cause.failed else "completed") if answered else "dropped"
    end = cause.at if answered else after.at
    return Span(
        name=f"command {command.target}",
        context=TraceContext(own.trace, span_of(id)),
        parent=transition_span(origin[0], origin[1], origin[2]) if origin else "",
        start=command.at,
        end=max(end, command.at),
        kind="producer",
        error=_failure(cause) if outcome == "failed" else "",
        attributes={
            "snorri.command": id,
            "snorri.target": command.target,
            "snorri.sends": command.sends,
            "snorri.outcome": outcome,
            "messaging.system": "nats",
        },
    )


def _failure(cause: Cause) -> str:
    return cause.type or "failed"


def _emitted(own: TraceContext, name: str, id: str, after: Instance) -> Span:
    return Span(
        name=name,
        context=TraceContext(own.trace, span_of(id)),
        parent=own.span,
        start=after.at,
        end=after.at,
        kind="producer",
        attributes={"snorri.saga": after.saga, "snorri.key": after.key, "messaging.system": "nats"},
    )


def _derived(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
