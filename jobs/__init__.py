"""Jobs: the functions that do a saga's work, and what runs them.

This is the public face for authors. A job gets a context and the payload of a command, and returns,
or raises; when it runs, how often and who hears of it is the worker's business.
"""

from __future__ import annotations

from jobs.context import JobContext
from jobs.dependencies import DependencyError, Providers
from jobs.job import Job, JobRegistry, job
from jobs.outcome import PermanentFailure, failure, success

__all__ = [
    "DependencyError",
    "Job",
    "JobContext",
    "JobRegistry",
    "PermanentFailure",
    "Providers",
    "failure",
    "job",
    "success",
]
