"""Rebuilding the projections of a data directory in this process, when no API does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from jobs.projector import Projector
from jobs.rebuilding import Rebuilt
from server.archives import with_archive
from server.connecting import open_embedded, open_remote
from server.errors import SetupError
from server.loading import App
from server.serving import projections_folder
from server.settings import Settings
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask

TELL_S = 0.2


async def rebuild_here(settings: Settings, app: App, tell: Callable[[float], None]) -> Rebuilt:
    """Rebuild, and ``tell`` how much is done (0 to 1) now and then.

    Raises SetupError, StoreError, WriteError.
    """
    if settings.nats_url is None and not (Path(settings.data) / "nats").exists():
        raise SetupError(
            f"there is no API and no data in {settings.data}; say where the data is with --data, "
            "or NATS with --nats-url"
        )
    opened = open_remote(settings, make=False) if settings.nats_url else open_embedded(settings)
    async with opened as runtime:
        mask = LiveMask([*settings.secrets, *app.secrets], runtime.backend.meta)
        projections = DuckProjections(projections_folder(settings), runtime.names, mask)
        backend = with_archive(settings, runtime.backend, runtime.names)
        projector = Projector(backend, projections)
        await mask.start()
        try:
            await projector.start()
            task = projector.rebuilder.begin()
            while not task.done():
                tell(projector.rebuilder.part or 0.0)
                await asyncio.wait({task}, timeout=TELL_S)
            return task.result()
        finally:
            await projector.stop()
            await mask.stop()
