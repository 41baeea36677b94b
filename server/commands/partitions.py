"""``partitions``: who works on which, how far each has come, and another number of them."""

from __future__ import annotations

import rich_click as click

from server.commands.common import CONNECTION, PANEL_CONNECTION, json_option, run, settings_options
from server.commands.output import emit, note, table, time_text
from server.commands.reach import open_session
from server.settings import Settings
from store.partitions import PartitionState, partition_states

HEADINGS = ("partition", "engine", "since", "waiting", "events", "signals", "moved")
NOBODY = "nobody"


@click.command()
@settings_options(*CONNECTION, panel=PANEL_CONNECTION)
@json_option
def partitions(settings: Settings, as_json: bool) -> None:
    """Show which engine works on which partition, since when, and what waits in each."""

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


def _row(state: PartitionState) -> tuple[str, ...]:
    since, moved = (time_text(at) if at else "-" for at in (state.since, state.moved_at))
    return (
        *(str(state.partition), state.engine or NOBODY, since),
        *(str(state.waiting), str(state.events), str(state.signals), moved),
    )
