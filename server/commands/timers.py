"""``timers``: what fires next; fire one now, have it fire at another time, cancel it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import rich_click as click

from server.commands.act import make_command
from server.commands.api import check, open_api
from server.commands.common import (
    API,
    PANEL_API,
    ListingGroup,
    json_option,
    settings_options,
)
from server.commands.output import emit, note, table, time_text
from server.settings import Settings

ANSWER_S = 30.0
LIMIT_DEFAULT, LIMIT_MAX = 50, 500
HEADINGS = ("due", "saga", "key", "timer", "message", "set")


@click.group("timers", cls=ListingGroup)
def timers() -> None:
    """Timers of instances: what fires next, and stepping in; without a command, list."""


@timers.command("list")
@click.option("--saga", default=None, help="Only of this saga.")
@click.option("--key", default=None, help="Only of this instance.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="How many, those due first first.",
)
@settings_options(*API, panel=PANEL_API)
@json_option
def list_command(
    settings: Settings, saga: str | None, key: str | None, limit: int, as_json: bool
) -> None:
    """List the timers that are set, those due first first.

    Needs a running `snorri dev` or `snorri serve`.
    """
    wanted = {"saga": saga, "key": key, "status": "pending", "limit": limit}
    query = {name: value for name, value in wanted.items() if value is not None}
    with open_api(settings, ANSWER_S) as client:
        answer = client.get("/api/v1/timers", params=query)
    check(answer)
    page: dict[str, Any] = msgspec.json.decode(answer.content)
    if as_json:
        emit(page["items"])
    elif not page["items"]:
        note("no timer is set; a handler sets one with schedule(…)")
    else:
        table(HEADINGS, map(_row, page["items"]))
        if page["next"] is not None:
            note(f"there are more than {limit}; use --limit, --saga or --key")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    due, since = (time_text(datetime.fromisoformat(one[name])) for name in ("dueAt", "setAt"))
    return (due, one["saga"], one["key"], one["id"], one["type"], since)


timers.add_command(make_command("fire_timer", "fire"))
timers.add_command(make_command("postpone_timer", "postpone"))
timers.add_command(make_command("cancel_timer", "cancel"))
