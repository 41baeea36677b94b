"""Looking: ``sagas``, ``instances``, ``show``, ``history``. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec
import rich_click as click
from rich.text import Text

from sagas.effects import Cancel, Fail
from sagas.instance import Instance, Status
from server.commands.common import (
    API,
    CONNECTION,
    PANEL_API,
    PANEL_CONNECTION,
    json_option,
    run,
    settings_options,
)
from server.commands.output import (
    difference,
    effect_text,
    emit,
    full,
    note,
    pretty,
    say,
    short,
    status_text,
    table,
    time_text,
)
from server.commands.reach import check_saga, existing, open_session, saga_cards
from server.commands.runs import print_steps
from server.settings import Settings
from store.closing import closing
from store.diagnosis import Wait
from store.diagnosis_gather import Diagnosis
from store.lookup import LIST_MAX, Revision

STATUSES = get_args(Status)


@click.command()
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def sagas(settings: Settings, as_json: bool) -> None:
    """List the sagas that engines have registered, with their instances by status."""

    async def work() -> None:
        async with open_session(settings) as session:
            cards = await saga_cards(session)
            counts = await session.client.counts()
        if as_json:
            emit([{**full(card), "instances": counts.get(card.id, {})} for card in cards])
            return
        if not cards:
            note("no engine has registered a saga yet; start one with `snorri engine --app …`")
            return
        rows = []
        for card in cards:
            by_status = counts.get(card.id, {})
            shown = ", ".join(f"{n} {status}" for status, n in sorted(by_status.items()))
            rows.append((card.id, ", ".join(card.starting), ", ".join(card.types), shown or "none"))
        table(("saga", "started by", "handles", "instances"), rows)

    run(work())


@click.command()
@click.option("--saga", default=None, help="Only this saga.")
@click.option("--status", type=click.Choice(STATUSES), default=None, help="Only this status.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIST_MAX),
    default=50,
    show_default=True,
    help="How many, those changed last first.",
)
@click.option(
    "--where",
    default=None,
    metavar="SQL",
    help="A condition in SQL over the columns of instances; asks the running API.",
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION, more={PANEL_API: API})
@json_option
def instances(
    settings: Settings,
    saga: str | None,
    status: Status | None,
    limit: int,
    where: str | None,
    as_json: bool,
) -> None:
    """List instances, those changed last first."""
    if where is not None:
        # Not at the top: without a condition NATS is asked, and no HTTP client is needed.
        from server.commands.matching import print_matching

        print_matching(settings, where, saga, status, limit, as_json=as_json)
        return

    async def work() -> list[Revision]:
        async with open_session(settings) as session:
            found = await session.client.instances(saga, status, limit)
            if saga is not None and not found:
                await check_saga(session, saga)
            return found

    found = run(work())
    if as_json:
        emit([_summary(revision) for revision in found])
    elif not found:
        note("no instances; `snorri sagas` shows what starts one")
    else:
        table(("saga", "key", "status", "version", "changed", "by"), map(_row, found))


def _summary(revision: Revision) -> dict[str, object]:
    instance = revision.instance
    return {
        "saga": instance.saga,
        "key": instance.key,
        "version": instance.version,
        "status": instance.status,
        "started": instance.started,
        "at": instance.at,
        "seq": str(revision.seq),
        "error": instance.error.message if instance.error else None,
    }


def _row(revision: Revision) -> tuple[str | Text, ...]:
    i = revision.instance
    cause = i.cause.type or i.cause.kind
    return (i.saga, i.key, status_text(i.status), str(i.version), time_text(i.at), cause)


@click.command()
@click.argument("saga")
@click.argument("key")
@settings_options(*CONNECTION, "archive", panel=PANEL_CONNECTION)
@json_option
def show(settings: Settings, saga: str, key: str, as_json: bool) -> None:
    """Show an instance as it is now: state, what it waits for, what went wrong."""

    async def work() -> tuple[Revision, list[Wait], int]:
        async with open_session(settings) as session:
            revision = await existing(session, saga, key)
            diagnosis = Diagnosis(session.backend, session.names, now=session.now)
            archived = await session.client.archived(saga, key)
            return revision, await diagnosis.waits(revision.instance), archived

    revision, waits, archived = run(work())
    if as_json:
        document = msgspec.json.decode(msgspec.json.encode(revision.instance))
        emit({**document, "waitsFor": waits} if waits else document)
    else:
        _show(revision, waits)
        if archived:
            note(f"archived: versions 1 to {archived}")


def _show(revision: Revision, waits: Sequence[Wait]) -> None:
    i = revision.instance
    say(Text(f"{i.saga}/{i.key}  ", style="bold").append_text(status_text(i.status)))
    say(f"version {i.version}, revision {revision.seq}, definition {i.definition}")
    say(f"started {time_text(i.started)}, changed {time_text(i.at)}")
    say(f"by {_cause(i)}")
    if i.parent:
        say(f"child of {i.parent}")
    say("state", style="bold")
    say(pretty(i.state))
    if waits:
        say("waits for", style="bold")
        for wait in waits:
            say(f"  {wait.words}", style="yellow" if wait.overdue else "")
    print_steps(i)
    for undo in i.undo:
        if undo.type in i.steps:
            continue  # told beside its step
        error = f": {undo.error}" if undo.error else ""
        say(f"undo {undo.type}: {undo.status}, attempt {undo.attempts}{error}")
    if bytes(i.result) != b"null":
        say("result", style="bold")
        say(pretty(i.result))
    if i.error:
        say(f"{i.error.type}: {i.error.message}", style="red")
        if i.error.traceback:
            say(i.error.traceback, style="dim")


def _cause(i: Instance) -> str:
    who = f" by {i.cause.by}" if i.cause.by else ""
    why = f" ({i.cause.reason})" if i.cause.reason else ""
    return f"{i.cause.kind} {i.cause.type}{who}{why}"


@click.command()
@click.argument("saga")
@click.argument("key")
@click.option("--follow", "-f", is_flag=True, help="Go on as it changes, until it ends or Ctrl-C.")
@settings_options(*CONNECTION, "archive", panel=PANEL_CONNECTION)
@json_option
def history(settings: Settings, saga: str, key: str, follow: bool, as_json: bool) -> None:
    """Show every version of an instance, checked link by link; with --json one a line."""

    async def work() -> None:
        async with open_session(settings) as session:
            await existing(session, saga, key)
            last: Revision | None = None
            async with closing(session.client.history(saga, key)) as revisions:
                async for revision in revisions:
                    _print_version(revision, last, as_json)
                    last = revision
            if not follow or last is None or last.instance.finished:
                return
            watch = session.client.watch(saga, key, after=last.seq)
            async with closing(watch) as revisions:
                async for revision in revisions:
                    _print_version(revision, last, as_json)
                    last = revision
                    if revision.instance.finished:
                        return

    run(work())


def _print_version(revision: Revision, before: Revision | None, as_json: bool) -> None:
    """One version: what came, what it changed, what it sent, and an error that is new."""
    i = revision.instance
    if as_json:
        emit(i)
        return
    head = Text(f"{i.version:>4}  {time_text(i.at)}  ")
    head.append_text(status_text(i.status)).append(f"  {_cause(i)}")
    say(head)
    if before is None:
        say(f"      state {short(i.state, 160)}", style="dim")
    elif changed := difference(before.instance.state, i.state):
        say(f"      changed {short(changed, 160)}", style="dim")
    for effect in i.effects:
        say(f"      {effect_text(effect)}")
    told = any(isinstance(effect, (Fail, Cancel)) for effect in i.effects)
    known = before.instance.error if before is not None else None
    if i.error and i.error != known and not (told and i.finished):
        say(f"      {i.error.type}: {i.error.message}", style="red")
