"""Processes: ``dev`` for one machine; ``engine``, ``jobs`` and ``serve`` as separate ones.

Each runs until Ctrl-C (exit code 130) or SIGTERM (0), stops in order, and stops at once when asked
again. What runs is put together in ``server.composition``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import rich_click as click
from rich.text import Text

from server.commands.common import PANEL_CONNECTION, run, settings_options
from server.commands.example import example_of
from server.commands.output import address, say
from server.composition import Process, Role, build_process
from server.connecting import Runtime, open_embedded, open_remote
from server.embedded_cluster import EmbeddedCluster
from server.loading import SAMPLES, App, app_of
from server.logs import configure_logs
from server.running import run_until_signal
from server.settings import Settings
from server.stranding import look_before_start
from server.tuning import tune

BROKER = {
    PANEL_CONNECTION: (
        *("nats_url", "nats_creds", "bucket", "namespace", "partitions", "replicas"),
    ),
    "Log and traces": ("log_format", "log_level", "traces"),
}
METRICS = {"Metrics": ("metrics_port", "metrics_host")}
WAIT_S = 30.0

wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3600),
    default=WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for NATS at the start.",
)


@click.command()
@settings_options(
    *("app", "data", "archive", "cluster", "nats_port", "host", "port", "auth"),
    *("sync_always", "store_bytes_max"),
    more=BROKER | {"Steps": ("inline_steps",)},
)
def dev(settings: Settings) -> int:
    """Run everything on this machine: nats-server, engine, jobs, API; samples if no --app."""
    configure_logs(settings.log_format, settings.log_level)
    app = app_of(settings)
    _check_api(settings)
    tune()

    async def work() -> int:
        async with open_embedded(settings) as runtime:
            await look_before_start(runtime, app, allow=True)  # here one tries things out
            process = build_process(settings, runtime, app, ("engine", "jobs", "api"))
            return await run_until_signal(
                process.supervisor, lambda: _welcome(settings, runtime, app, process)
            )

    return run(work())


@click.command()
@click.option(
    "--with-jobs", is_flag=True, help="Run the jobs in this process too; steps begin here at once."
)
@click.option(
    "--allow-stranded", is_flag=True, help="Start although running instances could not go on."
)
@wait_option
@settings_options("app", "data", "nats_port", more=BROKER | METRICS | {"Steps": ("inline_steps",)})
def engine(settings: Settings, with_jobs: bool, allow_stranded: bool, wait_s: float) -> int:
    """Run an engine: decides and commits; any number may run at once."""
    roles: tuple[Role, ...] = ("engine", "jobs") if with_jobs else ("engine",)
    return _run_roles(settings, roles, (), wait_s, allow_stranded=allow_stranded)


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET…]")
@wait_option
@settings_options("app", "data", "nats_port", more=BROKER | METRICS)
def jobs(settings: Settings, targets: tuple[str, ...], wait_s: float) -> int:
    """Run a worker for the jobs of the app, or only those of the targets named."""
    return _run_roles(settings, ("jobs",), targets, wait_s)


@click.command()
@wait_option
@settings_options("app", "data", "archive", "nats_port", "host", "port", "auth", more=BROKER)
def serve(settings: Settings, wait_s: float) -> int:
    """Run the API; any number may run at once, each with a --data of its own."""
    _check_api(settings)
    return _run_roles(settings, ("api",), (), wait_s)


def _check_api(settings: Settings) -> None:
    """Raise what would keep the API from starting, before anything is started."""
    # Not at the top: the other commands go without the web framework and DuckDB.
    from server.api.service import check_listen
    from server.serving import access_source

    access_source(settings)
    check_listen(settings.host, settings.port)


def _run_roles(
    settings: Settings,
    roles: tuple[Role, ...],
    targets: tuple[str, ...],
    wait_s: float,
    *,
    allow_stranded: bool = False,
) -> int:
    configure_logs(settings.log_format, settings.log_level)
    app = app_of(settings)
    app.jobs.select(targets or None)  # an unknown target is told before anything is connected
    tune()

    async def work() -> int:
        make = "engine" in roles  # a worker may lack the permission, and does not set partitions
        async with open_remote(settings, make=make, wait_s=wait_s) as runtime:
            if "engine" in roles:
                await look_before_start(runtime, app, allow=allow_stranded)
            process = build_process(settings, runtime, app, roles, targets)
            return await run_until_signal(
                process.supervisor, lambda: _running(runtime, roles, process)
            )

    return run(work())


def _running(runtime: Runtime, roles: tuple[Role, ...], process: Process) -> None:
    where = f"{address(runtime.url)}, bucket {runtime.names.bucket}"
    at = f" at {process.serving.address}" if process.serving else ""
    say(f"{' and '.join(roles)}{at} on {where}; Ctrl-C stops")


def _welcome(settings: Settings, runtime: Runtime, app: App, process: Process) -> None:
    """What runs where, and one line to try."""
    names, server = runtime.names, runtime.server
    say(Text("Snorri is ready", style="bold green"))
    count = len(server.nodes) if isinstance(server, EmbeddedCluster) else 1
    ours = "embedded" if count == 1 else f"a cluster of {count}, embedded"
    nats = f"nats-server {server.version}, {ours}" if server else "yours"
    say(f"  NATS       {address(runtime.url)} ({nats}), bucket {names.bucket}")
    if server:
        say(f"  data       {server.data_dir}")
    samples = " (samples; yours with --app MODULE)" if app.modules == SAMPLES else ""
    say(f"  app        {', '.join(app.modules)}{samples}")
    say(f"  sagas      {', '.join(sorted(d.id for d in app.registry)) or 'none'}")
    say(f"  jobs       {', '.join(sorted(app.jobs.targets)) or 'none'}")
    api = process.serving.address if process.serving else ""
    open_to = "needs a login or a token" if settings.auth else "open to this machine, no login"
    say(f"  dashboard  {api} ({open_to})")
    say(f"  API        {api}/api/v1, its routes: {api}/schema")
    type, body, key = example_of(app)
    say("try")
    say(f"  {program()} publish {type} '{body}' --key {key}{_flags(settings, runtime)}")
    event = f'{{"type":"{type}","key":"{key}","payload":{body}}}'
    json_type = "-H 'content-type: application/json'"
    say(f"  curl -s {api}/api/v1/sagas/publish {json_type} -d '{event}'")
    say(f"  nats pub {names.event(type, key)} '{body}' -s {address(runtime.url)}")
    say("Ctrl-C stops everything in order")


def program() -> str:
    """How the command line of this environment is called from this directory."""
    ours = Path(sys.executable).with_name("snorri")
    found = shutil.which("snorri")
    if not ours.exists() or (found is not None and Path(found).resolve() == ours.resolve()):
        return "snorri"
    return str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours)


def _flags(settings: Settings, runtime: Runtime) -> str:
    """What the line to try needs so that it reaches this installation from the same directory."""
    flags = ""
    if runtime.server is None:
        flags += f" --nats-url {address(runtime.url)}"
    elif settings.data != ".snorri":
        flags += f" --data {settings.data}"
    if settings.bucket != "SAGA":
        flags += f" --bucket {settings.bucket}"
    if settings.namespace != "saga":
        flags += f" --namespace {settings.namespace}"
    return flags
