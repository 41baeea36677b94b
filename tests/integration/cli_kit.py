"""What tests of the command line share: a running `snorri dev`, and commands beside it.

Commands that end run in the test's own process, since starting Python for each takes its time;
those that run until they are stopped, and those that must fail to start, are processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner, Result

from server.cli import cli
from server.datadir import holder_of
from tests.waiting import eventually_sync

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30.0


class Snorri:
    """Runs `snorri` in one directory."""

    def __init__(self, cwd: Path, **environment: str) -> None:
        self.cwd = cwd
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SNORRI_")}
        more = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONFAULTHANDLER": "1"}
        self.environment = {**kept, **more, **environment}

    def run(self, *arguments: str, code: int = 0, input: str | None = None) -> Result:
        """Run a command to its end, which must have this exit code."""
        with contextlib.chdir(self.cwd):
            done = CliRunner(env=self.environment).invoke(
                cli, list(arguments), input=input, prog_name="snorri"
            )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, (arguments, done.exit_code, done.stdout, done.stderr)
        return done

    def fail(self, *arguments: str, code: int) -> str:
        """Run a command as a process that must end with this code; what it says on stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "server", *arguments],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        return done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def eventually(self, predicate: Callable[[], Any], what: str) -> Any:
        """The first true value, within a time."""
        return eventually_sync(predicate, 20.0, what)


class Process(Snorri):
    """A command that runs until it is stopped; ``output`` is what it has printed so far."""

    def __init__(self, cwd: Path, *arguments: str, **environment: str) -> None:
        super().__init__(cwd, **environment)
        self._path = cwd / f"{arguments[0]}-{os.urandom(3).hex()}.out"
        with self._path.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server", *arguments],
                cwd=cwd,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Tests that run in the background of a shell ignore it, and would pass that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def output(self) -> str:
        """All it has printed."""
        return self._path.read_text(errors="replace")

    def until(self, words: str) -> str:
        """Its output once it holds ``words``; fails when it ends before."""

        def look() -> bool:
            assert words in self.output or self.process.poll() is None, self.output
            return words in self.output

        eventually_sync(look, READY_S, f"{words!r} in the output")
        return self.output

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait; the exit code. One that does not end says where it is."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(timeout=20)
            raise AssertionError(f"it goes on after {number.name}:\n{self.output}") from None

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20)


def dev(cwd: Path, *arguments: str, **environment: str) -> Process:
    """A `snorri dev` that is ready, on free ports, in ``cwd``."""
    ports = ("--nats-port", "0", "--port", "0")
    command = ("dev", *ports, "--no-sync-always", "--log-level", "warning", *arguments)
    process = Process(cwd, *command, **environment)
    try:
        process.until("Ctrl-C stops everything")  # the last line of what it says
    except BaseException:
        process.close()
        raise
    return process


def dev_with_tills(folder: Path, modules: Mapping[str, str]) -> Process:
    """A `snorri dev` with ``till_then``, one of these modules, and an amount rung in the tills a, b
    and c.
    """
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    process = dev(folder, "--app", "till_then")
    try:
        for key, amount in (("a", 5), ("b", 50), ("c", 7)):
            process.run("publish", "Rung", json.dumps({"amount": amount}), "--key", key)
    except BaseException:
        process.close()
        raise
    return process


def port_when_ready(process: Process) -> str:
    """The port of its API, once that calls itself ready: from then on lists answer."""
    found = re.search(r"http://[^\s/]+:(\d+)", process.output)
    assert found is not None, process.output

    def ready() -> bool:
        try:
            return httpx.get(f"{found[0]}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    eventually_sync(ready, READY_S, "the API being ready")
    return found[1]


def nats_url(data: Path) -> str:
    """Where the embedded server of a data directory is."""
    holder = holder_of(data)
    assert holder is not None
    return f"nats://127.0.0.1:{holder.port}"
