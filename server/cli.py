"""``snorri``: the command line, all commands in their groups."""

from __future__ import annotations

import rich_click as click

from sagas.actions import ACTIONS
from server.commands import (
    access,
    archive,
    backup,
    check,
    doctor,
    events,
    letters,
    look,
    nats_users,
    partitions,
    projections,
    replay,
    runs,
    setup,
    sql,
    start,
    timers,
    verify,
    view,
    write,
)
from server.commands.act import make_command
from server.commands.common import Commands

HELP_CONFIG = {
    "max_width": 100,
    "style_commands_table_column_width_ratio": (1, 4),
    "commands_before_options": True,
}

LOOK = (
    *("sagas", "instances", "show", "history", "replay"),
    *("events", "event", "sql", "partitions"),
)


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.rich_config(help_config=HELP_CONFIG)
@click.command_panel("Run", commands=["dev", "engine", "jobs", "serve"])
@click.command_panel("Send", commands=["publish", "start"])
@click.command_panel("Look", commands=[*LOOK])
@click.command_panel("Act", commands=[*ACTIONS, "timers", "dead-letters"])
@click.command_panel(
    "Keep", commands=["check", "verify", "backup", "restore", "view", "archive", "rebuild"]
)
@click.command_panel(
    "Set up",
    commands=["access", "nats-users", "doctor", "init", "new", "config", "version"],
)
def cli() -> None:
    """Sagas on NATS JetStream: run them, look at them, step in.

    Settings come from options, the environment (SNORRI_…), snorri.toml, in this order; see
    `snorri config`. Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 NATS not reached.
    """


for _command in (
    start.dev,
    start.engine,
    start.jobs,
    start.serve,
    write.publish,
    runs.start,
    look.sagas,
    look.instances,
    look.show,
    look.history,
    replay.replay_command,
    sql.sql,
    partitions.partitions,
    events.events,
    events.event,
    *(make_command(action) for action in ACTIONS),
    timers.timers,
    letters.dead_letters,
    check.check_command,
    verify.verify,
    backup.backup,
    backup.restore_command,
    view.view_command,
    archive.archive,
    projections.rebuild,
    access.access,
    nats_users.nats_users,
    doctor.doctor,
    setup.init,
    setup.new,
    setup.config,
    setup.version,
):
    cli.add_command(_command)


def main() -> None:
    """The console script; ends the process with an exit code."""
    cli(prog_name="snorri")
