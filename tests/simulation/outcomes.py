"""What sagas and jobs must have come to in the end: effects on the outside, compensation in order,
gates that are empty, and the one right outcome where nobody has meddled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sagas.draft import GATE_SAGA
from sagas.effects import Publish, Send
from sagas.instance import Instance
from sagas.replay import Rerun
from store import codec
from store.codec import MSG_ID
from tests.simulation.app import RANG
from tests.simulation.cast import BY_ID, NEWER_BY_ID
from tests.simulation.clients import errand_of
from tests.simulation.errands import PURSE
from tests.simulation.evidence import Evidence, Revision
from tests.simulation.plan import Order, Plan, instances

Outcome = Callable[[Evidence, Plan], Iterator[str]]
BAD_ENDS = ("fails", "refuses", "refuse", "too-much")
MANY_TIMES = {"send-reminder"}  # as often as somebody asks for it


def effects(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """What jobs did to the outside was done under one key each, for a command that was sent; and
    what a saga was told of was done.
    """
    sent = {one.headers[codec.COMMAND_ID] for _, one in evidence.commands}
    sent |= {
        effect.id
        for revision in evidence.revisions
        for effect in revision.instance.effects
        if isinstance(effect, Send) and effect.inline
    }
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for effect in evidence.ledger.effects:
        keys[effect.what, effect.whom].add(effect.key)
        if effect.key not in sent:
            yield f"{effect.what} of {effect.whom} was done for {effect.key}, which nobody sent"
    for (what, whom), under in keys.items():
        if len(under) > 1 and what not in MANY_TIMES:
            yield f"{what} of {whom} was done under several keys: {sorted(under)}"
    done = {effect.key for effect in evidence.ledger.effects}
    for revision in evidence.revisions:
        cause = revision.instance.cause
        well = cause.kind == "event" and cause.answers and not cause.failed
        if well and cause.answers not in done:
            yield f"{cause.answers} was answered well and never done"


def replays(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """The recorded messages, decided again, give the recorded history."""
    for (saga, key), history in evidence.histories.items():
        if saga == GATE_SAGA:
            continue
        if any(_by_older(revision.instance) for revision in history):
            continue  # what older code left for the newer can't be told from one code
        rerun = Rerun(NEWER_BY_ID[saga] if plan.roll_s else BY_ID[saga])
        for revision in history:
            step = rerun.step(revision.instance)
            if not step.same:
                version, differs = revision.instance.version, step.differs or step.refused
                yield f"{saga}/{key} v{version} would not be the same: {differs}"
                break


def _by_older(one: Instance) -> bool:
    return one.error is not None and one.error.type == "NewerVersion"


def code(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Older code never decides after newer, and each state has the shape of its version."""
    for (saga, key), history in evidence.histories.items():
        before = 1
        for revision in history:
            one = revision.instance
            if one.definition_version < before:
                yield f"{saga}/{key} v{one.version} is of older code than the version before"
            before = one.definition_version
            state = msgspec.json.decode(one.state)
            if saga == "Tally" and one.status != "parked" and RANG[before] not in state:
                yield f"{saga}/{key} v{one.version} is of version {before} with {sorted(state)}"


def compensation(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Only what was done is undone; bookings of a trip are cancelled in the reverse order."""
    for (saga, key), history in evidence.histories.items():
        if saga == "TripSaga":
            yield from _cancelled_in_reverse(key, history)
    firsts: dict[tuple[str, str], float] = {}
    for effect in evidence.ledger.effects:
        firsts.setdefault((effect.what, effect.whom), effect.at_s)
    for what, whom in firsts:
        step = what.removeprefix("undo-")
        if step != what and (step, whom) not in firsts:
            yield f"{step} of {whom} was undone and never done"


def _cancelled_in_reverse(key: str, history: list[Revision]) -> Iterator[str]:
    for revision in history:
        one = revision.instance
        cancelled = [
            effect.target.removeprefix("cancel-")
            for effect in one.effects
            if isinstance(effect, Send) and effect.target.startswith("cancel-")
        ]
        booked = [part["part"] for part in msgspec.json.decode(one.state)["booked"]]
        if cancelled and one.cause.kind != "operator" and cancelled != booked[::-1]:
            yield f"{key} booked {booked} and cancels {cancelled}"


def gates(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Never more inside than allowed, and nobody in the end."""
    for (saga, key), history in evidence.histories.items():
        if saga != GATE_SAGA:
            continue
        state: dict[str, Any] = {}
        for revision in history:
            state = msgspec.json.decode(revision.instance.state)
            if len(state["held"]) > state["limit"]:
                yield f"the gate {key} let {len(state['held'])} in, {state['limit']} are allowed"
        if state["held"] or state["queue"]:
            yield f"the gate {key} is not empty in the end: {state}"


def publications(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """What sagas publish is stored, and heard once by the saga that listens."""
    told: dict[str, Counter[int]] = defaultdict(Counter)
    for revision in evidence.revisions:
        for effect in revision.instance.effects:
            if isinstance(effect, Publish):
                if effect.id not in evidence.event_ids:
                    yield f"the event {effect.id} of {effect.type} was never stored"
                if effect.type == "Noticed":
                    told[revision.instance.key][msgspec.json.decode(effect.payload)["n"]] += 1
    for key, wanted in told.items():
        heard = _state(evidence, "Audit", key).get("noticed", [])
        if Counter(heard) != wanted:
            yield f"the audit of {key} has heard {heard}, told was {sorted(wanted.elements())}"


def order(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Messages of one ordering key are worked on in the order in which they were stored."""
    spread = {one.key for one in plan.orders if one.spread}
    heard: dict[str, list[int]] = defaultdict(list)
    known: set[str] = set()
    for _, stored in evidence.events:
        type, _ = evidence.names.parse_event(stored.subject)
        id = stored.headers.get(MSG_ID, "")
        if type == "Counted" and id not in known:
            told = msgspec.json.decode(stored.data)
            heard[told["tally"]].append(told["n"])
        known.add(id)
    for key, wanted in heard.items():
        seen = _state(evidence, "Tally", key).get("seen", [])
        if key in spread:
            seen, wanted = sorted(seen), sorted(wanted)
        if ("Tally", key) in evidence.interfered:
            rest = iter(wanted)
            if not all(n in rest for n in seen):
                yield f"the tally {key} has {seen}, which is not in the order of {wanted}"
        elif seen != wanted:
            yield f"the tally {key} has {seen}, published was {wanted}"


def ends(evidence: Evidence, plan: Plan) -> Iterator[str]:
    """Where nobody has meddled, an order ends as its simulation says."""
    for one in plan.orders:
        for name in instances(one):
            history = evidence.histories.get(name)
            if not history:
                yield f"{'/'.join(name)} was ordered and does not exist"
            elif name not in evidence.interfered and (wanted := _wanted(one)):
                status = history[-1].instance.status
                if one.kind == "errand" and (PURSE, errand_of(one)["purse"]) in evidence.interfered:
                    wanted = (*wanted, "compensated", "failed")
                if status not in wanted:
                    yield f"{'/'.join(name)} has {status}, expected is {' or '.join(wanted)}"


def _wanted(one: Order) -> tuple[str, ...]:
    how = dict(one.simulate)
    match one.kind:
        case "checkout":
            good = how.get("") in (None, "flaky", "slow")
            return ("completed",) if good else () if how[""] == "broken" else ("cancelled",)
        case "trip":
            return ("compensated",) if "sold-out" in how.values() else ("completed",)
        case "tally" | "desk" | "reminder":
            return ("completed",)
        case "moving":
            fails = [step for step, simulate in how.items() if simulate == "fails"]
            return ("completed",) if not fails else ("compensated", "failed")
        case "errand":
            return _wanted_of_errand(one)
        case "purse":
            return ("running",)
        case _:
            return ()


def _wanted_of_errand(one: Order) -> tuple[str, ...]:
    asked, how = errand_of(one), dict(one.simulate)
    ways = [how.get(name, "") for name in ("pack", "hand-over", "count", "take", "weigh")]
    ways += [how.get(f"stop{n}") or how.get("fetch", "") for n in range(asked["stops"])]
    ways += [how.get("drive", "") for _ in range(asked["legs"])]
    if any(way in BAD_ENDS for way in ways):
        return ("compensated", "failed")
    return ("completed",) if how.get("weigh") != "moody" else ("completed", "compensated", "failed")


def _state(evidence: Evidence, saga: str, key: str) -> dict[str, Any]:
    history = evidence.histories.get((saga, key))
    if not history:
        return {}
    last: Instance = history[-1].instance
    return msgspec.json.decode(last.state)


OUTCOMES: tuple[Outcome, ...] = (
    *(effects, replays, code, compensation, gates, publications, order, ends),
)
