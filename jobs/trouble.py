"""What of a commit a person should hear of: instances that were parked, and dead letters.

One line for each in the engine's log, with the instance and the trace it belongs to, told when the
batch is stored and never before; of many alike in one batch the first few and a count.
"""

from __future__ import annotations

import logging

from sagas.instance import Instance
from store.codec import DeadLetter
from store.masking import Mask

log = logging.getLogger("snorri.engine")

LINES_MAX = 5


class Trouble:
    """What went wrong in one batch; ``tell`` writes it down once, without what ``mask`` hides."""

    __slots__ = ("_mask", "letters", "parked")

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.parked: list[Instance] = []
        self.letters: list[DeadLetter] = []

    def tell(self) -> None:
        """Log it, and forget it."""
        if not self.parked and not self.letters:
            return
        for instance in self.parked[:LINES_MAX]:
            _tell_parked(instance, self._mask)
        for letter in self.letters[:LINES_MAX]:
            _tell_letter(letter)
        more_parked, more_letters = len(self.parked) - LINES_MAX, len(self.letters) - LINES_MAX
        if more_parked > 0:
            log.warning("%d more were parked; see `snorri instances --status parked`", more_parked)
        if more_letters > 0:
            log.warning("%d more dead letters; see `snorri dead-letters`", more_letters)
        self.parked, self.letters = [], []


def _tell_parked(instance: Instance, mask: Mask) -> None:
    error, sources = instance.error, [instance.state]
    if instance.parked is not None and instance.parked.cause is not None:
        sources.append(instance.parked.cause.payload)
    log.warning(
        "%s/%s is parked: %s; see `snorri show`",
        instance.saga,
        instance.key,
        mask.text(f"{error.type}: {error.message}", *sources) if error else "no reason given",
        extra={"instance": f"{instance.saga}/{instance.key}", "trace": instance.trace},
    )


def _tell_letter(letter: DeadLetter) -> None:
    whose = {"instance": f"{letter.saga}/{letter.key}"} if letter.saga and letter.key else {}
    log.warning("dead letter %s (%s): %s", letter.id, letter.type, letter.reason, extra=whose)
