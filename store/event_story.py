"""What happened to an event, whole: where it went, what it changed there, and what that led to.

Reads step by step, each for many rows at once, to a depth and a size that bound it; ``truncated``
says when there was more. ``answer`` puts the beginning of the story into one or a few sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from store.codec import ATTEMPTED
from store.projection.events import (
    AgainRow,
    AttemptRow,
    EffectRow,
    LetterRow,
    NextRow,
    OutcomeRow,
    attempts_at,
    effects_of,
    led_to,
    letters_of,
    outcomes_of,
    sent_again,
)
from store.projection.port import ReadModel
from store.wording import command_line, count, first_line

DEPTH_MAX = 5
DEPTH_DEFAULT = 2
ROWS_MAX = 200  # of each kind at each step
Place: TypeAlias = Literal["parked", "backlog"]

TOLD_MAX = 3  # instances named in a sentence
_TOLD_BEFORE = ("applied", "dead_letter")


class Step(Struct, frozen=True, kw_only=True):
    """An event that the first one led to, ``depth`` steps away, by the effect of that id."""

    event: NextRow
    depth: int
    effect: str


class Story(Struct, frozen=True, kw_only=True):
    """What became of an event and all that followed, in the order it happened.

    ``outcomes`` are of the event and of those in ``steps``, told apart by their sequence.
    """

    seq: int
    outcomes: tuple[OutcomeRow, ...]
    effects: tuple[EffectRow, ...]
    attempts: tuple[AttemptRow, ...]
    steps: tuple[Step, ...]
    letters: tuple[LetterRow, ...]
    again: tuple[AgainRow, ...]
    truncated: bool

    @property
    def own(self) -> list[OutcomeRow]:
        """What became of the event itself."""
        return [outcome for outcome in self.outcomes if outcome.seq == self.seq]


async def story_of(read: ReadModel, seq: int, depth: int) -> Story:
    """The story of an event over ``depth`` steps (0: only the event itself); raises ReadError."""
    outcomes: list[OutcomeRow] = []
    effects: list[EffectRow] = []
    attempts: list[AttemptRow] = []
    steps: list[Step] = []
    truncated = False
    seqs = [seq]
    for away in range(depth + 1):
        reached = await outcomes_of(read, seqs, ROWS_MAX + 1)
        truncated = truncated or len(reached) > ROWS_MAX
        outcomes += reached[:ROWS_MAX]
        versions = _versions(reached[:ROWS_MAX])
        if not versions or away == depth:
            break
        sent = await effects_of(read, versions, ROWS_MAX + 1)
        truncated = truncated or len(sent) > ROWS_MAX
        effects += sent[:ROWS_MAX]
        ids = [effect.id for effect in sent[:ROWS_MAX] if effect.kind in ("send", "publish")]
        if not ids:
            break
        attempts += await attempts_at(read, ids, ROWS_MAX)
        found = await led_to(read, ids, seq, ROWS_MAX + 1)
        truncated = truncated or len(found) > ROWS_MAX
        known = {seq, *(step.event.seq for step in steps)}
        fresh = [event for event in found[:ROWS_MAX] if event.seq not in known]
        steps += [
            Step(event=event, depth=away + 1, effect=event.answers or event.id) for event in fresh
        ]
        seqs = [event.seq for event in fresh]
        if not seqs:
            break
    return Story(
        seq=seq,
        outcomes=tuple(outcomes),
        effects=tuple(effects),
        attempts=tuple(attempts),
        steps=tuple(steps),
        letters=tuple(await letters_of(read, seq, ROWS_MAX)),
        again=tuple(await sent_again(read, seq)),
        truncated=truncated,
    )


def _versions(outcomes: Sequence[OutcomeRow]) -> list[tuple[str, str, int]]:
    """The transitions among outcomes, each once."""
    found = {(one.saga, one.key, one.version): None for one in outcomes if one.version is not None}
    return list(found)


# --- in words


def answer(
    story: Story, type: str, waits_at: Mapping[tuple[str, str], Place], *, is_waiting: bool
) -> str:
    """What happened to the event, in sentences.

    ``waits_at`` are the instances where it still waits: in the backlog, or because it parked them.
    ``is_waiting``: no engine has said anything of it.
    """
    own = story.own
    told: list[str] = []
    applied = dict.fromkeys((o.saga, o.key) for o in own if o.outcome == "applied")
    if changed := [one for one in applied if waits_at.get(one) is None]:
        told.append(f"It changed {_named(changed)}.")
    told += [_held(address, place) for address, place in waits_at.items()]
    told += [_lost(letter) for letter in story.letters]
    told += list(dict.fromkeys(_passed(one) for one in own if one.outcome not in _TOLD_BEFORE))
    if not told and type == ATTEMPTED:
        told.append("It is a record of ours: it reports an attempt at a command.")
    if not told and is_waiting:
        told.append("No engine has read it yet; if that stays so, start one with `snorri engine`.")
    if not told:
        told.append("Nothing is on record of it.")
    if story.again:
        told.append(f"It was sent again as {_seqs(story.again)}.")
    return " ".join(told)


def _named(addresses: Sequence[tuple[str, str]]) -> str:
    names = [f"{saga}/{key}" for saga, key in addresses[:TOLD_MAX]]
    more = len(addresses) - TOLD_MAX
    return ", ".join(names) + (f" and {count(more, 'instance')} more" if more > 0 else "")


def _held(address: tuple[str, str], place: Place) -> str:
    name, show = "/".join(address), command_line("snorri", "show", *address)
    if place == "parked":
        return f"It parked {name}; {show} tells why and what to do."
    return f"It waits in the backlog of {name}; {show} tells until when."


def _lost(letter: LetterRow) -> str:
    where = f"{letter.saga}/{letter.key}" if letter.saga and letter.key else letter.saga or "a saga"
    told = f"It could not reach {where}: {first_line(letter.reason)}"
    if letter.status == "open":
        redrive = command_line("snorri", "dead-letters", "redrive", letter.id)
        return f"{told}. It is kept as a dead letter; {redrive} sends it again."
    by = f" by {letter.by}" if letter.by else ""
    return f"{told}. Its dead letter was {letter.status}{by}."


def _passed(one: OutcomeRow) -> str:
    reason = first_line(one.reason)
    if one.outcome == "no_saga":
        return f"{reason[:1].upper()}{reason[1:]}."
    where = f"{one.saga}/{one.key}" if one.key else one.saga
    return f"{where} let it pass: {reason}."


def _seqs(again: Sequence[AgainRow]) -> str:
    return ", ".join(str(one.seq) for one in again)
