"""Goal: entities that would wait for each other for ever are told, in whatever order that comes.

Method: entities whose handler calls the next one, played together: each has a line of messages from
each other one, and Hypothesis chooses which line is served next. A circle has an odd one out that
is refused; without a circle nobody is.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from sagas import StepFailed, WorkflowSaga, entity, step
from sagas.effects import Publish, Signal
from sagas.testing import Scenario, given


async def _any(ctx: Any, input: Any) -> Any: ...


before = step("before", _any)
room = entity("Room", steps=[before])


@room.handler("visit")
async def visit(saga: WorkflowSaga, way: list[str]) -> list[str]:
    """Go on to the first room of the way, and wait there for the rest."""
    await before(saga, None)
    if not way:
        return [saga.key]
    try:
        return [saga.key, *await visit.call(saga, way[0], way[1:])]
    except StepFailed as failed:
        return [saga.key, failed.code]


class House:
    """Rooms and the messages between them."""

    def __init__(self) -> None:
        self.rooms: dict[str, Scenario] = {}
        self.lines: dict[tuple[str, str], deque[Any]] = {}
        self.told: dict[str, int] = {}

    def send(self, to: str, way: list[str], id: str) -> None:
        """Somebody from outside calls a room."""
        self._put("", to, (visit.request(way), id))

    def serve(self, data: st.DataObject) -> None:
        """Hand out all messages and end all steps, in any order that lines allow."""
        while moves := [*self.lines, *(key for key, one in self.rooms.items() if _open(one))]:
            move = data.draw(st.sampled_from(sorted(moves, key=str)))
            if isinstance(move, str):
                self._play(move, self.rooms[move].when_step(_open(self.rooms[move])[0]))
                continue
            message = self.lines[move].popleft()
            if not self.lines[move]:
                del self.lines[move]
            self._receive(move[1], message)

    def _receive(self, to: str, message: Any) -> None:
        run = self.rooms.setdefault(to, given(room, key=to))
        if isinstance(message, tuple):
            self._play(to, run.when("Room", message[0], id=message[1]))
        else:
            self._play(to, run.receive(message))

    def _play(self, key: str, run: Scenario) -> None:
        assert run.instance.status == "running", run.instance.error
        fresh, self.told[key] = run.history[self.told.get(key, 0) :], len(run.history)
        for effect in (effect for version in fresh for effect in version.effects):
            if isinstance(effect, Publish):
                self._put(key, effect.key, (effect.payload, effect.id))
            elif isinstance(effect, Signal):
                self._put(key, effect.to.key, effect.cause)

    def _put(self, source: str, to: str, message: Any) -> None:
        self.lines.setdefault((source, to), deque()).append(message)

    def results(self) -> dict[str, Any]:
        """What became of the calls from outside."""
        found: dict[str, Any] = {}
        for run in self.rooms.values():
            state = msgspec.json.decode(run.instance.state)
            assert "calls" not in state, "a call waits for ever"
            found |= {id: one for id, one in state["results"].items() if id.startswith("c-")}
        return found


def _open(run: Scenario) -> list[str]:
    return [one.step for one in run.instance.commands.values()]


@settings(deadline=None, max_examples=40)
@given_that(data=st.data(), size=st.integers(2, 4))
def test_calls_around_a_circle_all_come_to_an_end(data: st.DataObject, size: int) -> None:
    house, keys = House(), [f"r-{n}" for n in range(size)]
    for n, key in enumerate(keys):
        house.send(key, [keys[(n + 1) % size]], f"c-{n}")
    house.serve(data)
    results = house.results()
    assert len(results) == size
    ends = [one["output"] for one in results.values()]
    assert all(end[1:] in ([keys[(keys.index(end[0]) + 1) % size]], ["Deadlock"]) for end in ends)


@settings(deadline=None, max_examples=40)
@given_that(data=st.data(), ways=st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=5))
def test_without_a_circle_nobody_is_refused(data: st.DataObject, ways: list[set[int]]) -> None:
    house = House()
    for n, way in enumerate(ways):
        keys = [f"r-{number}" for number in sorted(way)]
        house.send(keys[0], keys[1:], f"c-{n}")
    house.serve(data)
    ends = [house.results()[f"c-{n}"]["output"] for n in range(len(ways))]
    assert ends == [[f"r-{number}" for number in sorted(way)] for way in ways]


def test_a_refusal_says_who_waits_for_whom() -> None:
    run = given(room, key="a").when("Room", visit.request(["b"]), id="c-1").when_step("before")
    (asked,) = [effect for effect in run.instance.effects if isinstance(effect, Publish)]
    other = given(room, key="b").when("Room", visit.request(["a"]), id="c-2").when_step("before")
    other.when("Room", asked.payload, id=asked.id)
    (refused,) = [effect for effect in other.instance.effects if isinstance(effect, Signal)]
    run.receive(refused.cause)
    state = msgspec.json.decode(run.instance.state)
    assert state["results"]["c-1"] == {"output": ["a", "Deadlock"]}
    failure = msgspec.json.decode(refused.cause.payload)["failure"]
    assert failure["reason"].startswith(
        "Room/b waits for Room/a, which waits for this call to end, so neither would;"
    )


def test_the_steps_of_an_entity_get_the_tenant_of_the_call_that_is_handled() -> None:
    shop = entity("Shop", steps=[before], tenant="who")

    @shop.handler("buy")
    async def buy(saga: WorkflowSaga, input: dict[str, str]) -> None:
        await before(saga, None)

    run = given(shop, key="s").when("Shop", buy.request({"who": "acme"}))
    run.when("Shop", buy.request({"who": "globex"}))
    assert _tenants(run) == ["acme"]
    run.when_step("before")
    assert _tenants(run) == ["globex"]
    run.when_step("before").when("Shop", buy.request({}))
    assert _tenants(run) == [None]


def _tenants(run: Scenario) -> list[str | None]:
    return [
        msgspec.json.decode(one.payload).get("tenant") for one in run.instance.commands.values()
    ]
