"""A report each night. Shows a cron schedule: each tick starts an instance of its own.

The key of an instance is the second it was due in, such as 2026-11-21T01:00:00Z, so a tick that is
told twice starts one report. A report that runs into the next night does not stop that one: there
is no limit on how many run at once. ``.concurrency(1)`` would make them wait for each other.

| job | payload | answers |
|---|---|---|
| build-report | day | ReportBuilt {rows} |
"""

from __future__ import annotations

from msgspec import Struct

from sagas import Effects, Message, SagaHandle, complete, define_saga, send


class ReportState(Struct):
    """Which day, and how much there was to say."""

    day: str = ""
    rows: int = 0


class Tick(Struct):
    """What a cron tick carries: the second it was due in, UTC."""

    at: str = ""


class ReportBuilt(Struct):
    """The report is there."""

    rows: int


Report = SagaHandle[ReportState]


def night(saga: Report, message: Message[Tick]) -> Effects:
    """Two in the morning in Berlin is still the same day in UTC, all year."""
    saga.state.day = message.payload.at[:10]
    return send("build-report", {"day": saga.state.day})


def built(saga: Report, message: Message[ReportBuilt]) -> Effects:
    """Done until tomorrow."""
    saga.state.rows = message.payload.rows
    return complete({"day": saga.state.day, "rows": saga.state.rows})


nightly = (
    define_saga("NightlyReportSaga")
    .name("Nightly report")
    .description("Builds the report of the day, each night at two in Berlin.")
    .topic("reports")
    .schedule("0 0 2 * * *", "Europe/Berlin")
    .retention("365d")
    .state(ReportState())
    .on("NightBegan", night)
    .on("ReportBuilt", built)
    .build()
)
