"""What runs of programs must hold to: steps end once and are undone in reverse, entities take one
call after the other, calls of jobs have one answer, children and clocks tell what is so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from sagas import Entity
from sagas.effects import Send, Signal
from sagas.instance import Instance, StepRecord
from sagas.names import is_awaited, is_call
from sagas.programs.entity_state import Call, EntityState
from sagas.programs.workflow_signals import REPLY, Reply
from store import codec
from store.codec import moment
from store.memory.clock import NS, START_NS
from store.port import Stored
from store.schedules import SCHEDULE
from tests.simulation.app import ROUNDS
from tests.simulation.cast import BY_ID
from tests.simulation.clients import errand_of
from tests.simulation.errands import IN_PURSE, PURSE, purse
from tests.simulation.evidence import Evidence, Name, Revision
from tests.simulation.plan import Plan

ROLLING_S = 15.0  # till all engines run newer code
LAST_S = 0.5  # before the end of a run: what falls due then need not be seen to any more


def _runs(evidence: Evidence) -> Iterator[tuple[Name, list[Revision]]]:
    """The histories of steps, workflows and entities."""
    for name, history in evidence.histories.items():
        definition = BY_ID.get(name[0])
        if definition is not None and definition.program is not None:
            yield name, history


# --- steps and their undos


def records(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """A step ends once: what is on record of its end stays as it is."""
    for (saga, key), history in _runs(evidence):
        forgets = isinstance(BY_ID[saga], Entity)
        for before, after in pairwise(history):
            if after.instance.cause.kind == "operator":
                continue
            for id, record in before.instance.steps.items():
                now = after.instance.steps.get(id)
                if forgets and (now is None or now.status == "running"):
                    continue  # another call has begun
                if record.status != "running" and (now is None or _end(now) != _end(record)):
                    yield f"{saga}/{key} v{after.instance.version}: {id} has ended once more"


def _end(record: StepRecord) -> tuple[object, ...]:
    return record.status, record.order, record.place, bytes(record.output), record.error


def undone(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Steps are undone one at a time, the last one done first, each once; and in the end exactly
    those that were done.
    """
    for name, history in _runs(evidence):
        yield from _in_reverse(name, history)
        last = history[-1].instance
        if name in evidence.interfered or isinstance(BY_ID[name[0]], Entity):
            continue
        gone = {undo.type for undo in last.undo if undo.status == "done"}
        there = _to_undo(last) if last.status in ("compensated", "failed") else set[str]()
        if last.finished and gone != there:
            yield f"{'/'.join(name)} is {last.status}; undone {sorted(gone)}, not {sorted(there)}"


def _in_reverse(name: Name, history: list[Revision]) -> Iterator[str]:
    orders: list[int] = []
    sent: set[str] = set()  # one that an engine can't carry out goes to the workers under its id
    for revision in history:
        one = revision.instance
        if not one.undo:  # an entity forgets what belonged to the call before
            orders = []
        if sum(undo.status == "running" for undo in one.undo) > 1:
            yield f"{'/'.join(name)} v{one.version} undoes several steps at once"
        for send in one.effects if one.cause.kind != "operator" else ():
            if isinstance(send, Send) and send.target.endswith(".undo") and send.id not in sent:
                sent.add(send.id)
                orders.append(one.steps[send.step].order)
                if orders[-2:] != sorted(set(orders[-2:]), reverse=True):
                    yield f"{'/'.join(name)} v{one.version} undoes {send.step} out of order"


def _to_undo(one: Instance) -> set[str]:
    program: Any = BY_ID[one.saga].program
    return {
        id
        for id, record in one.steps.items()
        if record.kind == "step" and record.status == "completed"
        if program.steps[record.step].compensate is not None
    }


# --- entities


def entities(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Calls of an entity are handled one after the other, in the order in which they came; its
    state is what the handled ones have made of it; each is answered once, and all in the end.
    """
    for name, history in evidence.histories.items():
        if name[0] == PURSE:
            for complaint in _entity(evidence, name, history):
                yield f"{'/'.join(name)} {complaint}"


def _entity(evidence: Evidence, name: Name, history: list[Revision]) -> Iterator[str]:
    asked: dict[str, Call] = {}
    failed: set[str] = set()
    before = EntityState(state=msgspec.Raw(b'{"balance":%d,"moves":[]}' % IN_PURSE))
    for revision in history:
        one = revision.instance
        after = _kept(one)
        asked |= {call.id: call for call in after.calls}
        line, now = [call.id for call in before.calls], [call.id for call in after.calls]
        ended = next((n for n in range(len(line)) if line[n:] == now[: len(line) - n]), len(line))
        if ended == len(line) and set(line) & set(now):
            yield f"v{one.version} takes calls out of their order: {line} became {now}"
        if sum(record.status == "running" for record in one.steps.values()) > 1:
            yield f"v{one.version} has several calls at work: {sorted(one.steps)}"
        done = [id for id in after.results if id not in before.results]
        failed |= {_ref(asked[id]) for id in done if id in asked and after.results[id].error}
        yield from _balanced(one.version, before, after, [asked[id] for id in done if id in asked])
        before = after
    yield from _answered(history, list(asked.values()))
    if name not in evidence.interfered:
        moved = [ref for ref, _ in msgspec.json.decode(before.state)["moves"]]
        wanted = _asked_of(evidence, name) - failed
        if Counter(moved) != Counter(wanted):
            yield f"has handled {sorted(moved)}, asked were {sorted(wanted)}"
        yield from _counted(evidence, moved, failed)


def _kept(one: Instance) -> EntityState:
    return msgspec.json.decode(one.state, type=EntityState)


def _ref(call: Call) -> str:
    return str(msgspec.json.decode(call.input)["ref"])


def _balanced(
    version: int, before: EntityState, after: EntityState, done: list[Call]
) -> Iterator[str]:
    """The state changes with the end of calls only, and by what they have moved."""
    old, new = msgspec.json.decode(before.state), msgspec.json.decode(after.state)
    added = new["moves"][len(old["moves"]) :]
    if new["moves"] != [*old["moves"], *added]:
        yield f"v{version} has lost a call: {old['moves']} became {new['moves']}"
    fine = {_ref(call) for call in done if not after.results[call.id].error}
    if not fine <= {ref for ref, _ in added} or (done and len(added) > len(done) + 1):
        yield f"v{version} has moved {added}, ended have {sorted(fine)}"
    read = purse.query("balance", msgspec.Raw(msgspec.json.encode(after)), {})
    if read != IN_PURSE + sum(by for _, by in new["moves"]):
        yield f"v{version} has {read} in it after {new['moves']}"


def _answered(history: list[Revision], calls: list[Call]) -> Iterator[str]:
    replies = [
        msgspec.json.decode(effect.cause.payload, type=Reply)
        for revision in history
        for effect in revision.instance.effects
        if isinstance(effect, Signal) and effect.cause.type == REPLY
    ]
    for to, count in Counter(reply.to for reply in replies).items():
        if count > 1:
            yield f"has answered {to.address} {count} times"
    for reply in replies:
        paid = msgspec.json.decode(reply.output)
        if reply.failure is None and paid["ref"] != reply.to.address.key:
            yield f"has told {reply.to.address} the answer of {paid['ref']}"
    open = {str(call.reply.address) for call in calls if call.reply is not None}
    open -= {str(reply.to.address) for reply in replies}
    if open:
        yield f"has never answered {sorted(open)}"


def _asked_of(evidence: Evidence, name: Name) -> set[str]:
    """What was asked of an entity, by all that was published."""
    return {
        msgspec.json.decode(stored.data)["input"]["ref"]
        for _, stored in evidence.events
        if evidence.names.parse_event(stored.subject) == name
    }


def _counted(evidence: Evidence, moved: list[str], failed: set[str]) -> Iterator[str]:
    """The steps of a call that failed were undone, those of others not."""
    done = {(effect.what, effect.whom) for effect in evidence.ledger.effects}
    for ref in failed:
        whom = f"{ref}.count"
        if ("count", whom) in done and ("undo-count", whom) not in done:
            yield f"has failed {ref} and not undone what it did"
    for ref in moved:
        if ("undo-count", f"{ref}.count") in done:
            yield f"has handled {ref} and undone it"


# --- jobs that steps call


def calls(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """What a step sends itself is stored once, done and answered, or a dead letter; and whoever has
    called is told its own answer, the first one, however often the step runs.
    """
    sent: dict[str, Stored] = {}
    for _, stored in evidence.commands:
        id = stored.headers[codec.COMMAND_ID]
        if is_call(id) and id in sent:
            yield f"{id} was stored twice"
        if is_call(id):
            sent[id] = stored
    answers: dict[str, Stored] = {}
    for _, stored in evidence.events:
        answers.setdefault(stored.headers.get(codec.CAUSE, ""), stored)
    buried = {letter.command for _, letter in evidence.letters}
    for id in sent:
        if id not in answers:
            yield f"{id} was never answered"
        elif not is_awaited(id) and answers[id].headers.get(codec.OUTCOME) and id not in buried:
            yield f"{id} has failed, and nobody is told"
    for heard in evidence.ledger.heard:
        if not heard.call.startswith(f"{heard.step}.call-") or heard.call not in answers:
            yield f"{heard.step} was told of {heard.call}, which is not its own"
        elif (first := _told(answers[heard.call])) != (heard.whom, heard.answer):
            yield f"{heard.step} heard {heard.answer} of {heard.whom}, first came {first}"


def _told(answer: Stored) -> tuple[str, str]:
    """Whom an answer is about and what it says, as steps note it."""
    told = msgspec.json.decode(answer.data)
    if codec.OUTCOME in answer.headers:
        return told["whom"], f"no: {told['reason']}"
    return told["whom"], f"yes: {told['whom']}"


# --- workflows and their children


def errands(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """A workflow is given each answer in its place, and of each child the end that it came to."""
    for one in plan.orders:
        history = evidence.histories.get(("Errand", one.key))
        if one.kind != "errand" or not history:
            continue
        last, name = history[-1].instance, f"Errand/{one.key}"
        asked = errand_of(one)
        wanted = {
            "fetched": [f"{one.key}.stop{n}" for n in range(asked["stops"])],
            "driven": [f"{one.key}.leg{n} was driven" for n in range(asked["legs"])],
            "paid": one.key,
        }
        meddled = ("Errand", one.key) in evidence.interfered
        result = msgspec.json.decode(last.result)
        if last.status == "completed" and result != wanted and not meddled:
            yield f"{name} ended with {result}, not {wanted}"
        yield from (f"{name} {text}" for text in _children(evidence, history))


def _children(evidence: Evidence, history: list[Revision]) -> Iterator[str]:
    names = {
        id: str(msgspec.json.decode(record.output))
        for revision in history
        for id, record in revision.instance.steps.items()
        if record.kind == "child" and record.status == "running"
    }
    last = history[-1].instance
    for id, name in names.items():
        saga, _, key = name.partition("/")
        record, child = last.steps[id], evidence.histories.get((saga, key))
        if child is None:
            yield f"has started {name}, which does not exist"
            continue
        end = child[-1].instance
        if record.status == "completed" and bytes(record.output) != bytes(end.result):
            yield f"was told {bytes(record.output)!r} of {name}, not {bytes(end.result)!r}"
        if record.status in ("completed", "failed"):
            well = end.status == "completed"
            if well != (record.status == "completed"):
                yield f"has {id} as {record.status}; {name} is {end.status}"


# --- clocks


def clocks(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """A saga that begins by the clock begins once at each due time, and at no other."""
    begun = {key for saga, key in evidence.histories if saga == "Rounds"}
    if not any(one.kind == "rounds" for one in plan.orders):
        return
    if not evidence.clocks:
        yield "no engine has set the clock"
        return
    end_ns = evidence.broker.clock.now_ns()
    rolled = 0 < plan.roll_s < (end_ns - START_NS) / NS - ROLLING_S
    wanted = ROUNDS[2 if rolled else 1]
    if (set_to := evidence.clocks[-1].headers[SCHEDULE]) != wanted and (rolled or not plan.roll_s):
        yield f"the clock is set to {set_to} in the end, not to {wanted}"
    due: set[str] = set()
    for stored, until_ns in zip(
        evidence.clocks, [*(one.at_ns for one in evidence.clocks[1:]), end_ns], strict=True
    ):
        due |= _due(stored, until_ns)
    last = evidence.clocks[-1]
    late = _due(last, end_ns) - _due(last, end_ns - round(LAST_S * NS))
    if missed := due - late - begun:
        yield f"the rounds of {sorted(missed)} have not begun"
    if early := begun - due:
        yield f"rounds have begun at {sorted(early)}, which was not due"


def _due(clock: Stored, until_ns: int) -> set[str]:
    """The due times after a clock was set, up to a moment."""
    every = int(clock.headers[SCHEDULE].split()[0].removeprefix("*/"))
    return {
        moment(second * NS).isoformat().replace("+00:00", "Z")
        for second in range(clock.at_ns // NS + 1, until_ns // NS + 1)
        if second % every == 0
    }


PROGRAMS = (records, undone, entities, calls, errands, clocks)
