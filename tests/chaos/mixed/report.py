"""A mixed run told: a few lines for the terminal, a page for the docs."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path
from statistics import median
from typing import get_args

from tests.chaos.mixed import judge
from tests.chaos.mixed.faults import KINDS
from tests.chaos.mixed.run import Outcome
from tests.chaos.mixed.times import Recovery

PAGE = Path(__file__).resolve().parents[3] / "docs" / "chaos-report.md"

MEANING: dict[judge.Fault, str] = {
    "lost": "an acknowledged event in no history, or an effect that was never done",
    "double": "an event that changed an instance twice, an effect under two ids, a timer that rang"
    " twice or after it was stopped",
    "stuck": "an instance that had not ended when all was healed",
    "wrong": "an end that its order does not ask for, undos out of order",
    "phantom": "a change or an effect that nobody asked for",
    "torn": "versions with gaps, a broken chain, commands without a transition and the reverse,"
    " commits cut through",
    "early": "a timer that rang before its time",
    "backwards": "a reader who saw an instance go back",
    "dead letter": "a message that was given up",
    "projection": "tables, kept over all kills, that differ from those made from nothing",
}


def summary(outcome: Outcome) -> list[str]:
    """What the run was, in lines."""
    broker = [one.next_s for one in outcome.recoveries if one.kind == "broker killed"]
    lines = [
        f"{outcome.instances} instances, {outcome.transitions} transitions,"
        f" {outcome.events} events acknowledged, {outcome.unknown} publishes without an answer,"
        f" {outcome.job_runs} runs of jobs for {outcome.effects} effects,"
        f" {len(outcome.plan.rounds)} faults in {outcome.took_s:.0f} s"
    ]
    if broker:
        lines.append(
            f"broker killed to first new transition: {median(broker):.2f} s,"
            f" {max(broker):.2f} s at most"
        )
    return lines


def write_report(outcome: Outcome) -> Path:
    """Write the page and say where it is."""
    PAGE.write_text(render(outcome), encoding="utf-8")
    return PAGE


def render(outcome: Outcome) -> str:
    """The page."""
    counts = Counter(complaint.fault for complaint in outcome.complaints)
    times = {kind: [one for one in outcome.recoveries if one.kind == kind] for kind in KINDS}
    seed, rounds = outcome.plan.seed, len(outcome.plan.rounds)
    arguments = f"--seed {seed} --sagas {outcome.plan.sagas} --faults {rounds}"
    lines = [
        "# A run under faults",
        "",
        "Written by `make chaos`; the figures are of one real run. [Reliability](reliability.md)"
        " says what is promised",
        "and which tests hold it.",
        "",
        f'    make chaos ARGS="{arguments} --report"',
        "",
        "One broker that syncs every write, two engines, two workers and an API in processes of"
        " their own, each behind a",
        "proxy of its own. Orders that end in four ways, timers, lists of steps and workflows;"
        " a client publishes over NATS",
        "and HTTP, each event until it is acknowledged, a third of them again. While they run, one"
        " fault after the other",
        "strikes; after each, new orders must be complete within a minute. The judge has the"
        " client's operation log, the",
        "ledger that the jobs wrote, and both streams; it asks the system for nothing.",
        "",
        *summary(outcome),
        "",
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load"
        f" average {outcome.busy:.0f}: over the number of cores everything waits for a processor.",
        "",
        "## What was found",
        "",
        "| fault | what it would be | found |",
        "|---|---|---|",
        *(f"| {fault} | {MEANING[fault]} | {counts[fault]} |" for fault in get_args(judge.Fault)),
        "",
        "## What struck, and how long it was felt",
        "",
        "Seconds, median and maximum. *Next*: from the strike to the next transition of anything."
        " *Wait*: the longest that an",
        "event lay before it was decided. *Complete*: how long after the fault new orders had gone"
        " through all their jobs.",
        "Waits and what comes next include the time that the killed takes to start again.",
        "",
        "| fault | how it is made | times | next | wait | complete |",
        "|---|---|---:|---:|---:|---:|",
        *(_row(kind, struck) for kind, struck in times.items()),
        "",
    ]
    return "\n".join(lines)


def _row(kind: str, struck: list[Recovery]) -> str:
    described = f"| {KINDS[kind].what} | {KINDS[kind].how} | {len(struck)} |"
    if not struck:
        return f"{described} | | |"
    columns = (
        [one.next_s for one in struck],
        [one.waited_s for one in struck],
        [one.complete_s for one in struck],
    )
    figures = (f"{median(column):.1f}, {max(column):.1f}" for column in columns)
    return f"{described} {' | '.join(figures)} |"
