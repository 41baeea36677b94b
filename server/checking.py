"""A gate for deployments: what changed code would make of an installation, or of a backup of it.

Two questions: which running instances could not go on (``store.stranding``), and which recorded
transitions would be different now (``store.replaying``). Nothing is sent and nothing is stored; a
backup is put into a private server without engines, workers and timers, gone when this ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from server.archives import with_archive
from server.backups import open_backup
from server.connecting import Runtime, open_remote
from server.loading import App
from server.settings import Settings
from store.client import SagaClient
from store.replay_jobs import ReplayTally
from store.replaying import replay_keys
from store.stranding import Survey, survey

Tell = Callable[[str, int, int], None]  # what is at work, how much is done, of how much


class Checked(Struct, frozen=True, kw_only=True):
    """What came out; ``replays`` by saga, empty when none were asked for."""

    survey: Survey
    replays: dict[str, ReplayTally]

    @property
    def differ(self) -> int:
        """Instances whose history would be different, or could not be replayed."""
        return sum(tally.differ + tally.unreadable for tally in self.replays.values())

    @property
    def passed(self) -> bool:
        """Whether nothing would be stranded and nothing different."""
        return not self.survey.stranded and not self.survey.jobs and not self.differ


@asynccontextmanager
async def opened(settings: Settings, backup: Path | None) -> AsyncGenerator[Runtime]:
    """The installation of these settings, or a private copy of a backup.

    Raises BackupError, SetupError, StoreError.
    """
    if backup is None:
        async with open_remote(settings, make=False) as runtime:
            yield runtime
        return
    async with open_backup(settings, backup) as looking:
        yield looking.runtime


async def check(
    settings: Settings, runtime: Runtime, app: App, *, replays: bool, tell: Tell
) -> Checked:
    """Look and, with ``replays``, give every recorded message to the app; raises StoreError."""
    looked = await survey(
        *(runtime.backend, runtime.names, app.registry, app.jobs.targets),
        tell=lambda saga, done: tell(f"instances of {saga}", done, done),
    )
    backend = with_archive(settings, runtime.backend, runtime.names)
    client = SagaClient(backend, runtime.names)
    tallies: dict[str, ReplayTally] = {}
    for definition in app.registry if replays else ():
        keys = sorted({key async for key in client.all_keys(definition.id)})
        tally = tallies[definition.id] = ReplayTally()
        async for one in replay_keys(client, definition, keys):
            tally.add(one)
            tell(f"history of {definition.id}", tally.done, len(keys))
    return Checked(survey=looked, replays=tallies)
