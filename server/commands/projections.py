"""``snorri rebuild``: the projections built anew, by the running API or, without one, here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import httpx
import msgspec
import rich_click as click
from msgspec import Struct
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from server.commands.api import check, open_api
from server.commands.common import (
    API,
    CONNECTION,
    PANEL_API,
    PANEL_CONNECTION,
    UNREACHED,
    Failed,
    json_option,
    run,
    settings_options,
)
from server.commands.output import console, emit, note, say, table
from server.loading import app_of
from server.settings import Settings
from store.projection.port import WriteError

ANSWER_S = 30.0
POLL_S = 0.2

Tell = Callable[[float], None]


class RowCount(Struct, frozen=True, kw_only=True):
    """Rows of a table before (None: nothing to compare with) and after."""

    table: str
    before: int | None
    after: int


class Rebuild(Struct, frozen=True, kw_only=True):
    """What the API says of its last rebuild."""

    status: str
    part: float
    seconds: float | None
    counts: list[RowCount]
    error: str


class State(Struct, frozen=True, kw_only=True):
    """What the API says of its projections."""

    rebuild: Rebuild | None


@click.command()
@json_option
@settings_options(*API, panel=PANEL_API, more={PANEL_CONNECTION: (*CONNECTION, "archive", "app")})
def rebuild(settings: Settings, as_json: bool) -> None:
    """Build the projections (lists, SQL) anew from both streams.

    A running `snorri dev` or `snorri serve` does it and goes on reading the old ones meanwhile;
    without one it is done here, on the data directory.
    """
    with _progress() as progress:
        task = progress.add_task("rebuilding", total=1.0)

        def tell(part: float) -> None:
            progress.update(task, completed=part)

        try:
            counts, seconds = _ask(settings, tell)
        except Failed as error:
            if error.code != UNREACHED:
                raise
            note("no API answers, so it is done here")
            counts, seconds = _do(settings, tell)
    _show(counts, seconds, as_json=as_json)


def _progress() -> Progress:
    return Progress(
        TextColumn("rebuilding"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
        disable=not console(stderr=True).is_terminal,
    )


def _ask(settings: Settings, tell: Tell) -> tuple[Sequence[RowCount], float]:
    """Have the running API do it, and follow how far it is; raises Failed."""
    with open_api(settings, ANSWER_S) as client:
        check(client.post("/api/v1/projections/rebuild"))
        while (now := _state(client)).status == "running":
            tell(now.part)
            time.sleep(POLL_S)
    if now.status == "failed":
        raise Failed(f"the projections could not be rebuilt: {now.error}")
    return now.counts, now.seconds or 0.0


def _state(client: httpx.Client) -> Rebuild:
    answer = client.get("/api/v1/projections")
    check(answer)
    found = msgspec.json.decode(answer.content, type=State).rebuild
    if found is None:
        raise Failed("the API was started anew meanwhile; ask it again")
    return found


def _do(settings: Settings, tell: Tell) -> tuple[Sequence[RowCount], float]:
    """Do it in this process; raises Failed, SetupError, StoreError."""
    from server.rebuilding import rebuild_here  # what it imports takes a moment

    try:
        rebuilt = run(rebuild_here(settings, app_of(settings), tell))
    except WriteError as error:
        raise Failed(str(error)) from error
    counts = [
        RowCount(table=name, before=rebuilt.before.get(name), after=count)
        for name, count in rebuilt.after.items()
    ]
    return counts, rebuilt.seconds


def _show(counts: Sequence[RowCount], seconds: float, *, as_json: bool) -> None:
    differ = [row.table for row in counts if row.before not in (None, row.after)]
    if as_json:
        emit({"seconds": seconds, "counts": msgspec.to_builtins(counts), "same": not differ})
        return
    shown = [
        (row.table, "" if row.before is None else str(row.before), str(row.after)) for row in counts
    ]
    table(("table", "rows before", "rows now"), shown)
    say(f"rebuilt in {seconds:.1f} s")
    if differ:
        note(
            f"{', '.join(differ)} had another number of rows; what is there now comes from the"
            " streams alone. `snorri doctor` says whether those are whole"
        )
