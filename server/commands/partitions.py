"""``partitions``: who works on which, how far each has come, and another number of them."""

from __future__ import annotations

import rich_click as click

from server.commands.common import CONNECTION, PANEL_CONNECTION, json_option, run, settings_options
from server.commands.output import emit, note, say, table, time_text
from server.commands.reach import open_session
from server.connecting import broker_of, names_of
from server.knock import knock
from server.login import login_of
from server.settings import Settings
from store.jetstream.repartition import change_partitions
from store.jetstream.topology import PARTITIONS_MAX
from store.partitions import PartitionState, partition_states

HEADINGS = ("partition", "engine", "since", "waiting", "events", "signals", "moved")
NOBODY = "nobody"


@click.command()
@click.option(
    "--change",
    "count",
    type=click.IntRange(1, PARTITIONS_MAX),
    default=None,
    metavar="NUMBER",
    help="Have another number of them; no engine may run, and all must have been read.",
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def partitions(settings: Settings, count: int | None, as_json: bool) -> None:
    """Show which engine works on which partition, since when, and what waits in each."""
    if count is not None:
        _change(settings, count, as_json)
        return

    async def work() -> list[PartitionState]:
        async with open_session(settings) as session:
            return await partition_states(session.backend, session.names)

    states = run(work())
    if as_json:
        emit(states)
        return
    table(HEADINGS, [_row(state) for state in states])
    orphans = [str(state.partition) for state in states if not state.engine]
    if orphans:
        note(f"nobody works on {', '.join(orphans)}; start an engine with `snorri engine --app …`")


def _change(settings: Settings, count: int, as_json: bool) -> None:
    async def work() -> tuple[int, int]:
        async with broker_of(settings) as url:
            await knock(url)
            return await change_partitions(
                *(url, names_of(settings), count), login=login_of(settings)
            )

    before, now = run(work())
    if as_json:
        emit({"before": before, "partitions": now})
    elif before == now:
        say(f"there are {now} partitions already")
    else:
        say(f"there are {now} partitions now, {before} before")
        say(f"set SNORRI_PARTITIONS={now} for every engine and start them; restart the APIs")


def _row(state: PartitionState) -> tuple[str, ...]:
    since, moved = (time_text(at) if at else "-" for at in (state.since, state.moved_at))
    return (
        *(str(state.partition), state.engine or NOBODY, since),
        *(str(state.waiting), str(state.events), str(state.signals), moved),
    )
