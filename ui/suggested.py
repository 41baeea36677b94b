"""What a payload editor starts with: the last such event, or an example made from the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Raw, Struct

from store.cards import SagaCard
from store.projection.sagas import LastEvent, last_events
from ui.desk import Desk
from ui.editing import to_edit
from ui.example import example_of

EVENT_BYTES_MAX = 100_000  # of an event that is an example; what is larger can't be edited by hand


class Suggestion(Struct, frozen=True, kw_only=True):
    """The text of an editor and where it comes from; ``seq`` is that of the event."""

    text: str
    source: Literal["event", "schema", "none"]
    seq: int | None = None

    @property
    def raw(self) -> Raw:
        """The same as JSON."""
        return Raw(self.text.encode())


async def suggestions(
    desk: Desk, cards: Iterable[SagaCard], types: Sequence[str]
) -> dict[str, Suggestion]:
    """For each of these types; secrets of events are masked. Raises ReadError."""
    seen = await last_events(desk.read, types)
    schemas: Mapping[str, Raw] = {t: s for card in cards for t, s in card.schemas.items()}
    return {type: _one(desk, type, schemas, seen.get(type)) for type in types}


def _one(desk: Desk, type: str, schemas: Mapping[str, Raw], last: LastEvent | None) -> Suggestion:
    payload = b"" if last is None or last.payload is None else bytes(last.payload)
    if last is not None and 0 < len(payload) <= EVENT_BYTES_MAX:
        text = to_edit(payload, desk.mask)
        return Suggestion(text=text, source="event", seq=last.seq)
    if type in schemas:
        example = example_of(bytes(schemas[type]))
        return Suggestion(text=to_edit(example, desk.mask), source="schema")
    return Suggestion(text="{}", source="none")
