"""Where the instances of a saga stand by their commands, judged by the documents themselves.

The story of ``projected`` has open, gated, answered, failed and parked commands of several sagas.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from sagas.instance import Instance
from store.duck.file import DuckFile
from store.lookup import revision_of
from store.projection.jobs import AtStep, at_steps
from store.projection.port import Progress
from tests.unit.store.projected import Story, tables_of, tell

pytestmark = pytest.mark.asyncio

R = TypeVar("R")


class _Tables:
    """The tables of a file as a read model."""

    progress = Progress()

    def __init__(self, file: DuckFile) -> None:
        self._file = file

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        with self._file.cursor() as cursor:
            cursor.execute(sql, dict(parameters))
            names = [column[0] for column in cursor.description or ()]
            found = [dict(zip(names, one, strict=True)) for one in cursor.fetchall()]
        return msgspec.convert(found, list[row])

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return True


def _expected(story: Story, saga: str) -> set[AtStep]:
    prefix = story.names.instances().removesuffix("*.*")
    last: dict[str, Instance] = {}
    for message in story.log:
        if message.subject.startswith(prefix):
            one = revision_of(message).instance
            if one.saga == saga:
                last[one.key] = one
    waiting, parked = Counter[str](), Counter[str]()
    for one in last.values():
        for id, command in one.commands.items():
            stopped = one.parked is not None and one.parked.command == id
            (parked if stopped else waiting)[command.target] += 1
    return {AtStep(name, waiting[name], parked[name]) for name in waiting.keys() | parked.keys()}


async def test_open_and_parked_commands_are_counted_by_their_target(tmp_path: Path) -> None:
    story = await asyncio.to_thread(asyncio.run, tell())
    file = tables_of(tmp_path, story)
    read = _Tables(file)
    sagas = ("Order", "Keyed", "Nobody")
    found = {saga: set(await at_steps(read, saga)) for saga in sagas}
    assert found == {saga: _expected(story, saga) for saga in sagas}
    assert any(one.parked for one in found["Order"])
    assert any(one.waiting for one in found["Order"])
    file.close()
