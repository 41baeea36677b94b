"""``snorri``: the command line, all commands in their groups."""

from __future__ import annotations

import rich_click as click

from server.commands.lazy import Entry, LazyCommands

HELP_CONFIG = {
    "max_width": 100,
    "style_commands_table_column_width_ratio": (1, 4),
    "commands_before_options": True,
}

# Under the headings of the help: name, where it is, and the first paragraph of its own help.
ENTRIES = {
    "Run": (
        Entry(
            "dev",
            "start:dev",
            "Run everything on this machine: nats-server, engine, jobs, API; samples if no --app.",
        ),
        Entry(
            "engine",
            "start:engine",
            "Run an engine: decides and commits; any number may run at once.",
        ),
        Entry(
            "jobs",
            "start:jobs",
            "Run a worker for the jobs of the app, or only those of the targets named.",
        ),
        Entry(
            "serve",
            "start:serve",
            "Run the API; any number may run at once, each with a --data of its own.",
        ),
    ),
    "Send": (
        Entry(
            "publish",
            "write:publish",
            "Publish an event: TYPE and its payload as JSON, or - to read the JSON from stdin.",
        ),
        Entry(
            "start",
            "runs:start",
            "Start an instance by hand with the payload of its starting message (- is stdin).",
        ),
    ),
    "Look": (
        Entry(
            "sagas",
            "look:sagas",
            "List the sagas that engines have registered, with their instances by status.",
        ),
        Entry("instances", "look:instances", "List instances, those changed last first."),
        Entry(
            "show",
            "look:show",
            "Show an instance as it is now: state, what it waits for, what went wrong.",
        ),
        Entry(
            "history",
            "look:history",
            "Show every version of an instance, checked link by link; with --json one a line.",
        ),
        Entry(
            "replay",
            "replay:replay_command",
            "What-if: run recorded messages through the definitions as they are now.",
        ),
        Entry("events", "events:events", "List events, the newest first, and what became of each."),
        Entry(
            "event",
            "events:event",
            "Tell what happened to one event: where it went, why not, and what it led to.",
        ),
        Entry(
            "sql",
            "sql:sql",
            "Ask history in SQL (DuckDB), read-only; `-` reads the query from stdin.",
        ),
        Entry(
            "partitions",
            "partitions:partitions",
            "Show which engine works on which partition, since when, and what waits in each.",
        ),
    ),
    "Act": (
        Entry(
            "retry",
            "act:retry",
            "Handle the message again that parked an instance, or send an open command again.",
        ),
        Entry(
            "resume",
            "act:resume",
            "Go on with a paused instance; what arrived meanwhile is handled in order.",
        ),
        Entry("pause", "act:pause", "Stop an instance; messages wait in its backlog."),
        Entry(
            "cancel",
            "act:cancel",
            "End an instance now; its timers are cancelled and nothing is undone.",
        ),
        Entry(
            "compensate",
            "act:compensate",
            "Undo what an instance has done, by its .compensate handlers.",
        ),
        Entry("signal", "act:signal", "Send an instance a signal that its saga declares."),
        Entry("patch", "act:patch", "Change the state of an instance by hand."),
        Entry(
            "skip",
            "act:skip",
            "Let a parked instance go on without the message or command that parked it.",
        ),
        Entry(
            "timers",
            "timers:timers",
            "Timers of instances: what fires next, and stepping in; without a command, list.",
        ),
        Entry(
            "dead-letters",
            "letters:dead_letters",
            "Messages that no saga took, commands that were given up; without a command, list.",
        ),
    ),
    "Keep": (
        Entry(
            "check",
            "check:check_command",
            "What would this code strand, and what would it decide differently?",
        ),
        Entry(
            "verify",
            "verify:verify",
            "Prove that history is whole; fails when something is missing or was altered.",
        ),
        Entry(
            "backup", "backup:backup", "Copy everything into the new folder DIR while sagas run."
        ),
        Entry(
            "restore",
            "backup:restore_command",
            "Bring the backup DIR back, into an empty data directory or NATS server.",
        ),
        Entry(
            "view",
            "view:view_command",
            "Look at the backup DIR: dashboard, API and SQL, read-only, until Ctrl-C.",
        ),
        Entry(
            "archive",
            "archive:archive",
            "Move the history of ended instances to Parquet files, and make room in the log.",
        ),
        Entry(
            "rebuild",
            "projections:rebuild",
            "Build the projections (lists, SQL) anew from both streams.",
        ),
    ),
    "Set up": (
        Entry(
            "access",
            "access:access",
            "Users and API tokens in the file that SNORRI_AUTH (or --auth) names.",
        ),
        Entry(
            "nats-users",
            "nats_users:nats_users",
            "Write NATS users with the least rights each needs: keys, an include for nats-server.",
        ),
        Entry(
            "doctor",
            "doctor:doctor",
            "Look for what is wrong with this setup; fails when something must be mended.",
        ),
        Entry(
            "init",
            "new:init",
            "Make an app in DIR: a package with a saga, a job and a test, ready for `snorri dev`.",
        ),
        Entry(
            "new",
            "new:new",
            "Add a saga, step list, workflow or job to the app in this directory, with a test.",
        ),
        Entry(
            "config", "setup:config", "Show every setting with its value and where it comes from."
        ),
        Entry(
            "version",
            "setup:version",
            "Show the versions of Snorri, Python, nats-server and nats-py.",
        ),
    ),
}


def _version(ctx: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        ctx.invoke(cli.load("version"), as_json=False)
        ctx.exit()


@click.group(
    cls=LazyCommands, entries=ENTRIES, context_settings={"help_option_names": ["--help", "-h"]}
)
@click.rich_config(help_config=HELP_CONFIG)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="The same as `snorri version`.",
)
def cli() -> None:
    """Sagas on NATS JetStream: run them, look at them, step in.

    Settings come from options, the environment (SNORRI_…), snorri.toml, in this order; see
    `snorri config`. Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 NATS not reached.
    """


def main() -> None:
    """The console script; ends the process with an exit code."""
    cli(prog_name="snorri")
