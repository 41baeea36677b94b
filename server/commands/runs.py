"""``start``: an instance by hand, and how it goes; the steps of a run as commands show them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import msgspec
import rich_click as click
from msgspec import Raw
from rich.text import Text

from sagas.instance import Instance, StepRecord
from server.commands.common import (
    CONNECTION,
    PANEL_CONNECTION,
    USAGE,
    Failed,
    actor,
    json_option,
    json_text,
    origin,
    run,
    settings_options,
)
from server.commands.output import (
    console,
    emit,
    full,
    note,
    pretty,
    say,
    short,
    status_text,
    table,
)
from server.commands.reach import Session, check_saga, open_session
from server.correlation import NoKey, key_of
from server.settings import Settings
from store.cards import SagaCard
from store.closing import closing
from store.codec import ActionReply
from store.operations import SETTLED
from store.run_result import result_of

OUTPUT_CHARS = 60

Tell = Callable[[Instance], None]


@click.command()
@click.argument("saga")
@click.argument("payload", metavar="JSON", default="null")
@click.option(
    "--key",
    default=None,
    help="The instance's key; default: the one that the input names, or a new one.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until it has ended: show its result and its steps, and fail unless it ended well.",
)
@click.option("--by", default=None, help="Who starts it. Default: your login name.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 86400),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the outcome.",
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def start(
    settings: Settings,
    saga: str,
    payload: str,
    key: str | None,
    wait: bool,
    by: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Start an instance by hand with the payload of its starting message (- is stdin)."""
    input = json_text(payload, "the input")

    async def work() -> tuple[ActionReply, Instance | None]:
        async with open_session(settings) as session:
            card = await check_saga(session, saga)
            wanted = key if key is not None else _key_of(card, input)
            await _check_new(session, saga, wanted)
            reply = await session.client.start(
                saga, input, key=wanted, by=actor(by), timeout_s=timeout_s, origin=origin()
            )
            if not (wait and reply.done):
                return reply, None
            tell = _progress() if console(stderr=True).is_terminal and not as_json else None
            return reply, await _end_of(session, reply, timeout_s, tell)

    reply, ended = run(work())
    if as_json:
        emit(full(reply) if ended is None else _document(reply, ended))
    if not reply.done:
        raise Failed(reply.reason)
    if ended is None:
        if not as_json:
            say(f"{saga}/{reply.key} is {reply.status} at version {reply.version}")
        if reply.status == "parked":
            raise Failed(f"it could not begin; see `snorri show {saga} {reply.key}`")
        return
    if not as_json:
        _print_end(ended)
    if ended.status != "completed":
        raise Failed(f"it did not complete; see `snorri show {saga} {reply.key}`")


async def _end_of(
    session: Session, reply: ActionReply, timeout_s: float, tell: Tell | None
) -> Instance:
    """The instance when it has ended or stopped for an operator; raises Failed when it takes
    longer than ``timeout_s``.
    """
    saga, key = reply.saga, reply.key
    try:
        async with (
            asyncio.timeout(timeout_s),
            closing(session.client.watch(saga, key, reply.seq - 1)) as revisions,
        ):
            async for revision in revisions:
                if tell is not None:
                    tell(revision.instance)
                if revision.instance.status in SETTLED:
                    return revision.instance
    except TimeoutError:
        raise Failed(
            f"{saga}/{key} was started and has not ended within {timeout_s:g} s; "
            f"follow it with `snorri history {saga} {key} --follow`"
        ) from None
    raise Failed("the connection was closed while waiting for the outcome; look again")


def _progress() -> Tell:
    """Tells on stderr what steps and undos have come to, each once."""
    told: set[str] = set()

    def tell(instance: Instance) -> None:
        lines = [f"{id}: {_stands(record)}" for id, record in instance.steps.items()]
        lines += [f"{undo.type}: undo {undo.status}" for undo in instance.undo]
        for line in lines:
            if line not in told:
                told.add(line)
                note(f"  {line}")

    return tell


def _stands(record: StepRecord) -> str:
    tries = f" after {record.attempts} attempts" if record.attempts > 1 else ""
    return f"{record.status}{tries}" + (f": {record.error}" if record.error else "")


def _document(reply: ActionReply, ended: Instance) -> dict[str, object]:
    result = result_of(ended)
    outcome = {_camel(name): value for name, value in full(result).items()}
    return {**full(reply), **outcome}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _print_end(ended: Instance) -> None:
    result = result_of(ended)
    head = Text(f"{ended.saga}/{ended.key} is ").append_text(status_text(ended.status))
    say(head.append(f" at version {ended.version}"))
    print_steps(ended)
    if result.success and bytes(ended.result) != b"null":
        say("result", style="bold")
        say(pretty(ended.result))
    if result.error:
        code = f" ({result.code})" if result.failed_step else ""
        say(f"{result.error}{code}", style="red")
    if result.compensated_steps:
        say(f"undone, in this order: {', '.join(result.compensated_steps)}")


def print_steps(instance: Instance) -> None:
    """A table of the steps of a run as it stands, with their undos; nothing for other sagas."""
    if not instance.steps:
        return
    undos = {undo.type: undo for undo in instance.undo}
    rows: list[tuple[str | Text, ...]] = []
    for id, record in instance.steps.items():
        undo = undos.get(id)
        failed = undo.error if undo and undo.error else record.error
        rows.append(
            (
                f"{id} (background)" if record.background else id,
                _status(record),
                str(record.attempts),
                _took(instance, record),
                "" if undo is None else f"{undo.status}, attempt {undo.attempts}",
                failed or ("" if bytes(record.output) == b"null" else _output(record)),
            )
        )
    table(("step", "status", "attempts", "took", "undo", "output or error"), rows)


def _status(record: StepRecord) -> Text:
    words = "waiting" if record.status == "running" and record.kind != "step" else record.status
    style = {"failed": "red", "completed": "green", "running": "cyan"}.get(record.status, "dim")
    return Text(words, style=style)


def _output(record: StepRecord) -> str:
    return short(record.output, OUTPUT_CHARS)


def _took(instance: Instance, record: StepRecord) -> str:
    took: timedelta = (record.ended or instance.at) - record.started
    so_far = "" if record.ended else "+"
    return f"{took.total_seconds():.3f} s{so_far}"


def _key_of(card: SagaCard, input: Raw | None) -> str | None:
    """The key that the input names; raises Failed when it can't be told."""
    try:
        return key_of(card, None if input is None else msgspec.json.decode(input))
    except NoKey as error:
        raise Failed(f"{error} with --key", USAGE) from None


async def _check_new(session: Session, saga: str, key: str | None) -> None:
    """Raise Failed when the instance is there: started twice, it would do its work twice."""
    there = None if key is None else await session.client.latest(saga, key)
    if there is not None:
        raise Failed(
            f"{saga}/{key} exists and is {there.instance.status}; look at it with `snorri show`, "
            "start another --key, or publish the message if it shall have it again"
        )
