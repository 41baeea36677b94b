"""Goal: random trees of steps end as the model of ten lines says, whatever is killed in the middle.

Method: lists and workflows of nested groups, whose steps fail, run into time-outs or work at the
second attempt, and whose undos fail too, are run many at a time while engine and worker, apart or
in one process, are killed with -9. The order in which steps ended is read from the causes in the
log, what was done from the ledger that the functions themselves write. An operator retries parked
runs or skips their undo. SNORRI_TEST_LONG=1 kills more.
"""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from sagas.instance import Instance
from sagas.programs.steps import AnyStep
from store.client import SagaClient
from store.port import Backend
from tests.chaos.checks import histories
from tests.chaos.processes import Process, World
from tests.chaos.tree_runner import Tree, make_trees
from tests.conftest import LONG
from tests.step_trees import as_sets, to_undo
from tests.waiting import any_moment, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600 if LONG else 120)]

TREES = 12
WAVE = 2  # runs of each tree that are begun before a kill
ROLES = {"apart": ("engine", "worker"), "one-process": ("both",)}
KILLS = {"apart": 12 if LONG else 2, "one-process": 8 if LONG else 1}
LINES_BETWEEN = 12  # of the ledger, from a start to a kill
END_S = 60.0

History = list[Instance]


@pytest.mark.parametrize("how", ROLES)
async def test_killed_trees_end_as_the_model_says(
    home: World, chance: random.Random, seed: int, how: str
) -> None:
    backend = await home.backend()
    trees = {tree.definition.id: tree for tree in make_trees(seed, TREES)}
    processes = {role: await _start(home, role, seed) for role in ROLES[how]}
    for wave in range(KILLS[how]):
        for number in range(wave * WAVE, (wave + 1) * WAVE):
            for tree in trees:
                await backend.door.publish(home.names.event(tree, f"r-{number}"), b"{}", {}, "")
        await _work_done(home, len(_lines(home)) + LINES_BETWEEN)
        await any_moment(chance, 0.0, 0.1)
        process = processes[chance.choice(ROLES[how])]
        await process.end()
        await process.start()
    ended = await _all_ended(home, backend, chance, TREES * WAVE * KILLS[how])
    assert len(_lines(home)) > len(set(_lines(home))), "no attempt was made twice"
    done = _ledger(home)
    for (saga, key), history in ended.items():
        assert _complaints(trees[saga], history, done[f"{saga}/{key}"]) == [], (seed, saga, key)


async def _start(home: World, role: str, seed: int) -> Process:
    names = (home.server.url, home.names.namespace, home.names.bucket)
    made = home.process("-m", "tests.chaos.tree_runner", role, str(seed), str(TREES), *names)
    return await made.start()


def _complaints(tree: Tree, history: History, done: dict[str, set[str]]) -> list[object]:
    """What is wrong with a run, by the model; empty when nothing is."""
    by_name = dict(tree.definition.program.steps) if tree.definition.program else {}
    ends = [(by_name[name], well) for name, well in _ends(history) if not by_name[name].background]
    last = history[-1]
    undone = [name.removeprefix("-") for name in done if name.startswith("-")]
    failed_undo = any(one.status == "failed" for one in last.undo)
    if all(well for _, well in ends):
        wanted, status = [], "completed"
    else:
        wanted = to_undo(ends)
        status = "compensated" if wanted and not failed_undo else "failed"
    found: list[object] = []
    if last.status != status:
        found.append(f"it is {last.status}, not {status}")
    if as_sets(undone, ends) != as_sets(wanted, ends):
        found.append(("undone", undone, "wanted", wanted))
    found += [f"{what} was done as {ids}" for what, ids in done.items() if len(ids) != 1]
    found += _wrong_ends(tree, ends)
    if status == "completed":
        waited_for = {name for name, one in by_name.items() if not one.background}
        found += sorted(waited_for - {one.name for one, _ in ends})
    return found


def _wrong_ends(tree: Tree, ends: list[tuple[AnyStep, bool]]) -> list[object]:
    """Steps that did not end as they had to, or twice."""
    names = [one.name for one, _ in ends]
    wrong: list[object] = [
        (one.name, well) for one, well in ends if tree.fates[one.name].fails == well
    ]
    return [*wrong, *(name for name in set(names) if names.count(name) > 1)]


def _ends(history: History) -> list[tuple[str, bool]]:
    """Which steps ended, in order, and whether well; read from the messages that were taken."""
    found: list[tuple[str, bool]] = []
    for before, after in pairwise(history):
        command = before.commands.get(after.cause.answers)
        if command is not None and command.step and not command.undo:
            found.append((command.step, after.cause.type != "Snorri-Failed"))
    return found


async def _all_ended(
    home: World, backend: Backend, chance: random.Random, runs: int
) -> dict[tuple[str, str], History]:
    """All runs with no step on its way; parked ones are retried or skipped until then."""
    client = SagaClient(backend, home.names)

    async def all_ended() -> dict[tuple[str, str], History]:
        found = await histories(backend, home.names)
        for (saga, key), history in found.items():
            if history[-1].status == "parked":
                action = chance.choice(("retry", "retry", "skip"))
                await client.act(saga, key, action, by="tester", reason="chaos")
        over = [h[-1] for h in found.values() if h[-1].finished and not h[-1].commands]
        return found if len(over) == runs else {}

    return await eventually(all_ended, END_S, "all runs having ended")


async def _work_done(home: World, lines: int) -> None:
    await eventually(lambda: len(_lines(home)) >= lines, END_S, "steps being run")


def _lines(home: World) -> list[str]:
    return home.ledger.read_text().splitlines() if home.ledger.exists() else []


def _ledger(home: World) -> dict[str, dict[str, set[str]]]:
    """For each run what was done, in the order it was first done, and under which command ids."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for line in _lines(home):
        what, run, id = line.split(" ")
        found[run].setdefault(what, set()).add(id)
    return found
