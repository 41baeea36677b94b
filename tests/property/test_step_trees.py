"""Random step lists against a model of ten lines: what completed is undone in exactly the reverse
order, each step effectively once, whatever fails, parks, or crashes in between.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from sagas import step, steps
from sagas.programs.steps import AnyStep, Item, walk
from sagas.testing import Scenario, given
from tests.step_trees import as_sets, draw_tree, to_undo


async def _function(ctx: Any) -> None: ...


@st.composite
def _trees(draw: st.DrawFn) -> list[Item]:
    def make_step(name: str) -> AnyStep:
        background = draw(st.integers(0, 9)) == 0
        undo = _function if not background and draw(st.integers(0, 3)) else None
        strict = draw(st.integers(0, 3)) > 0
        return step(name, _function, undo, background=background, strict=strict)

    return draw_tree(lambda n: draw(st.integers(0, n - 1)), make_step)


def _open(run: Scenario) -> list[tuple[str, bool]]:
    commands = run.instance.commands.values()
    return [(one.step, bool(one.undo)) for one in commands if one.step]


@settings(deadline=None)
@given_that(data=st.data(), items=_trees())
def test_what_ended_well_is_undone_in_reverse_and_once(
    data: st.DataObject, items: list[Item]
) -> None:
    definition = steps("tree", items)
    by_name = {one.name: one for item in items for one in walk(item)}
    run = given(definition, key="k").when("tree")
    ends: list[tuple[AnyStep, bool]] = []
    undone: list[str] = []
    waited_for = [name for name, one in by_name.items() if not one.background]
    for _ in range(200):
        moves = _open(run)
        if run.instance.status == "parked":
            how = data.draw(st.sampled_from(["retry", "skip"]))
            parked = run.instance.parked
            assert parked is not None
            if how == "skip":
                undone.append(run.instance.commands[parked.command].undo)
            run.action("retry" if how == "retry" else "skip")
            continue
        if not moves:
            break
        name, undo = data.draw(st.sampled_from(moves))
        fails = data.draw(st.integers(0, 5)) == 0
        if fails:
            run.when_step_failed(name)
        else:
            run.when_step(name)
        if undo and not fails:
            undone.append(name)
        elif not undo and not by_name[name].background:
            ends.append((by_name[name], not fails))
    if all(well for _, well in ends):
        assert run.instance.status == "completed"
        assert sorted(one.name for one, _ in ends) == sorted(waited_for)
        assert undone == []
    else:
        assert as_sets(undone, ends) == as_sets(to_undo(ends), ends)
        assert run.instance.status == ("compensated" if undone else "failed")
    assert not [undo for undo in run.instance.undo if undo.status in ("waiting", "running")]


@settings(deadline=None, max_examples=50)
@given_that(items=_trees())
def test_equal_messages_give_equal_bytes(items: list[Item]) -> None:
    def play() -> list[bytes]:
        run = given(steps("tree", items), key="k").when("tree")
        while run.instance.status == "running" and (moves := _open(run)):
            run.when_step(moves[-1][0])
        return [msgspec.json.encode(version) for version in run.history]

    assert play() == play()
