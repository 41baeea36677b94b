"""``doctor``: what is wrong with this setup, and how to mend it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click
from rich.text import Text

from server.commands.api import api_url
from server.commands.common import (
    API,
    CONNECTION,
    FAILED,
    PANEL_API,
    PANEL_CONNECTION,
    UNREACHED,
    json_option,
    run,
    settings_options,
)
from server.commands.output import address, emit, say
from server.connecting import names_of, nats_url_of, open_remote
from server.doctor import (
    TAIL_MESSAGES,
    Finding,
    alive,
    judge_alive,
    judge_commands,
    judge_disk,
    judge_ends,
    judge_health,
    judge_server,
    judge_streams,
    judge_sync,
    judge_tail,
    monitor_url_of,
    sync_of,
    tail_of,
)
from server.doctor_api import ask_api, judge_access, judge_api
from server.doctor_parts import judge_code, judge_leases, judge_orphans, judge_queues
from server.doctor_setup import (
    judge_environment,
    judge_exposure,
    judge_keys,
    judge_limits,
    judge_place,
    judge_program,
    judge_way,
    judge_wishes,
    mounts_here,
)
from server.https import verification_of
from server.knock import knock
from server.login import login_of
from server.settings import Settings
from store.audit import lost_events, positions_of, torn_commits
from store.jetstream.inspection import ServerFacts, inspect
from store.port import Refused, StoreError, Unreachable

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@click.option("--monitor-url", default=None, metavar="URL", help="The server's monitoring address.")
@click.option(
    "--tail",
    type=click.IntRange(0, 1_000_000),
    default=TAIL_MESSAGES,
    show_default=True,
    help="How many of the last messages of the log to check link by link.",
)
@settings_options(*CONNECTION, panel=PANEL_CONNECTION, more={PANEL_API: (*API, "auth")})
@json_option
def doctor(settings: Settings, monitor_url: str | None, tail: int, as_json: bool) -> int:
    """Look for what is wrong with this setup; fails when something must be mended."""
    findings = run(_examine(settings, monitor_url, tail))
    if as_json:
        emit(findings)
    else:
        for finding in findings:
            line = Text(f"{finding.level:<5} ", style=STYLES[finding.level])
            line.append(f"{finding.what}: {finding.found}", style="default not bold")
            say(line)
            if finding.mend:
                say(f"      -> {finding.mend}")
    if any(f.what == "NATS" and f.level == "fail" for f in findings):
        return UNREACHED
    return FAILED if any(f.level == "fail" for f in findings) else 0


async def _examine(settings: Settings, monitor_url: str | None, tail: int) -> list[Finding]:
    first = _examine_here(settings)
    url = nats_url_of(settings)
    try:
        await knock(url)
        facts = await inspect(url, names_of(settings), login=login_of(settings))
    except Refused as error:
        mend = "let the doctor in as the viewer or the api user of `snorri nats-users`"
        return [*first, Finding(level="fail", what="permissions", found=str(error), mend=mend)]
    except Unreachable as error:
        mend = "start it (`snorri dev` does), or correct SNORRI_NATS_URL"
        return [*first, Finding(level="fail", what="NATS", found=str(error), mend=mend)]
    findings = [Finding(level="ok", what="NATS", found=f"connected to {address(url)}"), *first]
    findings += [judge_way(facts, url), *judge_server(facts), *judge_limits(facts)]
    if not facts.jetstream:
        return findings
    findings += [*judge_streams(facts), *judge_wishes(settings, facts), judge_queues(facts)]
    replicas = min((stream.replicas for stream in facts.streams if stream.replicas), default=1)
    sync = await sync_of(monitor_url or monitor_url_of(settings))
    findings += [judge_sync(sync, replicas), *filter(None, [judge_health(sync)])]
    findings += judge_api(await ask_api(api_url(settings), verification_of(settings)))
    if all(stream.drift == () for stream in facts.streams):
        findings += await _examine_installation(settings, facts, tail)
    return findings


def _examine_here(settings: Settings) -> list[Finding]:
    """What can be seen without NATS."""
    data = Path(settings.data)
    found = [
        judge_environment(os.environ),
        judge_access(settings, datetime.now(UTC)),
        judge_exposure(settings),
        judge_keys(settings),
        judge_disk(data),
        judge_place(data, mounts_here()) if data.exists() else None,
        judge_program() if settings.nats_url is None else None,
    ]
    return [finding for finding in found if finding is not None]


async def _examine_installation(settings: Settings, facts: ServerFacts, tail: int) -> list[Finding]:
    names = names_of(settings)
    log = next(stream for stream in facts.streams if stream.name == names.log_stream)
    try:
        async with open_remote(settings, make=False) as runtime:
            engines, workers = await alive(runtime.backend)
            # Positions last: a commit in between moves them behind the revisions read before.
            revisions = await tail_of(runtime.backend, names, log.last_seq, tail)
            store = runtime.backend.log
            positions = await positions_of(store, names, runtime.backend.partitions)
            lost = await lost_events(store, positions)
            leases = await runtime.backend.meta.entries("lease.")
    except StoreError as error:
        mend = "look at the server's log and try again"
        return [Finding(level="fail", what="installation", found=str(error), mend=mend)]
    faults = lost + torn_commits(revisions, positions, names)
    held = [lease.key.partition(".")[2] for lease in leases]
    found = [
        *judge_alive(engines, workers),
        judge_leases(held, facts.partitions or 0, engines),
        judge_code(engines),
        judge_orphans(revisions, engines),
        judge_commands(revisions, workers),
        judge_tail(revisions, names),
        judge_ends(faults),
    ]
    return [finding for finding in found if finding is not None]
