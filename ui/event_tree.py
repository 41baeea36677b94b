"""What an event led to as a tree: instances, what each sent, attempts, the events after. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from msgspec import Struct

from store.event_standing import Standing
from store.event_story import Step, Story
from store.projection.events import AttemptRow, EffectRow, OutcomeRow


class Consequence(Struct, frozen=True):
    """An effect of a transition, the attempts at it, and the events it led to."""

    effect: EffectRow
    attempts: tuple[AttemptRow, ...]
    events: tuple[Branch, ...]


class Reached(Struct, frozen=True):
    """What became of an event at one instance, or at none; ``standing`` where it was looked up."""

    outcome: OutcomeRow
    standing: Standing | None
    consequences: tuple[Consequence, ...]


class Branch(Struct, frozen=True):
    """An event and where it went; ``step`` is None for the one that was asked for."""

    step: Step | None
    reached: tuple[Reached, ...]


def event_tree(story: Story, standing: Mapping[tuple[str, str], Standing]) -> Branch:
    """The tree of a story; every event, effect and attempt of it stands in one place."""
    return _Tree(story, standing).branch(story.seq, None)


class _Tree:
    def __init__(self, story: Story, standing: Mapping[tuple[str, str], Standing]) -> None:
        self.story = story
        self.standing = standing
        self.effects: dict[tuple[str, str, int], list[EffectRow]] = defaultdict(list)
        for effect in story.effects:
            self.effects[effect.saga, effect.key, effect.version].append(effect)
        self.steps: dict[str, list[Step]] = defaultdict(list)
        for step in story.steps:
            self.steps[step.effect].append(step)

    def branch(self, seq: int, step: Step | None) -> Branch:
        outcomes = [one for one in self.story.outcomes if one.seq == seq]
        return Branch(step, tuple(self._reached(one, first=step is None) for one in outcomes))

    def _reached(self, outcome: OutcomeRow, *, first: bool) -> Reached:
        effects: list[EffectRow] = []
        if outcome.version is not None:
            # Taken out, so that a transition told twice is drawn once.
            effects = self.effects.pop((outcome.saga, outcome.key, outcome.version), [])
        standing = self.standing.get((outcome.saga, outcome.key)) if first else None
        return Reached(outcome, standing, tuple(self._consequence(one) for one in effects))

    def _consequence(self, effect: EffectRow) -> Consequence:
        sends = effect.kind == "send"
        attempts = [one for one in self.story.attempts if sends and one.command == effect.id]
        steps = self.steps.pop(effect.id, []) if effect.id else []
        events = tuple(self.branch(step.event.seq, step) for step in steps)
        return Consequence(effect, tuple(attempts), events)
