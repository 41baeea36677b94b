"""How much one transition of a run may still start: commands, effects and bytes are limited.

Steps that find no room start in a later transition, as others end.
"""

from __future__ import annotations

from sagas.draft import Draft
from sagas.effects import EFFECTS_MAX, Send
from sagas.instance import COMMANDS_MAX, VALUE_BYTES_MAX

ROOM_FOR_OTHERS = 50  # effects and commands that are left free when steps start many at a time
ROOM_BYTES = VALUE_BYTES_MAX * 6 // 10  # of a document; the rest is for the answers to come
NAMES_BYTES = 300  # about what a command, or a record, takes beside its data


class Room:
    """The room of one transition; ``take`` tells it of each command that is sent."""

    __slots__ = ("_draft", "_kept", "_sent")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._kept = 0  # bytes of the document without what is sent now; 0 until it is asked for
        self._sent = 0  # bytes of the commands that are sent now

    def take(self, effect: Send) -> None:
        """A command was sent."""
        self._sent += len(effect.payload) + NAMES_BYTES

    @property
    def is_left(self) -> bool:
        """Whether one more may be started.

        How large it is does not matter when nothing is on its way: no answer would come to bring
        the run on, and one that does not fit is told by the limit itself.
        """
        draft = self._draft
        if len(draft.effects) >= EFFECTS_MAX - ROOM_FOR_OTHERS:
            return False
        if not draft.commands:
            return True
        if len(draft.commands) >= COMMANDS_MAX - ROOM_FOR_OTHERS:
            return False
        return self._kept_bytes + 2 * self._sent < ROOM_BYTES  # each as effect and as open command

    @property
    def needs_answers(self) -> bool:
        """Whether only an answer makes room for more, and not another transition by itself."""
        crowded = len(self._draft.commands) >= COMMANDS_MAX - ROOM_FOR_OTHERS
        return crowded or self._kept_bytes + self._sent >= ROOM_BYTES

    @property
    def _kept_bytes(self) -> int:
        """About the size of the document, without what is sent in this transition."""
        if not self._kept:
            draft = self._draft
            sizes = [len(draft.state), len(draft.cause.payload)]
            sizes += [len(one.payload) + NAMES_BYTES for one in draft.commands.values()]
            sizes += [len(one.output) + len(one.data) + NAMES_BYTES for one in draft.steps.values()]
            self._kept = sum(sizes) - self._sent
        return self._kept
