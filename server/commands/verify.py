"""``verify``: the proof that history is whole, of a running installation or of a backup."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import rich_click as click

from server.archives import with_archive
from server.backups import check_backup
from server.commands.api import check, open_api
from server.commands.common import (
    API,
    CONNECTION,
    FAILED,
    PANEL_API,
    PANEL_CONNECTION,
    UNREACHED,
    Failed,
    json_option,
    run,
    settings_options,
)
from server.commands.output import emit, note, say
from server.commands.progress import Tell, progress_bar
from server.connecting import open_remote
from server.settings import Settings
from store.archive.proving import prove_archive
from store.proof.findings import Finding, Findings
from store.proof.streams import Proof, prove_streams
from store.proof.stretches import EVENTS_SQL, STRETCH, TRANSITIONS_SQL, Stretches

ANSWER_S = 60.0
SETTLE_S = 30.0  # for the projections to come up to the end of what was read
POLL_S = 0.1
ROWS_MAX = 10_000


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was gone through, and what was found wrong."""

    what: str
    revisions: int
    instances: int
    commands: int
    events: int | None
    archived: int  # messages in files, of the transitions and commands above
    projections: str  # checked, or why not
    findings: tuple[Finding, ...]


@click.command()
@click.option(
    "--backup",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Prove this backup instead, from its files alone.",
)
@click.option(
    "--no-projections",
    is_flag=True,
    help="Leave the projections out, which a running API is asked for.",
)
@settings_options(*API, panel=PANEL_API, more={PANEL_CONNECTION: (*CONNECTION, "archive")})
@json_option
def verify(settings: Settings, folder: Path | None, no_projections: bool, as_json: bool) -> int:
    """Prove that history is whole; fails when something is missing or was altered.

    Every version follows the one before and carries its hash, every command has its transition and
    every transition its commands, no event is missing, and the projections say the same as the log.
    """
    with progress_bar("proving") as tell:
        if folder is not None:
            checked = _check_backup(folder, tell)
        else:
            checked = _check_installation(settings, tell, projections=not no_projections)
    if as_json:
        emit({"whole": not checked.findings, **msgspec.structs.asdict(checked)})
    else:
        _show(checked)
    return FAILED if checked.findings else 0


def _check_backup(folder: Path, tell: Tell) -> Checked:
    manifest, proof, findings = check_backup(folder, tell)
    return Checked(
        what=f"{folder}, as of {manifest.cut.at:%Y-%m-%d %H:%M:%S} UTC",
        revisions=proof.revisions,
        instances=proof.instances,
        commands=proof.commands,
        events=manifest.cut.events,
        archived=sum(one.messages for one in manifest.archive),
        projections="a backup has none; they are made of it",
        findings=findings.list(),
    )


def _check_installation(settings: Settings, tell: Tell, *, projections: bool) -> Checked:
    findings = Findings()
    proof, archived = run(_prove(settings, findings, tell))
    said = "left out (--no-projections)"
    if projections:
        said = _compare(settings, proof, findings)
    return Checked(
        what=f"bucket {settings.bucket}",
        revisions=proof.revisions,
        instances=proof.instances,
        commands=proof.commands,
        events=proof.events,
        archived=archived,
        projections=said,
        findings=findings.list(),
    )


async def _prove(settings: Settings, findings: Findings, tell: Tell) -> tuple[Proof, int]:
    """The proof of the streams with their archive, and how many messages are archived."""
    async with open_remote(settings, make=False) as runtime:
        names = runtime.names
        backend = with_archive(settings, runtime.backend, names)
        sets = await prove_archive(backend.archive, backend.log, names, findings, tell)
        proof = await prove_streams(backend, names, findings, tell)
        return proof, sum(one.messages for one in sets)


# --- the projections, as the API that has them tells


def _compare(settings: Settings, proof: Proof, findings: Findings) -> str:
    """Compare what the API's projections have; what was done, in words."""
    try:
        with open_api(settings, ANSWER_S) as client:
            _settle(client, proof)
            for what, sql, upto, wanted in (
                ("transitions", TRANSITIONS_SQL, proof.cut.log, proof.transition_stretches),
                ("events", EVENTS_SQL, proof.cut.events, proof.event_stretches),
            ):
                found = _stretches(client, sql, upto)
                for line in wanted.differences(found, what):
                    findings.add("projection", line)
    except Failed as error:
        if error.code == UNREACHED:
            return (
                "not checked: no API answers (start `snorri dev` or `snorri serve`, or say where it"
                " is with --port)"
            )
        return f"not checked: {error}"
    return "checked"


def _settle(client: httpx.Client, proof: Proof) -> None:
    """Wait until they follow up to the cut; raises Failed."""

    def reached() -> bool:
        answer = client.get("/api/v1/projections")
        check(answer)
        state = msgspec.json.decode(answer.content, type=dict[str, Any])
        # A log ends with positions and the like, which make no rows: no lag is as good, where it
        # is known by now how far the streams go.
        there = int(state["logLast"]) >= proof.cut.log
        there = there and int(state["eventsLast"]) >= proof.cut.events
        return (
            int(state["logSeq"]) >= proof.cut.log and int(state["eventsSeq"]) >= proof.cut.events
        ) or (there and state["lag"] == 0)

    if not _until(reached, SETTLE_S):
        raise Failed(f"the projections did not follow within {SETTLE_S:g} s; see `snorri doctor`")


def _stretches(client: httpx.Client, sql: str, upto: int) -> Stretches:
    body = {"sql": sql, "params": {"upto": upto, "stretch": STRETCH}, "limit": ROWS_MAX}
    reached = msgspec.json.decode(client.get("/api/v1/projections").content, type=dict[str, Any])
    told: dict[str, Any] = {}

    def fresh() -> bool:
        """SQL reads a copy, which may be a moment older than what is projected."""
        answer = client.post("/api/v1/sql", json=body)
        check(answer)
        told.update(msgspec.json.decode(answer.content, type=dict[str, Any]))
        copy = told["projection"]
        return int(copy["seq"]) >= int(reached["logSeq"]) and int(copy["eventsSeq"]) >= int(
            reached["eventsSeq"]
        )

    if not _until(fresh, SETTLE_S):
        raise Failed(f"SQL did not follow within {SETTLE_S:g} s; see `snorri doctor`")
    rows = told["rows"]
    found = Stretches()
    for stretch, count, digest in rows:
        found.add_all(int(stretch), int(count), int(digest))
    return found


def _until(reached: Callable[[], bool], patience_s: float) -> bool:
    deadline_s = time.monotonic() + patience_s
    while not reached():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _show(checked: Checked) -> None:
    events = "" if checked.events is None else f", {checked.events} events"
    say(
        f"{checked.what}: {checked.revisions} transitions of {checked.instances} instances, "
        f"{checked.commands} commands{events}"
    )
    if checked.archived:
        note(f"{checked.archived} messages of these are in the archive")
    note(f"projections: {checked.projections}")
    if not checked.findings:
        say("whole: nothing is missing, nothing was altered", "green")
    for finding in checked.findings:
        say(f"{finding.kind.replace('_', ' ')}: {finding.count}", "bold red")
        for fault in finding.shown:
            say(f"  {fault}")
        if finding.count > len(finding.shown):
            say(f"  and {finding.count - len(finding.shown)} more")
        say(f"  -> {finding.mend}")
