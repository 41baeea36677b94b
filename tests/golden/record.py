"""Records the golden histories anew: ``python -m tests.golden.record``, deliberately.

One file a story, one line a version: the document as it was stored, byte for byte. Whoever runs
this says that what is decided differently now is meant; the difference of the files says what that
is, and belongs into the change that causes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from sagas.instance import Instance, encode
from sagas.replay import Rerun
from tests.golden.stories import STORIES

FOLDER = Path(__file__).parent / "histories"


def path_of(story: str) -> Path:
    """Where a story's history stands."""
    return FOLDER / f"{story}.jsonl"


def recorded(story: str) -> list[bytes]:
    """The documents of a story as they were recorded; none before the first time."""
    path = path_of(story)
    return path.read_bytes().splitlines() if path.exists() else []


def comparable(instance: Instance) -> bytes:
    """The bytes of a document without what names code and not decisions: its hash, with it the hash
    of the document before, and lines of a traceback.
    """
    error = instance.error
    if error is not None:
        error = structs.replace(error, traceback="")
    parked = instance.parked
    if parked is not None and parked.error is not None:
        parked = structs.replace(parked, error=structs.replace(parked.error, traceback=""))
    return encode(structs.replace(instance, definition="", prev="", error=error, parked=parked))


def replayed(story: str, history: list[Instance]) -> Iterator[Instance | str]:
    """What the sample's code makes of each recorded message now, or why it would change nothing."""
    rerun = Rerun(STORIES[story]().definition)
    for instance in history:
        step = rerun.step(instance)
        yield step.after if step.after is not None else step.refused


def main() -> int:
    """Record all stories; prints which have changed."""
    FOLDER.mkdir(exist_ok=True)
    for stale in set(FOLDER.glob("*.jsonl")) - {path_of(story) for story in STORIES}:
        stale.unlink()
        print(f"{stale.stem}: no such story any more, removed")
    for story, play in STORIES.items():
        lines = b"".join(encode(one) + b"\n" for one in play().history)
        if not path_of(story).exists() or path_of(story).read_bytes() != lines:
            path_of(story).write_bytes(lines)
            print(f"{story}: recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
