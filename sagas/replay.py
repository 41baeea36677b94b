"""What-if: the recorded messages of an instance, decided by a definition as it is now. Pure.

Each recorded version tells which message came and when. The same messages are given, in the same
order and at the same times, to the definition at hand, which goes on from what it decided itself.
So a changed definition shows version by version what it would have done otherwise, and an unchanged
one repeats the history exactly. Nothing is sent and nothing is stored.

Only what has changed the instance is on record: a message that was ignored then is not given again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct, structs

from sagas.actions import act
from sagas.decision import Decision, Ignored, Refused, Snapshot, Transition, Undeliverable
from sagas.definition import SagaDefinition
from sagas.draft import DRAIN, GRANTED
from sagas.effects import Send
from sagas.gate import Slot
from sagas.instance import Instance, document_hash, encode
from sagas.kernel import decide
from sagas.messages import Cause, to_raw
from sagas.operations import ActionRequest
from sagas.upcasting import upcast

Aspect: TypeAlias = Literal["status", "state", "effects", "error", "result", "compensation"]
ASPECTS: tuple[Aspect, ...] = ("status", "state", "effects", "error", "result", "compensation")


class Step(Struct, frozen=True, kw_only=True):
    """One recorded version beside what would be decided now.

    ``after`` is None when the message would change nothing: ``refused`` says why. ``differs`` names
    what is not as it was; ``ignored`` are messages of the backlog that would be let go.
    """

    recorded: Instance
    after: Instance | None
    differs: tuple[Aspect, ...]
    refused: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether this version would be as it was."""
        return not self.differs and not self.refused


class Replay(Struct, frozen=True, kw_only=True):
    """The whole history of an instance beside what it would be now."""

    saga: str
    key: str
    definition: str
    steps: tuple[Step, ...]

    @property
    def first(self) -> Step | None:
        """The first version that would not be as it was."""
        return next((step for step in self.steps if not step.same), None)

    @property
    def changed(self) -> int:
        """How many versions would not be as they were."""
        return sum(not step.same for step in self.steps)


def replay(definition: SagaDefinition, history: Iterable[Instance]) -> Replay:
    """Give the messages of a history (from version 1, in order) to a definition; raises ValueError
    when the history is empty or of another saga.
    """
    rerun = Rerun(definition)
    steps = [rerun.step(recorded) for recorded in history]
    if not steps:
        raise ValueError("a history without versions can't be replayed; check saga and key")
    return Replay(
        saga=definition.id,
        key=steps[0].recorded.key,
        definition=definition.hash,
        steps=tuple(steps),
    )


class Rerun:
    """A replay while it goes: what was decided last, and the version before on record.

    It keeps no more of the history than the ids of its messages.
    """

    def __init__(self, definition: SagaDefinition) -> None:
        self._definition = definition
        self._now: Snapshot | None = None
        self._before: Instance | None = None
        self._handled: set[str] = set()

    def step(self, recorded: Instance) -> Step:
        """Decide what came with the next recorded version; raises ValueError for one of another
        saga.
        """
        if recorded.saga != self._definition.id:
            raise ValueError(f"{recorded.saga} was recorded, {self._definition.id} can't replay it")
        snapshot = self._now or Snapshot(recorded.key)
        cause = _given(recorded, self._before, snapshot.instance)
        decision = self._decide(snapshot, cause, recorded)
        self._before = recorded
        if recorded.cause.from_outside:
            self._handled.add(recorded.cause.id)
        if not isinstance(decision, Transition):
            self._now = snapshot
            return Step(recorded=recorded, after=None, differs=(), refused=_reason(decision))
        after, document = decision.after, decision.document
        if cause.kind == "operator":  # on record it names the plan it insisted on
            after = structs.replace(after, cause=recorded.cause)
            document = encode(after)
        digest = document_hash(document)
        self._now = Snapshot(recorded.key, after, digest, decision.standing)
        return Step(
            recorded=recorded,
            after=after,
            differs=_differs(self._definition, recorded, after),
            ignored=tuple(f"{one.type}: {why.reason}" for one, why in decision.ignored),
        )

    def _decide(self, snapshot: Snapshot, cause: Cause, recorded: Instance) -> Decision:
        # Whoever was at this version already has handled the ids before it, never its own.
        handled = self._handled - {cause.id}
        definition = self._definition
        if definition.program is not None:  # which steps the engine of then could carry out itself
            sends = [effect for effect in recorded.effects if isinstance(effect, Send)]
            inline = frozenset(send.target for send in sends if send.inline)
            definition = structs.replace(definition, inline=inline)
        if cause.kind == "operator":
            return act(definition, snapshot, cause, recorded.at, handled=handled)
        return decide(definition, snapshot, cause, recorded.at, handled=handled)


def _given(recorded: Instance, before: Instance | None, current: Instance | None) -> Cause:
    """The message that made the engine decide this version.

    A message that had waited is on record as the cause; what came then was the instance's own word
    to go on, or that of a gate.
    """
    cause = recorded.cause
    if cause.kind == "operator":
        return _without_plan(cause)
    if before is None or cause not in before.backlog or recorded.backlog == before.backlog:
        return cause
    if before.gate is not None and not before.gate.held:
        return _word(recorded, GRANTED, to_raw(Slot(saga=recorded.saga, key=recorded.key)))
    if current is not None and cause in current.backlog:
        return _word(recorded, DRAIN, Raw(b"null"))
    return cause


def _word(recorded: Instance, type: str, payload: Raw) -> Cause:
    seq = recorded.cause.seq
    return Cause(kind="signal", type=type, id="", seq=seq, at=recorded.at, payload=payload)


def _without_plan(cause: Cause) -> Cause:
    """The action without the plan it insisted on, which names the code of then."""
    request = msgspec.json.decode(cause.payload, type=ActionRequest | None)
    if request is None or not (request.plan or request.version):
        return cause
    free = structs.replace(request, plan="", version=0)
    return structs.replace(cause, payload=to_raw(free))


def _reason(decision: Ignored | Undeliverable | Refused) -> str:
    return f"{type(decision).__name__.lower()}: {decision.reason}"


def _differs(definition: SagaDefinition, recorded: Instance, after: Instance) -> tuple[Aspect, ...]:
    pairs: dict[Aspect, tuple[object, object]] = {
        "status": (recorded.status, after.status),
        "state": (_value(_present(definition, recorded)), _value(_present(definition, after))),
        "effects": (recorded.effects, after.effects),
        "error": (_error(recorded), _error(after)),
        "result": (_value(recorded.result), _value(after.result)),
        "compensation": (recorded.undo, after.undo),
    }
    return tuple(name for name in ASPECTS if pairs[name][0] != pairs[name][1])


def _present(definition: SagaDefinition, instance: Instance) -> Raw:
    """The state in the shape of the code at hand, so that a new shape alone is no difference."""
    if instance.definition_version == definition.version:
        return instance.state
    try:
        return upcast(definition, instance.state, instance.definition_version)
    except Exception:  # what an upcaster can't take is shown as it was
        return instance.state


def _value(raw: Raw) -> object:
    return msgspec.json.decode(raw)


def _error(instance: Instance) -> tuple[str, str] | None:
    """The error without its traceback, which names lines of code."""
    error = instance.error
    return None if error is None else (error.type, error.message)
