"""What must hold after any chaos, read from the log, the events and the ledger themselves.

I1 and I3 of the reliability plan: versions 1..n without gaps, each continuing the one before; every
command in the stream belongs to exactly one transition, and every transition's commands are there;
no effect of a job was made under two idempotency keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sagas.effects import Send
from sagas.instance import Instance, decode, document_hash
from store import codec
from store.port import Backend, Stored
from store.subjects import Names


async def histories(backend: Backend, names: Names) -> dict[tuple[str, str], list[Instance]]:
    """All instances with all their versions, chains verified."""
    found: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    prev: dict[tuple[str, str], str] = {}
    async for stored in backend.log.history(names.instances()):
        instance = decode(stored.data)
        name = (instance.saga, instance.key)
        assert names.parse_instance(stored.subject) == name
        assert instance.version == len(found[name]) + 1, f"{name}: a version is missing or twice"
        assert instance.prev == prev.get(name, ""), f"{name}: version {instance.version} is torn"
        prev[name] = document_hash(stored.data)
        found[name].append(instance)
    return found


async def commands(backend: Backend, names: Names) -> dict[str, list[Stored]]:
    """All commands in the log by their id."""
    found: dict[str, list[Stored]] = defaultdict(list)
    async for stored in backend.log.history(f"{names.namespace}.commands.>"):
        found[stored.headers[codec.COMMAND_ID]].append(stored)
    return found


async def check_commands(
    backend: Backend, names: Names, found: dict[tuple[str, str], list[Instance]]
) -> int:
    """Commands and transitions match one to one; how many commands there are."""
    wanted = [
        effect.id
        for history in found.values()
        for instance in history
        for effect in instance.effects
        if isinstance(effect, Send) and not (effect.gated or effect.inline)
    ]
    stored = await commands(backend, names)
    assert len(wanted) == len(set(wanted)), "a command was emitted by two transitions"
    assert set(stored) == set(wanted), "commands without a transition, or transitions without"
    assert all(len(copies) == 1 for copies in stored.values()), "a command is in the log twice"
    return len(wanted)


def effects_of(ledger: Path) -> dict[tuple[str, str], set[str]]:
    """For each (job, order) the idempotency keys under which it was done."""
    done: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in ledger.read_text().splitlines():
        what, order, command = line.split(" ")
        done[what, order].add(command)
    return done


def check_ledger(ledger: Path, expected: Iterable[tuple[str, str]]) -> int:
    """Each expected (job, order) was done under one key, and nothing else; how often jobs ran."""
    done = effects_of(ledger)
    assert set(done) == set(expected)
    twice = {name: keys for name, keys in done.items() if len(keys) != 1}
    assert not twice, f"done under several keys: {twice}"
    return len(ledger.read_text().splitlines())
