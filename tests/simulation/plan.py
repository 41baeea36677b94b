"""What one run is made of, as plain data made from a seed: who plays, what they are asked to do,
and what goes wrong. A plan with parts left out is a plan too; that is how a failing run is shrunk.
"""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

from msgspec import Struct, structs

# What befalls a process before its step ``at``, the broker at ``at`` milliseconds, and call number
# ``at`` of a kind.
Blow: TypeAlias = Literal["kill", "stall", "cut", "stop"]
Answered: TypeAlias = Literal["lose_reply", "busy", "conflict", "slow_reply", "stale", "again"]
Sent: TypeAlias = Literal["lose_request", "late", "slow", "die_before", "die_after"]
What: TypeAlias = Blow | Literal["restart"] | Answered | Sent

SECONDS = 12.0  # how long things go wrong; then all is healed and must come to an end
ORDERS_MAX = 8
RUSH_PART, RUSH_S = 0.3, 0.1
STEPS_MAX = 2500  # of one process while things go wrong, roughly
CALL_TROUBLES: dict[str, tuple[tuple[What, ...], int]] = {
    # kind of call: what may happen to it, and about how many there are while things go wrong
    "log.commit": (
        (
            *("lose_reply", "lose_request", "late", "busy", "conflict", "slow", "slow_reply"),
            *("die_before", "die_after", "lose_reply", "late", "die_after", "slow_reply"),
        ),
        40,
    ),
    "log.load": (("lose_request", "slow", "stale", "die_after"), 15),
    "log.read": (("lose_request", "slow_reply", "die_after"), 10),
    "feeds.open": (("lose_reply", "slow", "die_before", "die_after"), 10),
    "meta.put": (("lose_reply", "lose_request", "slow", "slow_reply"), 40),
    "meta.entries": (("lose_reply", "slow"), 20),
    "door.publish": (("lose_reply", "lose_request", "late", "die_before", "die_after"), 20),
    "door.publish_batch": (("lose_reply", "lose_request", "late", "busy", "die_after"), 5),
    "queues.take": (("lose_reply", "slow_reply", "again", "die_after"), 30),
    "queues.ack": (("lose_reply", "lose_request", "slow", "die_before", "die_after"), 20),
    "queues.nak": (("lose_reply", "lose_request", "die_before"), 5),
    "log.extent": (("lose_reply", "slow", "die_after"), 30),
    "log.at": (("lose_reply", "die_after"), 20),
    "queues.state": (("lose_reply", "slow", "die_after"), 2),
}
WHOSE_CALLS: dict[str, tuple[str, ...]] = {
    "e": ("log.commit",) * 4
    + ("log.load", "log.read", "feeds.open", "meta.put", "meta.entries", "door.publish"),
    "w": (
        *("door.publish", "door.publish_batch", "queues.take", "queues.ack", "queues.nak"),
        *("log.commit", "log.load", "feeds.open", "queues.state"),
    ),
    "p": ("log.extent", "log.at", "feeds.open"),
    "c": ("door.publish",),
}


class Order(Struct, frozen=True):
    """Something clients ask for: a saga of ``kind`` that takes its way by ``simulate``.

    ``twice`` of its messages are sent again later under the same id; with ``spread`` they carry
    ordering keys of their own, so that several partitions feed one instance.
    """

    kind: str
    key: str
    at_s: float
    simulate: tuple[tuple[str, str], ...] = ()
    count: int = 0
    twice: tuple[float, ...] = ()
    spread: bool = False


class Act(Struct, frozen=True):
    """An operator's action on an instance."""

    at_s: float
    saga: str
    key: str
    action: str
    name: str = ""


class Trouble(Struct, frozen=True):
    """Something that goes wrong for ``whom``; see What for ``at``. ``seconds`` is how long."""

    what: What
    whom: str
    at: int
    call: str = ""
    seconds: float = 0.0


class Plan(Struct, frozen=True):
    """One run; ``calm`` is the part of calls that take no time, ``inline`` are the engines that
    carry out steps themselves, ``window_s`` is how long the broker knows an id. From ``roll_s`` on
    (0: never) one engine after the other is stopped and starts with newer code.
    """

    seed: int
    engines: int
    inline: int
    workers: int
    partitions: int
    calm: float
    window_s: float
    orders: tuple[Order, ...]
    acts: tuple[Act, ...]
    troubles: tuple[Trouble, ...]
    roll_s: float = 0.0


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"{seed}/plan")
    engines = chance.choice((1, 2, 2, 2, 3))
    workers = chance.choice((1, 1, 2))
    orders = tuple(_order(chance, number) for number in range(chance.randint(2, ORDERS_MAX)))
    orders = _rushed(random.Random(f"{seed}/rush"), orders)
    acts = tuple(_act(chance, orders) for _ in range(chance.choice((0, 0, 1, 2, 4))))
    players = [f"e{number + 1}" for number in range(engines)]
    players += [f"w{number + 1}" for number in range(workers)]
    troubles = tuple(_trouble(chance, players) for _ in range(chance.choice((0, 1, 2, 3, 5, 8))))
    return Plan(
        seed=seed,
        engines=engines,
        inline=chance.choice((0, 1, engines)),
        workers=workers,
        partitions=chance.choice((1, 2, 2, 4)),
        calm=chance.choice((0.2, 0.7, 0.9)),
        window_s=chance.choice((120.0, 120.0, 0.5, 0.0)),
        orders=orders,
        acts=acts,
        troubles=troubles,
        roll_s=round(chance.choice((0.0, 0.0, 1.0)) * chance.uniform(0.5, SECONDS * 0.6), 3),
    )


WAYS: dict[str, tuple[str, ...]] = {
    "checkout": ("", "", "flaky", "slow", "decline", "no-stock", "no-carrier", "broken"),
    "order": ("", "", "flaky", "decline", "slow"),
    "reminder": ("", "", "flaky", "checkout"),
}
KINDS = (
    *("checkout", "order", "reminder", "trip", "tally", "tally", "tally", "desk", "moving"),
    *("errand", "errand", "errand", "purse", "rounds"),
)
ERRAND_STEPS = ("pack", "fetch", "drive", "hand-over", "count")
STEPS = ("van", "sofa", "table", "lamp", "unload", "pay")
SAGAS = {
    "checkout": "CheckoutSaga",
    "order": "order-saga",
    "reminder": "CartReminderSaga",
    "trip": "TripSaga",
    "tally": "Tally",
    "desk": "Desk",
    "moving": "moving",
    "errand": "Errand",
    "purse": "Purse",
    "rounds": "Rounds",
}
PURSES = ("purse-0", "purse-0", "purse-1")


def instances(order: Order) -> list[tuple[str, str]]:
    """The instances that an order asks for, by saga and key; those of a clock are begun by it."""
    saga, key = SAGAS[order.kind], order.key
    match order.kind:
        case "desk":
            return [(saga, f"{key}-{place}") for place in range(order.count)]
        case "purse":
            return [(saga, dict(order.simulate).get("purse", PURSES[0]))]
        case "rounds":
            return []
        case _:
            return [(saga, key)]


def _order(chance: random.Random, number: int) -> Order:
    kind = chance.choice(KINDS)
    simulate: dict[str, str] = {}
    if kind in WAYS:
        simulate[""] = chance.choice(WAYS[kind])
    elif kind == "trip":
        for part in ("flight", "hotel", "car"):
            simulate[part] = chance.choice(("", "", "flaky", "sold-out", "slow"))
    elif kind == "moving":
        if chance.random() < 0.7:
            simulate[chance.choice(STEPS)] = chance.choice(("fails", "fails", "flaky"))
        if chance.random() < 0.3:
            simulate[f"undo-{chance.choice(STEPS)}"] = "flaky"
    elif kind == "tally" and chance.random() < 0.4:
        simulate["raises"] = str(chance.randint(0, 5))
    elif kind in ("errand", "purse"):
        simulate = _errand(chance) if kind == "errand" else {}
        simulate["purse"] = chance.choice(PURSES)
    return Order(
        kind=kind,
        key=f"{kind}-{number}",
        at_s=round(chance.uniform(0.1, SECONDS * 0.7), 3),
        simulate=tuple(sorted((name, how) for name, how in simulate.items() if how)),
        count=chance.randint(1, 6),
        spread=kind == "tally" and chance.random() < 0.3,
        twice=tuple(round(chance.uniform(0.0, 3.0), 3) for _ in range(chance.choice((0, 0, 1, 3)))),
    )


def _rushed(chance: random.Random, orders: tuple[Order, ...]) -> tuple[Order, ...]:
    """In some runs all is asked for at once, so that much waits for the same."""
    if chance.random() > RUSH_PART:
        return orders
    at_s = chance.uniform(0.1, SECONDS * 0.5)
    return tuple(
        structs.replace(order, at_s=round(at_s + chance.uniform(0.0, RUSH_S), 3))
        for order in orders
    )


def _errand(chance: random.Random) -> dict[str, str]:
    simulate: dict[str, str] = {}
    for _ in range(chance.choice((0, 1, 1, 2))):
        how = chance.choice(("fails", "refuses", "flaky", "slow"))
        simulate[chance.choice((*ERRAND_STEPS, "stop0", "stop1"))] = how
    if chance.random() < 0.3:
        simulate[f"undo-{chance.choice(ERRAND_STEPS)}"] = "flaky"
    if chance.random() < 0.3:
        simulate["weigh"] = chance.choice(("flaky", "slow", "refuse", "moody"))
    if chance.random() < 0.1:
        simulate["jot"] = chance.choice(("flaky", "broken"))
    if chance.random() < 0.1:
        simulate["take"] = "too-much"
    simulate["legs"] = chance.choice(("0", "0", "1", "2"))
    return simulate


def _act(chance: random.Random, orders: tuple[Order, ...]) -> Act:
    order = chance.choice(orders)
    action = chance.choice(("pause", "pause", "pause", "resume", "cancel", "compensate", "retry"))
    action = chance.choice((action, action, action, "skip", "fire_timer", "postpone_timer"))
    saga, key = (instances(order) or [(SAGAS[order.kind], order.key)])[0]
    return Act(
        at_s=round(order.at_s + chance.choice((0.02, 0.2, 1.0)) * chance.random(), 3),
        saga=saga,
        key=key,
        action=action,
        name="nudge" if order.kind == "tally" else "patience",
    )


def _trouble(chance: random.Random, players: list[str]) -> Trouble:
    kind = chance.random()
    if kind < 0.04:
        return Trouble("restart", "broker", chance.randint(100, int(SECONDS * 1000)))
    if kind < 0.4:
        what: What = chance.choice(("kill", "kill", "stall", "stall", "cut", "stop"))
        whom = chance.choice([*players, "p"])
        at = int(STEPS_MAX ** chance.random())
        return Trouble(what, whom, at, seconds=round(chance.choice((0.3, 2, 7, 9)), 3))
    whom = chance.choice([*players, *players, "p", "c"])
    call = chance.choice(WHOSE_CALLS[whom[0]])
    whats, about = CALL_TROUBLES[call]
    what = chance.choice(whats)
    if whom == "c" and what.startswith("die"):
        what = "lose_reply"
    seconds = round(chance.choice((0.05, 0.5, 3.0, 7.0)) * chance.uniform(0.5, 1.0), 3)
    return Trouble(what, whom, 1 + int(about ** chance.random()), call=call, seconds=seconds)
