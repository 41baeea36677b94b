"""``snorri replay``: recorded messages through the definitions of an app, for people and for CI."""

from __future__ import annotations

from typing import Any

import msgspec
import rich_click as click
from msgspec import Raw
from rich.progress import Progress

from sagas.definition import SagaDefinition
from sagas.instance import Instance
from sagas.replay import Replay, Step, replay
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
from server.commands.reach import Session, app_of, did_you_mean, existing, open_session
from server.settings import Settings


@click.command(name="replay")
@click.argument("saga", required=False)
@click.argument("key", required=False)
@click.option("--to", type=click.IntRange(1), default=None, help="Only up to this version.")
@click.option("--all", "everything", is_flag=True, help="Every instance of --saga.")
@click.option("--saga", "of", default=None, help="With --all: the saga.")
@settings_options(*CONNECTION, "app", panel=PANEL_CONNECTION)
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

    async def work() -> list[Replay]:
        async with open_session(settings) as session:
            if key:
                await existing(session, name, key)
                return [await _replayed(session, definition, key, to)]
            return await _all(session, definition, to)

    found = run(work())
    if as_json:
        emit([_document(one) for one in found])
    elif key:
        _print(found[0])
    else:
        _summary(found)
    return FAILED if any(one.changed for one in found) else DONE


def _definition(settings: Settings, saga: str) -> SagaDefinition:
    registry = app_of(settings).registry
    definition = registry.get(saga)
    if definition is None:
        near = did_you_mean(saga, [one.id for one in registry])
        raise Failed(f"the app defines no saga {saga!r}{near}; name its module with --app")
    return definition


async def _replayed(
    session: Session, definition: SagaDefinition, key: str, to: int | None
) -> Replay:
    history = [one.instance async for one in session.client.history(definition.id, key)]
    return replay(definition, history[:to])


async def _all(session: Session, definition: SagaDefinition, to: int | None) -> list[Replay]:
    keys = await session.client.keys(definition.id)
    found: list[Replay] = []
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(definition.id, total=len(keys))
        for key in keys:
            found.append(await _replayed(session, definition, key, to))
            bar.advance(task)
    return found


def _print(found: Replay) -> None:
    changed = [step for step in found.steps if not step.same]
    if not changed:
        say(f"{found.saga}/{found.key}: all {len(found.steps)} versions would be as they were")
        return
    table(
        ("version", "message", "differs", "status then", "status now"),
        [_row(step) for step in changed],
    )
    note(f"{len(changed)} of {len(found.steps)} versions would differ")


def _row(step: Step) -> tuple[str, ...]:
    recorded, after = step.recorded, step.after
    differs = ", ".join(step.differs) or step.refused
    now = after.status if after else "no change"
    message = recorded.cause.type or recorded.cause.kind
    return (str(recorded.version), message, differs, recorded.status, now)


def _summary(found: list[Replay]) -> None:
    changed = [one for one in found if one.changed]
    if changed:
        table(
            ("key", "versions", "would differ", "first"),
            [
                (one.key, str(len(one.steps)), str(one.changed), str(one.first.recorded.version))
                for one in changed
                if one.first is not None
            ],
        )
    say(f"{len(changed)} of {len(found)} instances would differ")


def _document(found: Replay) -> dict[str, Any]:
    """JSON of a replay: counts, and each version that differs with both documents."""
    return {
        "saga": found.saga,
        "key": found.key,
        "versions": len(found.steps),
        "changed": found.changed,
        "steps": [
            {
                "version": step.recorded.version,
                "differs": step.differs,
                "refused": step.refused,
                "recorded": _shown(step.recorded),
                "now": _shown(step.after) if step.after else None,
            }
            for step in found.steps
            if not step.same
        ],
    }


def _shown(instance: Instance) -> Raw:
    return Raw(msgspec.json.encode(instance))
