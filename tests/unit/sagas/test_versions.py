"""Goal: running instances go on under changed code: their state is taken to its shape, and older
code never touches what newer code wrote.

Method: an instance begins with one definition, and another of the same id goes on with the stored
document, through the kernel, operator actions and replays.
"""

from __future__ import annotations

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw, Struct, structs

from sagas import (
    Context,
    DefinitionError,
    Message,
    SagaDefinition,
    SagaHandle,
    complete,
    define_saga,
    schedule,
    send,
)
from sagas.errors import NewerVersion
from sagas.instance import decode, encode
from sagas.messages import to_raw
from sagas.replay import replay
from sagas.source import bare
from sagas.testing import NOON, Scenario, given
from sagas.upcasting import current_state


class First(Struct):
    """The state of version 1."""

    total: int = 0


class Second(Struct):
    """Of version 2: cents have a currency."""

    cents: int
    currency: str = "EUR"


class Third(Struct):
    """Of version 3: one field for both."""

    price: str
    paid: bool = False


def _begin(saga: SagaHandle[Any], message: Message[dict[str, int]]) -> Any:
    return send("charge", {})


def _paid(saga: SagaHandle[Any]) -> Any:
    return complete(to_raw(saga.state))


def _first_to_second(old: First) -> Second:
    return Second(cents=old.total * 100)


def _second_to_third(old: Second) -> dict[str, Any]:
    return {"price": f"{old.cents} {old.currency}"}


def _saga(version: int) -> SagaDefinition:
    initial: Struct = (First(7), Second(cents=700), Third(price="700 EUR"))[version - 1]
    chain: Any = define_saga("Shop").version(version).state(initial)
    chain.on("Ordered", _begin).on("Paid", _paid).on("Looked", lambda saga: None)
    chain.on_signal("Look", lambda saga: None).on_query("kind", lambda state: type(state).__name__)
    if version > 1:
        chain.upcast(1, _first_to_second)
    if version > 2:
        chain.upcast(2, _second_to_third)
    return chain.build()


def _begun(version: int) -> Scenario:
    return given(_saga(version)).when("Ordered", {"n": 1})


def _under(scenario: Scenario, definition: SagaDefinition) -> Scenario:
    """The same instance, with other code."""
    scenario.definition = definition
    return scenario


@pytest.mark.parametrize(("old", "expected"), [(1, 3), (2, 3), (3, 3)])
def test_a_state_goes_through_all_upcasters(old: int, expected: int) -> None:
    scenario = _under(_begun(old), _saga(3))
    assert scenario.state == Third(price="700 EUR")
    scenario.when("Looked").expect_state(price="700 EUR", paid=False)
    assert scenario.instance.definition_version == expected
    assert scenario.instance.definition == _saga(3).hash
    assert scenario.instance.prev != ""


def test_the_version_is_in_the_document_only_from_two_on() -> None:
    """So documents of sagas without versions stay as they always were."""
    assert b"definition_version" not in encode(_begun(1).instance)
    assert b'"definition_version":2' in encode(_begun(2).instance)
    assert decode(encode(_begun(2).instance)) == _begun(2).instance


def test_what_calls_no_handler_leaves_the_state_as_it_was() -> None:
    scenario = _under(_begun(1), _saga(3)).action("pause")
    assert (scenario.instance.definition_version, scenario.instance.state) == (
        1,
        Raw(b'{"total":7}'),
    )
    scenario.when("Looked").action("resume").expect_state(price="700 EUR")
    assert scenario.instance.definition_version == 3


def test_queries_signals_and_patches_see_the_new_shape() -> None:
    scenario = _under(_begun(1), _saga(3))
    assert scenario.query("kind") == "Third"
    scenario.signal("Look").expect_state(price="700 EUR")
    patched = _under(_begun(1), _saga(3)).action("patch", patch={"paid": True})
    patched.expect_state(price="700 EUR", paid=True)
    assert patched.instance.definition_version == 3


def _raising(old: Any) -> Any:
    raise KeyError(f"no total in {sorted(old)}")


def test_an_upcaster_that_raises_parks_with_its_traceback_and_is_retried() -> None:
    broken: Any = define_saga("Shop").version(2).state(Second(cents=0)).on("Ordered", _begin)
    broken = broken.on("Paid", _paid).upcast(1, _raising).build()
    scenario = _under(_begun(1), broken).when("Paid").expect_parked("no total in")
    error = scenario.instance.error
    assert error is not None
    assert "_raising" in error.traceback
    assert scenario.instance.definition_version == 1
    assert scenario.instance.state == Raw(b'{"total":7}')
    refused = scenario.action("patch", patch={"cents": 1})
    refused.expect_refused("can't be brought to this version")
    _under(scenario, _saga(2)).action("retry").expect_status("completed")
    assert scenario.instance.result == Raw(b'{"cents":700,"currency":"EUR"}')


def test_a_whole_new_state_needs_no_upcaster() -> None:
    broken: Any = define_saga("Shop").version(2).state(Second(cents=0)).on("Ordered", _begin)
    broken = broken.on("Paid", _paid).upcast(1, _raising).build()
    scenario = _under(_begun(1), broken).when("Paid").expect_parked()
    scenario.action("patch", state={"cents": 5}).action("retry").expect_status("completed")


def test_a_state_that_does_not_fit_says_from_which_version_it_is() -> None:
    gap: Any = define_saga("Shop").version(2).state(Second(cents=0)).on("Ordered", _begin)
    scenario = _under(_begun(1), gap.on("Looked", _paid).build()).when("Looked")
    scenario.expect_parked("state of version 1 does not fit version 2 of Shop")


@pytest.mark.parametrize("type", ["Looked", "Unheard"])
def test_older_code_parks_what_newer_code_wrote_and_the_newer_goes_on(type: str) -> None:
    """Also a message that older code has no handler for: the newer may have one."""
    scenario = _under(_begun(2), _saga(1))
    before = scenario.instance
    definition: Any = define_saga("Shop").state(First()).on("Ordered", _begin).on(type, _paid)
    scenario = _under(scenario, definition.build()).when(type).expect_parked("version 2 of Shop")
    after = scenario.instance
    assert (after.state, after.definition_version) == (before.state, 2)
    assert after.parked is not None
    assert after.parked.cause is not None
    assert after.parked.cause.type == type
    for action in ("retry", "signal", "patch", "compensate"):
        scenario.action(action).expect_refused("run the newer code again")  # type: ignore[arg-type]
    scenario.when("Ordered", {"n": 2}).expect_nothing()  # waits behind it
    again: Any = define_saga("Shop").version(2).state(Second(cents=0)).on("Ordered", _begin)
    newer = again.on(type, lambda saga: None).build()
    _under(scenario, newer).action("retry").expect(send("charge", {})).expect_status("running")


def test_an_operator_may_stop_what_newer_code_wrote() -> None:
    _under(_begun(2), _saga(1)).action("pause").action("resume").action("cancel").expect_status(
        "cancelled"
    )


def test_older_code_does_not_answer_queries_about_newer_state() -> None:
    with pytest.raises(NewerVersion, match="run the newer code"):
        _under(_begun(2), _saga(1)).query("kind")
    with pytest.raises(NewerVersion):
        current_state(_saga(1), Raw(b"{}"), 2)


def test_upcasters_make_a_change_of_shape_no_difference_in_a_replay() -> None:
    history = _begun(1).when("Looked").when("Paid").history
    quiet = replay(_saga(2), history)
    assert [step.differs for step in quiet.steps] == [(), (), ("effects", "result")]
    other: Any = define_saga("Shop").version(2).state(Second(cents=1)).on("Ordered", _begin)
    other.on("Paid", _paid).on("Looked", lambda saga: None).upcast(1, _first_to_second)
    assert replay(other.build(), history).first is not None


def test_a_state_can_be_put_as_an_older_version_left_it() -> None:
    scenario = _begun(3).as_left_by(1, {"total": 3}).when("Looked")
    scenario.expect_state(price="300 EUR")
    assert [one.definition_version for one in scenario.history] == [1, 3]


def _two(old: Any, more: Any) -> Any:
    return old


async def _async(old: Any) -> Any:
    return old


@pytest.mark.parametrize(
    ("version", "upcasts", "told"),
    [
        (0, {}, "1 or more"),
        (1, {1: _raising}, r"say \.version\(2\)"),
        (3, {3: _raising}, r"say \.version\(4\)"),
        (3, {0: _raising}, "correct the number"),
        (2, {1: _two}, r"must take \(state\)"),
        (2, {1: _async}, "plain function"),
    ],
)
def test_wrong_versions_are_refused(version: int, upcasts: dict[int, Any], told: str) -> None:
    def _build() -> None:
        chain: Any = define_saga("Shop").version(version).state({}).on("Ordered", _begin)
        for old, function in upcasts.items():
            chain.upcast(old, function)
        chain.build()

    with pytest.raises(DefinitionError, match=told):
        _build()


def test_an_upcaster_is_given_once() -> None:
    chain: Any = define_saga("Shop").version(2).state({}).on("Ordered", _begin)
    chain.upcast(1)(_raising)
    with pytest.raises(DefinitionError, match="given twice"):
        chain.upcast(1, _raising)


# --- the hash: it names what the code does, not how it looks

MODULE = '''
from msgspec import Struct
from sagas import define_saga, send

class State(Struct):
    n: int = 0

class Payload(Struct):
    a: int = 0

from sagas import Message

def handle(saga, message: Message[Payload]):
    """What it does."""
    return send("job", {"a": 1})  # one

def older(old):
    return old

saga = (
    define_saga("S").version(2).state(State())
    .on("A", handle).on("B", lambda saga: None, starts=False)
    .upcast(1, older)
    .build()
)
'''


def _hash(folder: Path, name: str, source: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module.saga.hash


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ('"""What it does."""', '"""Other words."""', False),
        ("# one", "# two", False),
        (
            'return send("job", {"a": 1})',
            'return send(\n        "job",\n        {"a": 1},\n    )',
            False,
        ),
        (".state(State())\n", ".state(State())  # its state\n", False),
        ('define_saga("S")', 'define_saga("S").description("for people")', False),
        ('{"a": 1}', '{"a": 2}', True),
        ('.on("A"', '.on("A2"', True),
        ("n: int = 0", "n: int = 1", True),
        ("a: int", "a: str", True),
        (".version(2)", ".version(3)", True),
        ("return old", "return dict(old)", True),
        ("lambda saga: None", "lambda saga: send('x')", True),
        (", starts=False", ", starts=True", True),
    ],
)
def test_the_hash_changes_with_what_decides(
    tmp_path: Path, before: str, after: str, changes: bool
) -> None:
    assert before in MODULE
    first = _hash(tmp_path, "first", MODULE)
    second = _hash(tmp_path, "second", MODULE.replace(before, after, 1))
    assert (first != second) is changes


def test_code_without_its_looks() -> None:
    written = 'def f(a):\n    """Doc."""\n\n    # why\n    return  (a)\n'
    assert bare(written) == bare("def f(a):\n    return a")
    assert bare('    .on("A", lambda s: 1)  # x') == bare('.on("A",\n lambda s: 1)')
    assert bare("def f():\n    'only this'") == bare("def f():\n    pass")


def test_timers_and_the_clock_go_on_over_a_change() -> None:
    chain: Any = define_saga("Shop").version(2).state(Second(cents=0)).on("Ordered", _begin)
    seen: list[Any] = []

    def _rang(saga: SagaHandle[Any], message: Message[Any], context: Context[Any]) -> None:
        seen.append((type(saga.state).__name__, context.state, context.now))

    definition = chain.on("Rang", _rang).upcast(1, _first_to_second).build()

    old: Any = define_saga("Shop").state(First(7))
    old.on("Ordered", lambda saga: schedule({"type": "Rang"}, "1m"))
    scenario = given(old.build()).when("Ordered", {})
    _under(scenario, definition).advance("1m").expect_state(cents=700)
    assert seen == [("Second", Second(cents=700), NOON + timedelta(minutes=1))]
    assert structs.asdict(scenario.state) == {"cents": 700, "currency": "EUR"}
