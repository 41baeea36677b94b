"""Goal: the hash of a program tells every change of the code that decides or works for it.

Method: a module is written with one line changed at a time, loaded, and put into a registry.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sagas import Registry

MODULE = """
from typing import Any

from sagas import WorkflowSaga, entity, step, steps, workflow


@workflow("Buying")
async def buying(saga: WorkflowSaga, input: Any) -> Any:
    return await below(saga, input)


wallet = entity("Wallet")


@wallet.handler("pay")
async def pay(saga: WorkflowSaga, input: Any) -> Any:
    return await below(saga, input) or 1


async def undo(ctx: Any, data: Any) -> Any:
    return "undone"


@step("below", compensate=undo)
async def below(ctx: Any, input: Any) -> Any:
    return "done"


listed = steps("listed", [step("one", below.run, undo)])
"""


def _hashes(folder: Path, name: str, source: str) -> dict[str, str]:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registry = Registry([module.buying, module.wallet, module.listed])
    return {one.id: one.hash for one in registry}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("return await below(saga, input)\n", "return 5\n", {"Buying"}),
        ("or 1", "or 2", {"Wallet"}),
        ('return "done"', 'return "nothing"', {"Buying", "Wallet", "listed"}),
        ('return "undone"', 'return "what?"', {"Buying", "Wallet", "listed"}),
        (
            '"below", compensate',
            '"below", strict=False, compensate',
            {"Buying", "Wallet", "listed"},
        ),
        ("from typing", "from  typing", set()),
    ],
)
def test_a_change_of_code_changes_the_hash_of_what_it_concerns(
    tmp_path: Path, before: str, after: str, changed: set[str]
) -> None:
    assert before in MODULE
    first = _hashes(tmp_path, "first", MODULE)
    second = _hashes(tmp_path, "second", MODULE.replace(before, after, 1))
    assert {id for id in first if first[id] != second[id]} == changed
    assert all(len(hash) == 16 for hash in first.values())
