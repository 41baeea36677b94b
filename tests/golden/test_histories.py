"""Goal: what the samples decided once they decide on each change, byte for byte, so that instances
which run somewhere go on as they would have.

Method: the recorded messages of each story are given to the samples' code of now. What names code
and not decisions is left out (see `record.comparable`). A difference is shown field by field.
"""

from __future__ import annotations

from itertools import zip_longest

import msgspec
import pytest

from jobs.examples.shop import definitions as shop
from jobs.examples.steps import definitions as programs
from sagas import SagaDefinition
from sagas.examples import definitions as sagas
from sagas.instance import Instance, decode, document_hash, encode, evolve
from tests.golden.record import comparable, path_of, recorded, replayed
from tests.golden.stories import STORIES

AGAIN = (
    "If this is meant, record it: python -m tests.golden.record, and put the changed files into the"
    " same commit."
)


def _history(story: str) -> list[Instance]:
    return [decode(line) for line in recorded(story)]


def _difference(was: Instance, now: Instance | str) -> str:
    """The fields of a version that are not as they were, one a line."""
    name = f"version {was.version} ({was.cause.kind} {was.cause.type})"
    if isinstance(now, str):
        return f"{name} would not be: {now}"
    if comparable(was) == comparable(now):
        return ""
    before, after = (msgspec.json.decode(comparable(one)) for one in (was, now))
    fields = [f for f in {**before, **after} if before.get(f) != after.get(f)]
    lines = [
        f"  {field}\n    was {_json(before.get(field))}\n    now {_json(after.get(field))}"
        for field in fields
    ]
    return "\n".join([name, *(lines or ["  the order of fields"])])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@pytest.mark.parametrize("story", STORIES)
def test_what_was_decided_is_decided_again(story: str) -> None:
    history = _history(story)
    assert history, f"{story} was never recorded. {AGAIN}"
    again = zip_longest(history, replayed(story, history))
    found = [text for was, now in again if (text := _difference(was, now))]
    assert not found, f"{story}:\n" + "\n".join([*found, AGAIN])


@pytest.mark.parametrize("story", STORIES)
def test_the_file_is_a_whole_history_as_it_was_stored(story: str) -> None:
    before, prev = None, ""
    for line in recorded(story):
        before = evolve(before, prev, decode(line))
        assert encode(before) == line, "it is not written as it was read"
        prev = document_hash(line)


@pytest.mark.parametrize("story", STORIES)
def test_a_story_told_again_is_the_recorded_one(story: str) -> None:
    told = [comparable(one) for one in STORIES[story]().history]
    assert told == [comparable(one) for one in _history(story)], f"{story} has changed. {AGAIN}"


def test_no_file_is_left_over() -> None:
    files = {path.name for path in path_of("x").parent.iterdir()}
    assert files == {path_of(story).name for story in STORIES}


def test_every_sample_has_a_story() -> None:
    told = {play().definition.id for play in STORIES.values()}
    assert told == {one.id for one in (*sagas, *programs, *shop)}


@pytest.mark.parametrize("definition", sagas, ids=lambda one: one.id)
def test_every_handler_is_in_one(definition: SagaDefinition) -> None:
    taken = {
        name
        for story, play in STORIES.items()
        if play().definition.id == definition.id
        for one in _history(story)
        for name in (one.cause.type, *(undo.type for undo in one.undo))
    }
    handlers = [*definition.handlers.values(), *definition.compensations.values()]
    called = {handler.function for handler in handlers if handler.type in taken}
    assert {handler.function for handler in handlers} == called


def test_a_difference_is_shown_with_both_sides() -> None:
    was = _history("checkout-completed")[1]
    now = msgspec.structs.replace(was, status="failed", effects=())
    told = _difference(was, now)
    assert "version 2 (event PaymentCompleted)" in told
    assert 'was "running"' in told
    assert 'now "failed"' in told
    assert "reserve-inventory" in told
    assert _difference(was, "ignored: because") == (
        "version 2 (event PaymentCompleted) would not be: ignored: because"
    )
    assert _difference(was, msgspec.structs.replace(was, definition="other")) == ""
