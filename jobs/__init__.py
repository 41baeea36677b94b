"""Jobs: the functions that do a saga's work, and what runs them.

This is the public face for authors. A job gets a context and the payload of a command, and returns,
or raises; when it runs, how often and who hears of it is the worker's business.
"""

from __future__ import annotations

from jobs.context import JobContext
from jobs.database import Database, DatabaseTransaction
from jobs.dependencies import DependencyError, Providers, RunId
from jobs.job import Job, JobRegistry, job
from jobs.outcome import PermanentFailure, failure, success
from jobs.step_calls import CallFailed, CallTimedOut
from jobs.step_context import StepContext
from jobs.step_errors import (
    ErrorPolicy,
    clear_terminal_errors,
    register_terminal_errors,
    set_error_mapper,
    unregister_terminal_errors,
)
from jobs.steps import step_jobs
from store.job_calls import UnknownTarget

__all__ = [
    "CallFailed",
    "CallTimedOut",
    "Database",
    "DatabaseTransaction",
    "DependencyError",
    "ErrorPolicy",
    "Job",
    "JobContext",
    "JobRegistry",
    "PermanentFailure",
    "Providers",
    "RunId",
    "StepContext",
    "UnknownTarget",
    "clear_terminal_errors",
    "failure",
    "job",
    "register_terminal_errors",
    "set_error_mapper",
    "step_jobs",
    "success",
    "unregister_terminal_errors",
]
