"""Random step lists against a model of ten lines: what completed is undone in exactly the reverse
order, each step effectively once, whatever fails, parks, or crashes in between.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from sagas import parallel, sequence, step, steps
from sagas.programs.steps import Item, Step, walk
from sagas.testing import Scenario, given


async def _function(ctx: Any) -> None: ...


@st.composite
def _trees(draw: st.DrawFn) -> list[Item]:
    """One to five items, nested up to three levels; names are given by position."""
    count = 0

    def make(level: int) -> Item:
        nonlocal count
        count += 1
        kind = draw(st.sampled_from(["step", "step", "parallel", "sequence"][: 4 if level else 1]))
        if kind == "step":
            background = draw(st.integers(0, 9)) == 0
            undo = _function if not background and draw(st.integers(0, 3)) else None
            strict = draw(st.integers(0, 3)) > 0
            return step(f"s{count}", _function, undo, background=background, strict=strict)
        group = parallel if kind == "parallel" else sequence
        return group(f"g{count}", [make(level - 1) for _ in range(draw(st.integers(1, 3)))])

    return [make(3) for _ in range(draw(st.integers(1, 5)))]


def _model(ends: list[tuple[Step[Any, Any], bool]]) -> list[str]:
    """The undos that must follow: of what ended well and of what failed without being strict,
    the last first; a step that failed had not ended well, so it comes before all others.
    """
    failed = [one.name for one, well in ends if not well and one.compensate and not one.strict]
    done = [one.name for one, well in ends if well and one.compensate]
    return [*failed, *reversed(done)]


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
    ends: list[tuple[Step[Any, Any], bool]] = []
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
        assert _as_sets(undone, ends) == _as_sets(_model(ends), ends)
        assert run.instance.status == ("compensated" if undone else "failed")
    assert not [undo for undo in run.instance.undo if undo.status in ("waiting", "running")]


def _as_sets(names: list[str], ends: list[tuple[Step[Any, Any], bool]]) -> list[object]:
    """Failed steps of one group have no order among themselves; all others have."""
    failed = {one.name for one, well in ends if not well}
    return [sorted(name for name in names if name in failed), [n for n in names if n not in failed]]


@settings(deadline=None, max_examples=50)
@given_that(items=_trees())
def test_equal_messages_give_equal_bytes(items: list[Item]) -> None:
    def play() -> list[bytes]:
        run = given(steps("tree", items), key="k").when("tree")
        while run.instance.status == "running" and (moves := _open(run)):
            run.when_step(moves[-1][0])
        return [msgspec.json.encode(version) for version in run.history]

    assert play() == play()
