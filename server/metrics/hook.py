"""What engines and workers tell becomes figures. Quick: an engine tells of 25,000 transitions a
second, so each is only counted in a dictionary and the metrics are moved once for a batch.
"""

from __future__ import annotations

from collections import Counter
from typing import assert_never

from jobs.telemetry import (
    BatchCommitted,
    BatchConflicted,
    CommandRefused,
    CommitBusy,
    CommitUnknown,
    JobEnded,
    JobRetried,
    JobStarted,
    PartitionLeft,
    PartitionTaken,
    ResultLost,
    ResultsDelayed,
    ResultsPublished,
    Telemetry,
)
from sagas.decision import Transition
from server.live.changes import change_names
from server.metrics.catalog import Catalog


class MetricsHook:
    """A hook of engines and workers that counts into a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def told(self, moment: Telemetry) -> None:
        """Count."""
        catalog = self._catalog
        match moment:
            case BatchCommitted():
                self._batch(moment)
            case BatchConflicted():
                catalog.conflicts.inc()
            case CommitBusy():
                catalog.busy.inc()
            case CommitUnknown():
                catalog.unknown.inc()
            case PartitionTaken():
                catalog.partitions.inc()
            case PartitionLeft():
                catalog.partitions.dec()
            case JobStarted():
                catalog.jobs_running.labels(moment.target).inc()
                if moment.attempt == 1:
                    catalog.job_wait_s.labels(moment.target).observe(moment.waited_s)
            case JobEnded():
                catalog.jobs_running.labels(moment.target).dec()
                catalog.attempts.labels(moment.target, moment.outcome).inc()
                catalog.job_s.labels(moment.target).observe(moment.duration_s)
            case ResultsPublished():
                catalog.results.inc(moment.count)
            case ResultsDelayed():
                catalog.results_delayed.inc(moment.count)
            case ResultLost():
                catalog.results_lost.inc()
            case CommandRefused():
                catalog.refused.inc()
            case JobRetried():
                pass  # counted with its attempt
            case _:
                assert_never(moment)

    def _batch(self, batch: BatchCommitted) -> None:
        catalog, transitions = self._catalog, batch.transitions
        catalog.messages.inc(batch.messages)
        catalog.batch_size.observe(len(transitions))
        catalog.commit_s.observe(batch.duration_s)
        if batch.letters:
            catalog.letters.inc(batch.letters)
        if not transitions:
            return
        first = transitions[0].after
        age_s = (first.at - first.cause.at).total_seconds()
        catalog.message_age_s.observe(max(0.0, age_s))
        counts: Counter[tuple[str, str]] = Counter()
        for transition in transitions:
            before, after = transition.before, transition.after
            names = change_names(before.status if before else None, after.status)
            counts[after.saga, names[-1]] += 1
            if after.cause.kind == "timer":
                self._timer(transition)
        for (saga, outcome), count in counts.items():
            catalog.transitions.labels(saga, outcome).inc(count)

    def _timer(self, transition: Transition) -> None:
        before, cause = transition.before, transition.after.cause
        timer = before.timers.get(cause.id.rpartition("@")[0]) if before else None
        if timer is not None:
            late_s = (transition.after.at - timer.at).total_seconds()
            self._catalog.timer_lateness_s.observe(max(0.0, late_s))
