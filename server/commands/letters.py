"""``dead-letters``: messages that can make no progress; list, send again, put aside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import rich_click as click

from server.commands.common import (
    CONNECTION,
    PANEL_CONNECTION,
    Failed,
    ListingGroup,
    actor,
    by_options,
    json_option,
    json_text,
    origin,
    run,
    settings_options,
)
from server.commands.output import emit, full, note, pretty, say, table, time_text
from server.commands.reach import Session, did_you_mean, open_session
from server.settings import Settings
from store.codec import DeadLetter, DeadLetterStatus
from store.dead_letters import LIST_MAX, LetterReply
from store.port import Stored


@click.group("dead-letters", cls=ListingGroup)
def dead_letters() -> None:
    """Messages that no saga took, commands that were given up; without a command, list."""


@dead_letters.command("list")
@click.option(
    "--status",
    type=click.Choice(["open", "redriven", "discarded", "all"]),
    default="open",
    show_default=True,
    help="Which ones.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, LIST_MAX),
    default=50,
    show_default=True,
    help="How many, those changed last first.",
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def list_command(settings: Settings, status: str, limit: int, as_json: bool) -> None:
    """List dead letters."""
    wanted = None if status == "all" else cast("DeadLetterStatus", status)

    async def work() -> list[DeadLetter]:
        async with open_session(settings) as session:
            return await session.client.dead_letters(wanted, limit)

    letters = run(work())
    if as_json:
        emit([full(letter) for letter in letters])
    elif not letters:
        note("no dead letters" if wanted is None else f"no {status} dead letters")
    else:
        rows = [
            (one.id, one.status, one.type, f"{one.saga}/{one.key}".strip("/"), one.reason)
            for one in letters
        ]
        table(("id", "status", "type", "for", "reason"), rows)


@dead_letters.command("show")
@click.argument("id")
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def show_command(settings: Settings, id: str, as_json: bool) -> None:
    """Show a dead letter with its message."""

    async def work() -> tuple[DeadLetter, Stored | None]:
        async with open_session(settings) as session:
            found = await session.client.dead_letter(id)
            if found is None:
                raise Failed(await _unknown(session, id))
            return found

    letter, message = run(work())
    if as_json:
        emit({**full(letter), "message": _message(message)})
        return
    say(f"{letter.id}  {letter.status}", style="bold")
    say(f"{letter.type} of {time_text(letter.at)}, {letter.stream} {letter.seq}")
    if letter.saga:
        say(f"for {letter.saga}/{letter.key}")
    if letter.command:
        say(f"command {letter.command}")
    say(letter.reason, style="red")
    if letter.by or letter.note:
        say(f"{letter.status} by {letter.by}: {letter.note}")
    if message is None:
        say("its message is not stored any more")
    else:
        for name, value in message.headers.items():
            say(f"{name}: {value}", style="dim")
        try:
            say(pretty(message.data))
        except msgspec.DecodeError:
            say(repr(message.data))


def _message(stored: Stored | None) -> object:
    if stored is None:
        return None
    try:
        body: object = msgspec.json.decode(stored.data)
    except msgspec.DecodeError:
        body = stored.data.decode(errors="replace")
    return {"subject": stored.subject, "headers": dict(stored.headers), "payload": body}


async def _unknown(session: Session, id: str) -> str:
    known = [letter.id for letter in await session.client.dead_letters(None, LIST_MAX)]
    near = did_you_mean(id, known)
    return f"there is no dead letter {id!r}{near}; `snorri dead-letters list` lists them"


@dead_letters.command("redrive")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--payload", default=None, metavar="JSON", help="Send this instead; - is stdin.")
@by_options
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def redrive_command(
    settings: Settings,
    ids: tuple[str, ...],
    payload: str | None,
    by: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Send the messages of dead letters again, or a job's command; each only once."""
    raw = json_text(payload, "--payload")
    who = actor(by)

    async def one(session: Session, id: str) -> LetterReply:
        changed = msgspec.UNSET if raw is None else raw
        return await session.client.redrive(
            id, by=who, reason=reason, payload=changed, origin=origin()
        )

    _each(settings, ids, one, "redriven", as_json)


@dead_letters.command("discard")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@by_options
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def discard_command(
    settings: Settings, ids: tuple[str, ...], by: str | None, reason: str, as_json: bool
) -> None:
    """Put dead letters aside; their messages stay stored."""
    who = actor(by)

    async def one(session: Session, id: str) -> LetterReply:
        return await session.client.discard(id, by=who, reason=reason, origin=origin())

    _each(settings, ids, one, "discarded", as_json)


@dead_letters.command("restore")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@by_options
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def restore_command(
    settings: Settings, ids: tuple[str, ...], by: str | None, reason: str, as_json: bool
) -> None:
    """Put discarded dead letters back among the open ones."""
    who = actor(by)

    async def one(session: Session, id: str) -> LetterReply:
        return await session.client.restore(id, by=who, reason=reason, origin=origin())

    _each(settings, ids, one, "restored", as_json)


def _each(
    settings: Settings,
    ids: tuple[str, ...],
    act: Callable[[Session, str], Awaitable[LetterReply]],
    done: str,
    as_json: bool,
) -> None:
    async def work() -> list[LetterReply]:
        async with open_session(settings) as session:
            replies = [await act(session, id) for id in ids]
            return [await _with_near(session, reply) for reply in replies]

    replies = run(work())
    if as_json:
        emit([full(reply) for reply in replies])
    else:
        for reply in replies:
            if reply.done:
                say(f"{reply.id} {done}" + (f", stored as {reply.seq}" if reply.seq else ""))
    refused = [reply for reply in replies if not reply.done]
    if refused:
        raise Failed("\n".join(reply.reason for reply in refused))


async def _with_near(session: Session, reply: LetterReply) -> LetterReply:
    if reply.done or await session.client.dead_letter(reply.id) is not None:
        return reply
    changes: dict[str, Any] = {"reason": await _unknown(session, reply.id)}
    return msgspec.structs.replace(reply, **changes)
