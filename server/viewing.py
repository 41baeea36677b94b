"""Looking at a backup: dashboard, API and SQL over a private copy, in which nothing can be changed.

The copy is an embedded server on a temporary directory, without engines, workers and timers, gone
when this ends. Everybody on this machine is a viewer, nobody more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from jobs.service import Supervisor
from server.backups import open_backup
from server.loading import App
from server.running import run_until_signal
from server.serving import build_serving
from server.settings import Settings
from store.backup.manifest import BackupError, Manifest, read_manifest

Ready = Callable[[str, Manifest], None]  # the address, and of which backup


async def view(
    settings: Settings, app: App, folder: Path, until: datetime | None, ready: Ready
) -> int:
    """Serve a backup, as it was at ``until`` or at its end, until Ctrl-C; the exit code.

    Raises BackupError, SetupError, StoreError.
    """
    end = read_manifest(folder).cut.at
    if until is not None and until > end:
        raise BackupError(
            f"the backup ends at {end:%Y-%m-%d %H:%M:%S} UTC; give an earlier time, or none"
        )
    name = f"backup of {until or end:%Y-%m-%d %H:%M:%S} UTC"
    async with open_backup(settings, folder, until) as (runtime, here, manifest):
        serving = build_serving(
            *(runtime.backend, runtime.url, runtime.names, app, here), backup=name
        )
        supervisor = Supervisor(serving.services, "view")
        return await run_until_signal(supervisor, lambda: ready(serving.address, manifest))
