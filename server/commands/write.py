"""Writing: ``publish`` events, one or a file of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import rich_click as click
from msgspec import Raw, Struct
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sagas.names import unescape
from server.commands.common import (
    CONNECTION,
    FAILED,
    PANEL_CONNECTION,
    UNREACHED,
    USAGE,
    Failed,
    json_option,
    json_text,
    run,
    settings_options,
)
from server.commands.output import console, emit, note, say
from server.commands.reach import (
    Session,
    did_you_mean,
    open_door,
    saga_cards,
)
from server.settings import Settings
from store.codec import SAGA
from store.events import NewEvent, Published, Rejected
from store.port import Refused

CHUNK_LINES = 500
LINE_BYTES_MAX = 2 * 1024 * 1024


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file to publish."""

    type: str
    payload: Raw = Raw(b"null")
    key: str | None = None
    id: str | None = None
    headers: dict[str, str] = {}


@click.command()
@click.argument("type", required=False)
@click.argument("payload", required=False, metavar="[JSON]")
@click.option("--key", default=None, help="Events with one key are handled in their order.")
@click.option("--id", default=None, help="The same id changes an instance at most once.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header, e.g. traceparent."
)
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    default=None,
    help='Publish many: a JSON document on each line, {"type","payload","key","id"}; - is stdin.',
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def publish(
    settings: Settings,
    type: str | None,
    payload: str | None,
    key: str | None,
    id: str | None,
    headers: tuple[str, ...],
    file: Path | None,
    as_json: bool,
) -> None:
    """Publish an event: TYPE and its payload as JSON, or - to read the JSON from stdin."""
    if file is not None:
        if type or payload or key or id or headers:
            raise Failed("--file stands alone; type, key and id stand in its lines", USAGE)
        size = None if str(file) == "-" else file.stat().st_size
        run(_publish_file(settings, str(file), size, as_json))
        return
    if type is None:
        raise Failed("give a TYPE and JSON, or --file FILE; see `snorri publish --help`", USAGE)
    raw = json_text(payload, "the payload")
    event = NewEvent(type=type, payload=raw, key=key, id=id, headers=_headers(headers))

    async def work() -> None:
        async with open_door(settings) as session:
            receipt = (await session.client.publish_many([event]))[0]
            handled = "" if as_json else await _handled_by(session, event)
        match receipt:
            case Published():
                if as_json:
                    again = receipt.duplicate
                    emit({"published": True, "seq": str(receipt.seq), "duplicate": again})
                    return
                again = " (its id was stored before; nothing new)" if receipt.duplicate else ""
                say(f"published {type} as {receipt.seq}{again}{handled}")
            case Rejected():
                if as_json:
                    rest = {"reason": receipt.reason, "retryable": receipt.retryable}
                    emit({"published": False, **rest})
                raise Failed(receipt.reason, UNREACHED if receipt.retryable else FAILED)

    run(work())


async def _handled_by(session: Session, event: NewEvent) -> str:
    """Words on which sagas take the event, as far as engines have told."""
    only = unescape(event.headers.get(SAGA, ""))
    try:
        registered = await saga_cards(session)
    except Refused:
        return ""  # whoever may only publish can't know
    cards = [card for card in registered if only in ("", card.id)]
    if registered and not cards:
        near = did_you_mean(only, [card.id for card in registered])
        return f"; there is no saga {only!r}{near}, it stays as a record"
    takers = [card.id for card in cards if event.type in card.types]
    if takers:
        return f"; for {', '.join(takers)}"
    known = sorted({type for card in cards for type in card.types})
    near = did_you_mean(event.type, known)
    return f"; no saga handles it{near}, it stays as a record" if cards else ""


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if not separator:
            raise Failed(f"--header {pair!r} has no =; write NAME=VALUE", USAGE)
        headers[name] = value
    return headers


async def _publish_file(settings: Settings, file: str, size: int | None, as_json: bool) -> None:
    published = 0
    rejected: list[tuple[int, Rejected]] = []
    with (
        click.open_file(file, "rb") as lines,
        Progress(
            TextColumn("publishing"),
            BarColumn(),
            TextColumn("{task.fields[done]} events"),
            TimeRemainingColumn(),
            console=console(stderr=True),
            transient=True,
            disable=not console(stderr=True).is_terminal,
        ) as progress,
    ):
        task = progress.add_task("publishing", total=size, done=0)
        async with open_door(settings) as session:
            for chunk, read in _chunks(lines):
                refused = await _publish_chunk(session, chunk)
                published += len(chunk) - len(refused)
                rejected += refused
                for number, receipt in refused:
                    note(f"line {number}: {receipt.reason}")
                progress.update(task, completed=read, done=published)
    if as_json:
        rows = [
            {"line": number, "reason": r.reason, "retryable": r.retryable} for number, r in rejected
        ]
        emit({"published": published, "rejected": rows})
    else:
        say(f"published {published} events, {len(rejected)} refused")
    if rejected:
        lost = all(receipt.retryable for _, receipt in rejected)
        raise Failed(
            f"{len(rejected)} lines were refused; correct them and publish only those again",
            UNREACHED if lost else FAILED,
        )


def _chunks(lines: IO[bytes]) -> Iterator[tuple[list[tuple[int, bytes]], int]]:
    """Numbered lines that are not blank, some at a time, with the bytes read so far."""
    chunk: list[tuple[int, bytes]] = []
    read = number = 0
    while line := lines.readline(LINE_BYTES_MAX + 1):
        number += 1
        read += len(line)
        if len(line) > LINE_BYTES_MAX:
            raise Failed(f"line {number} is over {LINE_BYTES_MAX} bytes; nothing after it was sent")
        if line.strip():
            chunk.append((number, line))
        if len(chunk) == CHUNK_LINES:
            yield chunk, read
            chunk = []
    if chunk:
        yield chunk, read


async def _publish_chunk(
    session: Session, chunk: list[tuple[int, bytes]]
) -> list[tuple[int, Rejected]]:
    """Publish lines, in their order for each key; those refused, with their numbers."""
    refused: list[tuple[int, Rejected]] = []
    events: list[NewEvent] = []
    numbers: list[int] = []
    for number, line in chunk:
        try:
            one = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append((number, Rejected(reason=f"not an event: {error}")))
            continue
        events.append(
            NewEvent(
                type=one.type, payload=one.payload, key=one.key, id=one.id, headers=one.headers
            )
        )
        numbers.append(number)
    receipts = await session.client.publish_many(events, "parallel")
    refused += [
        (number, receipt)
        for number, receipt in zip(numbers, receipts, strict=True)
        if isinstance(receipt, Rejected)
    ]
    return sorted(refused, key=lambda pair: pair[0])
