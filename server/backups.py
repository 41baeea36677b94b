"""Backups and restores of an installation: the parts of ``store.backup`` put on real brokers."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from server.archives import archive_folder, open_archive
from server.connecting import Runtime, open_embedded, open_remote
from server.embedded import EmbeddedServer
from server.knock import knock
from server.login import login_of
from server.settings import Settings
from store.archive.catalog import Catalog
from store.backup.manifest import BackupError, Manifest, chain_of
from store.backup.proving import Tell, prove
from store.backup.restored import Restored
from store.backup.saving import Saving, Source
from store.duck.archive import ParquetSets
from store.jetstream.restoring import Restorer, open_restorer
from store.jetstream.snapshot import State
from store.maintenance import maintenance
from store.proof.findings import Finding, Findings
from store.proof.log import LogProof
from store.subjects import Names


class Made(Struct, frozen=True, kw_only=True):
    """A backup that was made; ``resumed`` when an earlier run had begun it."""

    manifest: Manifest
    resumed: bool


class NotWhole(BackupError):
    """What was brought back is not what was saved, or was not whole when it was saved."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(
            f"{sum(one.count for one in findings)} faults, nothing was left behind: "
            f"{first.shown[0]}; {first.mend}"
        )
        self.findings = findings


async def back_up(settings: Settings, folder: Path, since: Path | None, tell: Tell) -> Made:
    """Back a running installation up; raises BackupError, StoreError, OSError."""
    async with open_remote(settings, make=False) as runtime:
        backend = runtime.backend
        source = Source(
            backend=backend,
            archive=open_archive(settings),
            names=runtime.names,
            places=backend.queues,
            program=version("snorri"),
            server=backend.server_version,
        )
        saving = Saving(source, folder, since, tell)
        async with maintenance(
            backend.meta, f"snorri backup ({socket.gethostname()} {os.getpid()})"
        ):
            return Made(manifest=await saving.run(), resumed=saving.resumed)


def check_backup(folder: Path, tell: Tell) -> tuple[Manifest, LogProof, Findings]:
    """Prove a backup from its files alone; raises BackupError."""
    restored = Restored(chain_of(folder), ParquetSets())
    restored.check()
    findings = Findings()
    proof = LogProof(restored.names, findings)
    goal = restored.manifest.cut.log
    for stored in restored.whole():
        proof.take(stored)
        if proof.messages % 1000 == 0:
            tell("log", stored.seq, goal)
    proof.end()
    return restored.manifest, proof, findings


async def restore(settings: Settings, folder: Path, tell: Tell) -> Manifest:
    """Bring a backup back into an empty server or data directory.

    Raises BackupError, NotWhole, SetupError, StoreError; the streams are gone again then.
    """
    restored = Restored(chain_of(folder), ParquetSets())
    restored.check()
    _check_archive(restored, archive_folder(settings))
    async with _target(settings, restored.manifest) as restorer:
        await restorer.begin()
        try:
            await _send(restorer, restored)
            findings = Findings()
            await prove(restorer.feeds, restored, findings, tell)
            if len(findings):
                raise NotWhole(findings.list())
            await asyncio.to_thread(_bring_archive, restored, archive_folder(settings))
            await restorer.finish(restored.timers(), _cards(restored))
        except BaseException:
            await restorer.abandon()
            raise
    return restored.manifest


async def restore_for_looking(settings: Settings, folder: Path, until: datetime | None) -> Manifest:
    """Put a backup, or what it had at a time, into the embedded server of ``settings.data``, where
    nothing fires and nothing is armed; raises BackupError, SetupError, StoreError.
    """
    restored = Restored(chain_of(folder), ParquetSets(), until)
    restored.check()
    async with _target(settings, restored.manifest) as restorer:
        await restorer.begin()
        await _send(restorer, restored, whole=True)
        await restorer.finish((), _cards(restored))
    return restored.manifest


class Looking(NamedTuple):
    """A backup that is looked at: a private server, the settings for it, and which backup it is."""

    runtime: Runtime
    settings: Settings
    manifest: Manifest


@asynccontextmanager
async def open_backup(
    settings: Settings, folder: Path, until: datetime | None = None
) -> AsyncGenerator[Looking]:
    """A private server with a backup, without engines, workers and timers, gone when this ends.

    Raises BackupError, SetupError, StoreError.
    """
    with tempfile.TemporaryDirectory(prefix="snorri-backup-") as home:
        here = structs.replace(
            settings,
            data=home,
            nats_url=None,
            nats_port=0,
            cluster=1,
            sync_always=False,
            auth=None,
        )
        manifest = await restore_for_looking(here, folder, until)
        here = structs.replace(
            here,
            namespace=manifest.namespace,
            bucket=manifest.bucket,
            partitions=manifest.partitions,
        )
        async with open_embedded(here) as runtime:
            yield Looking(runtime, here, manifest)


def _cards(restored: Restored) -> dict[str, bytes]:
    return {key: bytes(card) for key, card in restored.manifest.cards.items()}


def _check_archive(restored: Restored, target: Path) -> None:
    """Raise BackupError when the archive there has more than the backup: what the restored log
    stores next would get the sequences of messages that are in it.
    """
    known = {one.id for one in restored.manifest.archive}
    for one in Catalog(target).sets():
        if one.id not in known:
            raise BackupError(
                f"{target} has the archived set {one.id}, which this backup does not know; move "
                "that folder away, or name an empty one with --archive"
            )


def _bring_archive(restored: Restored, target: Path) -> None:
    """Put the archive of a backup where the restored installation looks for it."""
    catalog = Catalog(target)
    here = {one.id: one for one in catalog.sets()}
    for one in restored.manifest.archive:
        if one.id not in here or any(catalog.damages(one)):
            Catalog(restored.archive_of(one)).copy(one, target)


async def _send(restorer: Restorer, restored: Restored, *, whole: bool = False) -> None:
    manifest = restored.manifest
    events = State(first_seq=1, last_seq=manifest.cut.events)
    await restorer.restore("events", events, (), restored.messages("events"))
    log = State(first_seq=1, last_seq=manifest.cut.log, consumer_count=len(manifest.consumers))
    await restorer.restore("log", log, manifest.consumers, restored.log(whole=whole))


@asynccontextmanager
async def _target(settings: Settings, manifest: Manifest) -> AsyncGenerator[Restorer]:
    """The server to restore into: the one that is set, or one of ours on the data directory."""
    names = Names(manifest.namespace, manifest.bucket)
    if settings.nats_url is not None:
        await knock(settings.nats_url)
        opened = open_restorer(
            *(settings.nats_url, names),
            partitions=manifest.partitions,
            replicas=settings.replicas,
            login=login_of(settings),
        )
        async with opened as restorer:
            yield restorer
        return
    server = EmbeddedServer(
        settings.data,
        port=0,
        sync_always=settings.sync_always,
        store_bytes_max=settings.store_bytes_max,
    )
    async with (
        server,
        open_restorer(server.url, names, partitions=manifest.partitions) as restorer,
    ):
        yield restorer
