"""``snorri events`` and ``snorri event``: what was published, and what happened to it.

Both ask the running API, since only the projections know what became of an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
import rich_click as click
from rich.text import Text

from server.commands.api import Refusal, check, open_api
from server.commands.common import API, PANEL_API, Failed, json_option, settings_options
from server.commands.output import emit, note, pretty, say, short, table, time_text
from server.settings import Settings
from store.event_story import DEPTH_DEFAULT, DEPTH_MAX
from store.projection.events import EventOutcome

ANSWER_S = 30.0
LIMIT_DEFAULT, LIMIT_MAX = 50, 500
EVENTS = "/api/v1/sagas/events"
OUTCOMES = get_args(EventOutcome)
STYLES = {"applied": "green", "dead_letter": "bold red", "refused": "red", "waiting": "cyan"}


@click.command()
@click.option("--type", "types", multiple=True, help="Only this type; may be repeated.")
@click.option("--key", default=None, help="Only with this ordering key.")
@click.option("--id", default=None, help="Only with this message id.")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(OUTCOMES),
    multiple=True,
    help="Only with this outcome; may be repeated.",
)
@click.option("--search", default=None, metavar="WORDS", help="Words in type, key or payload.")
@click.option("--since", default=None, metavar="TIME", help="ISO 8601, or how long ago: 15m, 2d.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="How many, the newest first.",
)
@click.option("--unmatched", is_flag=True, help="Those that changed nothing, by type and reason.")
@settings_options(*API, panel=PANEL_API)
@json_option
def events(
    settings: Settings,
    types: tuple[str, ...],
    key: str | None,
    id: str | None,
    outcomes: tuple[str, ...],
    search: str | None,
    since: str | None,
    limit: int,
    unmatched: bool,
    as_json: bool,
) -> None:
    """List events, the newest first, and what became of each.

    Needs a running `snorri dev` or `snorri serve`. `snorri event SEQ` tells all about one.
    """
    wanted: dict[str, object] = {"since": since}
    if not unmatched:
        wanted |= {"type": types, "key": key, "id": id, "outcome": outcomes, "q": search}
        wanted["limit"] = limit
    page = _get(settings, f"{EVENTS}/unmatched" if unmatched else EVENTS, wanted)
    if as_json:
        emit(page["items"])
    elif not page["items"]:
        note("no such events; `snorri publish` publishes one")
    elif unmatched:
        table(
            ("count", "type", "saga", "why", "last", "events"),
            (
                (str(one["count"]), one["type"], one["saga"], one["reason"], _time(one["lastAt"]),
                 ", ".join(map(str, one["seqs"])))
                for one in page["items"]
            ),
        )  # fmt: skip
    else:
        table(("seq", "stored", "type", "key", "outcome", "why"), map(_row, page["items"]))
        if page["next"] is not None:
            note(f"there are more than {limit}; use --limit, --since or another filter")


@click.command()
@click.argument("seq", type=click.IntRange(min=1))
@click.option(
    "--depth",
    type=click.IntRange(0, DEPTH_MAX),
    default=DEPTH_DEFAULT,
    show_default=True,
    help="How many steps to follow what it led to.",
)
@settings_options(*API, panel=PANEL_API)
@json_option
def event(settings: Settings, seq: int, depth: int, as_json: bool) -> None:
    """Tell what happened to one event: where it went, why not, and what it led to.

    Needs a running `snorri dev` or `snorri serve`.
    """
    try:
        told = _get(settings, f"{EVENTS}/{seq}", {"depth": depth})
    except Refusal as refusal:
        if refusal.problem.get("status") != 404:
            raise
        detail = refusal.problem.get("detail")
        raise Failed(f"{detail} `snorri events` lists those that are stored.") from None
    if as_json:
        emit(told)
    else:
        _show(told)


def _get(settings: Settings, path: str, query: Mapping[str, object]) -> Any:
    given = {name: value for name, value in query.items() if value not in (None, ())}
    with open_api(settings, ANSWER_S) as client:
        answer = client.get(path, params=given)  # type: ignore[arg-type]
    check(answer)
    return msgspec.json.decode(answer.content)


def _row(one: Mapping[str, Any]) -> tuple[str | Text, ...]:
    outcome = Text(one["outcome"], style=STYLES.get(one["outcome"], "dim"))
    stored, key = _time(one["storedAt"]), one["key"] or ""
    return (str(one["seq"]), stored, one["type"], key, outcome, one["reason"] or "")


def _time(text: str) -> str:
    return time_text(datetime.fromisoformat(text))


def _show(told: Mapping[str, Any]) -> None:
    key = f", key {told['key']}" if told["key"] is not None else ""
    id = f", id {told['id']}" if told["id"] else ""
    say(f"{told['type']}  event {told['seq']}{key}{id}", style="bold")
    say(f"stored {_time(told['storedAt'])}")
    if told["answers"]:
        say(f"answers command {told['answers']}")
    if told["repeats"]:
        say(f"repeats {told['repeats']}")
    say(told["answer"], style="bold")
    say(told["text"] if told["payload"] is None else pretty(msgspec.json.encode(told["payload"])))
    steps = {told["seq"]: 0, **{one["seq"]: one["depth"] for one in told["events"]}}
    if told["effects"] or told["events"]:
        say("what it led to", style="bold")
        _follow(told, told["seq"], steps, set())
    if told["truncated"]:
        note("there is more than is shown; ask the API or `snorri sql`")


def _follow(told: Mapping[str, Any], seq: int, steps: Mapping[int, int], seen: set[int]) -> None:
    """The instances an event reached, what they sent, and in its place what came of that."""
    if seq in seen:
        return
    seen.add(seq)
    indent = "    " * steps.get(seq, 0) + "  "
    for reached in told["reached"]:
        if reached["seq"] != seq or reached["version"] is None:
            continue
        say(f"{indent}{reached['saga']}/{reached['key']} version {reached['version']}")
        for effect in told["effects"]:
            if _of(effect, reached):
                say(f"{indent}  {effect['kind']} {effect['name']}{_fate(effect)}")
                for after in _after(told["events"], effect["id"]):
                    say(f"{indent}    event {after['seq']} {after['type']}: {after['outcome']}")
                    _follow(told, after["seq"], steps, seen)


def _of(effect: Mapping[str, Any], reached: Mapping[str, Any]) -> bool:
    return all(effect[name] == reached[name] for name in ("saga", "key", "version"))


def _after(events: Sequence[Mapping[str, Any]], effect: str) -> list[Mapping[str, Any]]:
    return [one for one in events if effect and one["effect"] == effect]


def _fate(effect: Mapping[str, Any]) -> str:
    """How a command stands, with its attempts; the payload of what is no command."""
    if effect["kind"] != "send":
        return f" {short(msgspec.json.encode(effect['payload']))}" if effect["payload"] else ""
    tries = [f"{one['outcome']} ({one['error']})" if one["error"] else one["outcome"]
             for one in effect["attempts"]]  # fmt: skip
    return f": {effect['status']}" + (f", {', '.join(tries)}" if tries else "")
