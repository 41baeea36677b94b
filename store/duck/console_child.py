"""The process that runs one question of the SQL console, and then ends.

It is started ahead of its work and waits for a ``Task`` on stdin. Before it looks at the SQL it
gives up what it could do harm with: memory, processor time, size and number of files are limited by
the operating system, its environment is empty, it yields to all other processes, the database is
opened read-only and can reach no other file. When the service that started it goes, so does it: the
system says so, or the end of stdin does. What DuckDB allows itself is therefore not what keeps the
service safe; it keeps the answers to mistakes readable.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

import duckdb
import msgspec

from store.duck.console_faults import fault_of, memory_fault
from store.duck.console_formats import Runner, StreamFailed, TooLarge, around, write
from store.duck.console_task import Fault, Report, Task
from store.duck.console_verdict import Kind, Refused, judge
from store.projection.console import ResultColumn

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
NICENESS = 10
FILES_MAX = 48
FILE_BYTES_SPARE = 4 * 1024 * 1024  # a format may only know its size once it is written
# Code, stacks and reserved address space of the process itself; memory of a query comes on top.
ADDRESS_BYTES = 1024 * 1024 * 1024


def main() -> None:
    """Wait for a task, answer it, end. The first argument is the pid of whoever started us."""
    _die_with(int(sys.argv[1]))
    os.nice(NICENESS)
    speaker = _take_stdout()
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    task = msgspec.json.decode(line, type=Task)
    _limit(task)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        report = answer(task)
    except MemoryError:
        report = Report(fault=memory_fault())
    except Exception:
        report = Report(defect=traceback.format_exc())
    speaker.write(msgspec.json.encode(report) + b"\n")
    speaker.flush()
    os._exit(0)  # nothing is left to put in order, and a large result takes a while to free


def answer(task: Task) -> Report:
    """Run the task's SQL and write what it gives; never raises for what the SQL does."""
    connection = _open(task)
    runner = Runner(connection, task.parameters)
    try:
        kind, sql = judge(connection, task.sql)
        if kind == "explain" and task.format in ("parquet", "arrow"):
            raise Refused("A plan is text.", "Ask for it as JSON or CSV.")
        columns = _columns(runner, kind, sql)
        written = write(runner, msgspec.structs.replace(task, sql=sql), kind, columns)
    except Refused as refusal:
        return Report(fault=Fault(code="refused", message=str(refusal), next=refusal.next))
    except TooLarge:
        return Report(fault=_too_large(task))
    except duckdb.Error as error:
        return Report(fault=fault_of(str(error), task.sql, runner.shift))
    except StreamFailed as error:
        return Report(fault=fault_of(str(error), task.sql, runner.shift))
    return Report(columns=columns, rows=written.rows, truncated=written.truncated)


def _columns(runner: Runner, kind: Kind, sql: str) -> tuple[ResultColumn, ...]:
    if kind == "explain":
        return (ResultColumn("explain_key", "VARCHAR"), ResultColumn("explain_value", "VARCHAR"))
    rows = runner.rows(around("DESCRIBE (", sql, ")")).fetchall()
    return tuple(ResultColumn(str(row[0]), str(row[1])) for row in rows)


def _too_large(task: Task) -> Fault:
    return Fault(
        code="size_limit",
        message=f"The answer takes more than the {task.bytes_max >> 20} MB it may have.",
        next="Lower the limit of rows, or select fewer columns.",
    )


def _open(task: Task) -> duckdb.DuckDBPyConnection:
    """The database, with everything off that is not reading it; nothing of that can be undone."""
    connection = duckdb.connect(
        task.database,
        read_only=True,
        config={
            "threads": str(task.threads),
            "memory_limit": f"{task.memory_bytes}B",
            "temp_directory": "",
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "errors_as_json": "true",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    if task.format == "parquet":
        output = task.output.replace("'", "''")
        connection.execute(f"SET allowed_paths = ['{output}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _limit(task: Task) -> None:
    for what, most in (
        (resource.RLIMIT_AS, task.memory_bytes + ADDRESS_BYTES),
        (resource.RLIMIT_CPU, task.cpu_s),
        (resource.RLIMIT_FSIZE, task.bytes_max + FILE_BYTES_SPARE),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _die_with(parent: int) -> None:
    """Be killed when the parent ends; on Linux by the system, elsewhere see ``_end_with_stdin``."""
    if sys.platform.startswith("linux"):
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            # When memory runs out, it is a question that goes and not the service.
            Path("/proc/self/oom_score_adj").write_text("1000")
        except OSError:
            pass  # a container may not let anybody write there
    if os.getppid() != parent:
        os._exit(0)


def _take_stdout() -> BinaryIO:
    """Where the report goes; whatever else is printed in this process goes nowhere."""
    speaker = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return speaker


def _end_with_stdin() -> None:
    """The parent holds our stdin open for as long as it wants the answer."""
    while os.read(0, 64):
        pass
    os._exit(0)
