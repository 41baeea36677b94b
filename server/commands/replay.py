"""``snorri replay``: recorded messages through the definitions of an app, for people and for CI."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import msgspec
import rich_click as click
from msgspec import Raw
from rich.progress import Progress

from sagas.definition import SagaDefinition
from sagas.instance import Instance
from sagas.replay import Step
from server.commands.common import (
    CONNECTION,
    DONE,
    FAILED,
    PANEL_CONNECTION,
    Failed,
    json_option,
    run,
    settings_options,
)
from server.commands.output import console, emit, note, say, table
from server.commands.reach import Session, did_you_mean, existing, open_session
from server.loading import app_of
from server.settings import Settings
from store.replay_jobs import ReplayTally
from store.replaying import Replayed, replay_instance, replay_keys


@click.command(name="replay")
@click.argument("saga", required=False)
@click.argument("key", required=False)
@click.option("--to", type=click.IntRange(1), default=None, help="Only up to this version.")
@click.option("--all", "everything", is_flag=True, help="Every instance of --saga.")
@click.option("--saga", "of", default=None, help="With --all: the saga.")
@settings_options(*CONNECTION, "archive", "app", panel=PANEL_CONNECTION)
@json_option
def replay_command(
    settings: Settings,
    saga: str | None,
    key: str | None,
    to: int | None,
    everything: bool,
    of: str | None,
    as_json: bool,
) -> int:
    """What-if: run recorded messages through the definitions as they are now.

    Shows every transition that would differ; nothing is sent or stored. Exit code 1 when something
    differs, so that it can guard a deployment.
    """
    name = of or saga
    if name is None or everything == bool(key):
        raise click.UsageError("give SAGA and KEY, or --all with --saga SAGA")
    definition = _definition(settings, name)

    async def work() -> bool:
        async with open_session(settings) as session:
            if key:
                await existing(session, name, key)
                found = await replay_instance(session.client, definition, key, to=to)
                return _tell_one(definition, found, as_json)
            return await _tell_all(session, definition, to, as_json)

    return DONE if run(work()) else FAILED


def _definition(settings: Settings, saga: str) -> SagaDefinition:
    registry = app_of(settings).registry
    definition = registry.get(saga)
    if definition is None:
        near = did_you_mean(saga, [one.id for one in registry])
        raise Failed(f"the app defines no saga {saga!r}{near}; name its module with --app")
    return definition


def _tell_one(definition: SagaDefinition, found: Replayed, as_json: bool) -> bool:
    """Print the replay of one instance; whether it is as it was."""
    if found.fault:
        raise Failed(f"the history of {definition.id}/{found.key} can't be replayed: {found.fault}")
    if as_json:
        emit([_document(definition, found)])
    elif not found.changed:
        say(f"{definition.id}/{found.key}: all {found.versions} versions would be as they were")
    else:
        table(
            ("version", "message", "differs", "status then", "status now"),
            [_row(step) for step in found.kept],
        )
        note(f"{found.changed} of {found.versions} versions would differ")
    return not found.changed


async def _tell_all(
    session: Session, definition: SagaDefinition, to: int | None, as_json: bool
) -> bool:
    """Print what becomes of every instance, one at a time; whether all are as they were."""
    keys = sorted({key async for key in session.client.all_keys(definition.id)})
    keep = None if as_json else 1
    tally = ReplayTally()
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(definition.id, total=len(keys))
        found = replay_keys(session.client, definition, keys, to=to, keep=keep)
        async for one in _printed(definition, found) if as_json else found:
            tally.add(one)
            bar.advance(task)
    if not as_json:
        _summary(tally)
    return not (tally.differ or tally.unreadable)


async def _printed(
    definition: SagaDefinition, found: AsyncIterator[Replayed]
) -> AsyncIterator[Replayed]:
    """The same, each printed as an element of one JSON array before the next is asked for."""
    before = "["
    async for one in found:
        document = msgspec.json.encode(_document(definition, one)).decode()
        sys.stdout.write(f"{before}{document}")
        before = ",\n"
        yield one
    sys.stdout.write("]\n" if before != "[" else "[]\n")
    sys.stdout.flush()


def _row(step: Step) -> tuple[str, ...]:
    recorded, after = step.recorded, step.after
    differs = ", ".join(step.differs) or step.refused
    now = after.status if after else "no change"
    message = recorded.cause.type or recorded.cause.kind
    return (str(recorded.version), message, differs, recorded.status, now)


def _summary(tally: ReplayTally) -> None:
    if tally.differ:
        table(
            ("first differs at", "in", "instances", "for example"),
            [
                (kind.message, ", ".join(kind.differs), str(kind.count), kind.key)
                for kind in tally.by_count
            ],
        )
        if tally.more_kinds:
            note(f"{tally.more_kinds} more differ in other ways")
        say()
        table(
            ("key", "versions", "would differ", "first"),
            [
                (one.key, str(one.versions), str(one.changed), str(one.version))
                for one in tally.first
            ],
        )
        if tally.differ > len(tally.first):
            note(f"the first {len(tally.first)} of {tally.differ}; --json has them all")
    for fault in tally.faults:
        note(f"{fault.key} can't be replayed: {fault.why}")
    if tally.unreadable:
        say(f"{tally.unreadable} can't be replayed")
    say(f"{tally.differ} of {tally.done} instances would differ")


def _document(definition: SagaDefinition, found: Replayed) -> dict[str, object]:
    """JSON of a replay: counts, and each version that differs with both documents."""
    return {
        "saga": definition.id,
        "key": found.key,
        "versions": found.versions,
        "changed": found.changed,
        "fault": found.fault,
        "steps": [
            {
                "version": step.recorded.version,
                "differs": step.differs,
                "refused": step.refused,
                "recorded": _shown(step.recorded),
                "now": _shown(step.after) if step.after else None,
            }
            for step in found.kept
        ],
    }


def _shown(instance: Instance) -> Raw:
    return Raw(msgspec.json.encode(instance))
