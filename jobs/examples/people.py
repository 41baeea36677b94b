"""Everyday jobs: settings of a new user, a reminder, a report. Shows publishing and heartbeats."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, job, success
from jobs.examples.simulation import simulated, stable_id

REPORT_PARTS = 5
ROWS_OF_A_PART = 24


class User(Struct):
    """Whose settings."""

    userId: str
    simulate: str = ""


class Reminder(Struct):
    """Which cart was left standing."""

    cartId: str
    simulate: str = ""


class Report(Struct):
    """The day to report on, as 2026-11-21."""

    day: str = ""
    simulate: str = ""


@job("create-user-settings", on_success="UserSettingsCreated")
async def create_user_settings(ctx: JobContext[User], user: User) -> Any:
    """Give a new user the usual settings."""
    await simulated(ctx, user.simulate)
    return success({"userId": user.userId, "theme": "light", "language": "en"})


@job("send-reminder", on_success="ReminderSent")
async def send_reminder(ctx: JobContext[Reminder], reminder: Reminder) -> Any:
    """Remind somebody of a cart; tells everyone who listens that a mail went out."""
    await simulated(ctx, reminder.simulate)
    mail = stable_id("mail", ctx)
    await ctx.publish("MailSent", {"cartId": reminder.cartId, "mailId": mail})
    return success({"cartId": reminder.cartId, "mailId": mail})


@job("build-report", on_success="ReportBuilt", heartbeat="10s", timeout="2m")
async def build_report(ctx: JobContext[Report], report: Report) -> Any:
    """Count what happened on a day, part by part, with a sign of life after each."""
    await simulated(ctx, report.simulate)
    rows = 0
    for _part in range(REPORT_PARTS):
        rows += ROWS_OF_A_PART
        ctx.heartbeat()
    return success({"day": report.day, "rows": rows})
