"""The people and programs outside: they publish what the orders of a plan say, operators act, and a
caretaker sees to what is parked or paused once nothing goes wrong any more.

Who gets no answer sends the same again under the same id, as the manual asks.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from sagas.actions import ActionRequest
from sagas.instance import Instance
from sagas.messages import Address, Cause, to_raw
from store.memory import MemoryBroker
from store.outbox import signal
from store.port import Unreachable
from tests.simulation.clockwork import moment
from tests.simulation.errands import give, take
from tests.simulation.loop import SimulatedLoop
from tests.simulation.plan import PURSES, Act, Order, Plan, instances
from tests.simulation.record import Record
from tests.waiting import busy

AGAIN_S = 0.4
STOPS_MAX = 3
ROUND_S = 2.0
RETRIES = 2  # of a parked instance by the caretaker, before it gives the message up


class Clients:
    """All that comes from outside in one run."""

    def __init__(self, loop: SimulatedLoop, broker: MemoryBroker, record: Record) -> None:
        self._loop = loop
        self._broker = broker
        self._record = record
        self._backend = broker.backend("c")
        self._sent = 0
        self._tries: dict[tuple[str, str], int] = {}
        self.interfered: set[tuple[str, str]] = set()

    async def play(self, plan: Plan) -> None:
        """Do all that the plan says; returns when the last answer is there."""
        async with asyncio.TaskGroup() as group:
            for order in plan.orders:
                group.create_task(self._order(order))
            for number, act in enumerate(plan.acts):
                group.create_task(self._operate(number, act))

    # --- orders

    async def _order(self, order: Order) -> None:
        await busy(order.at_s)
        key, how = order.key, dict(order.simulate)
        simple = {"simulate": how[""]} if how.get("") else {}
        match order.kind:
            case "checkout":
                await self._publish("OrderCreated", key, {"orderId": key, "total": 5, **simple})
            case "order":
                await self._publish("OrderPlaced", key, {"orderId": key, "amount": 5, **simple})
                await busy(0.05 * order.count)
                type = "OrderFulfilled" if order.count % 2 else "FulfillmentFailed"
                await self._publish(type, key, {"orderId": key, "reason": "none left"})
            case "reminder":
                await self._remind(order, how.get("", ""))
            case "trip":
                await self._publish("TripRequested", key, {"tripId": key, "simulate": how})
            case "tally":
                await self._tally(order, how)
            case "desk":
                group = [f"{key}-{place}" for place in range(order.count)]
                for one in group:
                    await self._publish("Asked", one, {"desk": one})
            case "moving":
                await self._publish("moving", key, {"simulate": how})
            case "errand":
                await self._publish("Errand", key, errand_of(order), twice=order.twice)
            case "purse":
                await self._pay(order, *instances(order)[0])
            case "rounds":
                await busy(ROUND_S * order.count)  # they begin by the clock
            case _:
                raise ValueError(order.kind)

    async def _remind(self, order: Order, how: str) -> None:
        flaky = {"simulate": how} if how == "flaky" else {}
        for place in range(order.count):
            cart = {"cartId": order.key, "patience": "1.2s", **flaky}
            await self._publish("CartChanged", order.key, cart, twice=order.twice)
            await busy(0.5 if place % 2 else 1.19)
        if how == "checkout":
            await self._publish("CartCheckedOut", order.key, {"cartId": order.key})

    async def _tally(self, order: Order, how: dict[str, str]) -> None:
        key = order.key
        nudge = 0.02 * order.count
        opened = {"tally": key, "wanted": order.count, "nudge": nudge}
        await self._publish("Opened", key, opened)
        while (
            order.spread
            and self._broker.log.last(self._broker.names.instance("Tally", key)) is None
        ):
            await busy(AGAIN_S)
        for n in range(order.count):
            bad = {"raises": True} if how.get("raises") == str(n) else {}
            told = {"tally": key, "n": n, **bad}
            ordering = f"{key}.{n}" if order.spread else key
            await self._publish("Counted", ordering, told, twice=order.twice if n % 2 else ())
            await busy(0.01 * (n % 3))

    async def _pay(self, order: Order, saga: str, key: str) -> None:
        for n in range(order.count):
            handler = take if n % 3 == 1 else give
            asked = {"ref": f"{order.key}.{n}", "amount": n + 1, "simulate": {}}
            await self._publish(saga, key, handler.request(asked), order.twice)
            await busy(0.01 * (n % 3))

    async def _publish(
        self, type: str, key: str, payload: object, twice: tuple[float, ...] = ()
    ) -> None:
        self._sent += 1
        id = f"{type}-{key}-{self._sent}"
        await self._send(type, key, payload, id)
        for delay_s in twice:
            self._loop.later(delay_s, self._again, type, key, payload, id)

    def _again(self, type: str, key: str, payload: object, id: str) -> None:
        self._loop.create_task(self._send(type, key, payload, id))

    async def _send(self, type: str, key: str, payload: object, id: str) -> None:
        subject = self._broker.names.event(type, key)
        await self._insist(subject, msgspec.json.encode(payload), id)

    async def _insist(self, subject: str, body: bytes, id: str) -> None:
        while True:
            try:
                await self._backend.door.publish(subject, body, {}, id)
                return
            except Unreachable:
                self._record.tell(f"the client hears nothing of {id}, and sends it again")
                await busy(AGAIN_S)

    # --- operators

    async def _operate(self, number: int, act: Act) -> None:
        await busy(act.at_s)
        await self._act(f"op-{number}", act.saga, act.key, act.action, act.name)
        if act.action == "pause":
            await busy(0.8)
            await self._act(f"op-{number}-on", act.saga, act.key, "resume", "")

    async def _act(self, id: str, saga: str, key: str, action: str, name: str) -> None:
        request = ActionRequest()
        if action in ("fire_timer", "postpone_timer", "cancel_timer"):
            to = 1.0 if action == "postpone_timer" else None
            request = ActionRequest(timer=name, to=to)
        self._record.tell(f"an operator asks for {action} of {saga}/{key}")
        self.interfered.add((saga, key))
        cause = Cause(
            kind="operator",
            type=action,
            id=id,
            seq=0,
            at=moment(self._loop.clock),
            payload=to_raw(request),
            by="op",
            reason="a reason",
        )
        message = signal(self._broker.names, Address(saga, key), cause)
        await self._insist(message.subject, message.payload, id)

    async def take_care(self, instances: list[Instance], give_up: bool) -> None:
        """See to what waits for a person; with ``give_up`` cancel what people have meddled with."""
        for one in instances:
            name = (one.saga, one.key)
            if one.status == "paused":
                await self._care(one, "resume")
            elif one.status == "parked":
                self._tries[name] = self._tries.get(name, 0) + 1
                await self._care(one, "retry" if self._tries[name] <= RETRIES else "skip")
            elif give_up and name in self.interfered:
                await self._care(one, "cancel")

    async def _care(self, one: Instance, action: str) -> None:
        self._sent += 1
        if action in ("skip", "cancel"):
            self.interfered.add((one.saga, one.key))
        interfered = set(self.interfered)
        await self._act(f"care-{self._sent}", one.saga, one.key, action, "")
        self.interfered = interfered


def errand_of(order: Order) -> dict[str, Any]:
    """The input of an errand."""
    how = dict(order.simulate)
    legs, purse = int(how.pop("legs", "0")), how.pop("purse", PURSES[0])
    stops = min(order.count, STOPS_MAX)
    return {"simulate": how, "stops": stops, "legs": legs, "purse": purse}
