"""All metrics of Snorri: names, labels, units. The page in the docs is made from this list.

Names begin with ``snorri_``, units are base units (seconds, bytes), counters end in ``_total``.
Labels have few values, never keys of instances: sagas, targets, statuses, routes.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
)

PREFIX = "snorri"
COMMIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
WAIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
HTTP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Catalog:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.build = Info(
            f"{PREFIX}_build", "Version of Snorri and of Python", registry=self.registry
        )
        self.build.info({"version": version, "python": platform.python_version()})
        self._engine()
        self._worker()
        self._installation()
        self._http()

    def _engine(self) -> None:
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self.transitions = counter(
            "transitions",
            "Transitions this engine committed; outcome as the event of the live view is called",
            ("saga", "outcome"),
        )
        self.messages = counter("messages", "Messages this engine committed the position of")
        self.letters = counter("dead_letters_written", "Dead letters this engine wrote")
        self.batch_size = histogram("commit_batch_transitions", "Transitions of one commit", BATCH)
        self.commit_s = histogram("commit_seconds", "How long a commit took", COMMIT_S)
        self.message_age_s = histogram(
            "commit_message_age_seconds",
            "Age of the first message of a commit when it was decided: stored until decided",
            WAIT_S,
        )
        self.conflicts = counter(
            "commit_conflicts", "Commits that were refused since somebody else wrote; decided again"
        )
        self.busy = counter("commit_busy", "Commits the broker had no room for; sent again")
        self.unknown = counter(
            "commit_unknown", "Commits without an answer; the positions were read back"
        )
        self.partitions = gauge("partitions_owned", "Partitions this engine works on")
        self.lane_depth = gauge(
            "lane_depth", "Messages stored for this engine's partitions and not decided yet"
        )
        self.timer_lateness_s = histogram(
            "timer_lateness_seconds", "Time from a timer's due moment to its transition", WAIT_S
        )

    def _worker(self) -> None:
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self.attempts = counter(
            "attempts",
            "Attempts of jobs that ended here: completed, failed, retried, timed_out, returned",
            ("target", "outcome"),
        )
        self.job_s = histogram("job_seconds", "How long an attempt ran", WAIT_S, ("target",))
        self.job_wait_s = histogram(
            "job_wait_seconds",
            "Time from a command's storing to its first attempt",
            WAIT_S,
            ("target",),
        )
        self.jobs_running = gauge("jobs_running", "Attempts that run here now", ("target",))
        self.results = counter("results_stored", "Results of attempts that were stored")
        self.results_delayed = counter(
            "results_delayed", "Results that could not be stored at once; sent again"
        )
        self.results_lost = counter("results_lost", "Results the broker refuses for good")
        self.refused = counter("commands_refused", "Messages on a command's subject that are none")

    def _installation(self) -> None:
        gauge = self._gauge
        self.instances = gauge("instances", "Instances by status, projected", ("saga", "status"))
        self.letters_open = gauge("dead_letters_open", "Dead letters nobody dealt with, projected")
        self.timers = gauge("timers_pending", "Timers that are set, projected")
        self.queue_depth = gauge(
            "job_queue_depth", "Commands that no worker was given yet", ("target",)
        )
        self.queue_flight = gauge(
            "job_queue_in_flight", "Commands given to workers and not ended", ("target",)
        )
        self.projected = gauge(
            "projection_sequence", "Sequence up to which a stream is projected", ("stream",)
        )
        self.projection_lag = gauge(
            "projection_lag_messages", "Messages that are stored and not projected"
        )
        self.projection_lag_s = gauge(
            "projection_lag_seconds", "Age of the oldest message that is not projected"
        )
        self.projection_fault = gauge("projection_fault", "1 when the projections stand still")
        self.unowned = gauge(
            "partitions_without_engine", "Partitions that no engine works on; their messages wait"
        )
        self.refusing = gauge(
            "refusing_new_sagas", "1 when the store is nearly full, so that no new sagas are taken"
        )
        self.connected = gauge("nats_connected", "1 when this process has a connection to NATS")
        self.scrape_errors = self._counter(
            "scrape_errors", "Figures that could not be had for an answer", ("source",)
        )

    def _http(self) -> None:
        self.requests = self._counter(
            "http_requests",
            "Requests by route template and status, streams when they end",
            ("method", "route", "status"),
        )
        self.request_s = self._histogram(
            "http_request_seconds", "How long requests took, streams left out", HTTP_S, ("route",)
        )
        self.streams = self._gauge("live_streams", "Clients of the live view")
        self.stream_drops = self._gauge(
            "live_events_dropped", "Events that clients lost since they read too slowly"
        )

    def _counter(self, name: str, help: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", help, tuple(labels), registry=self.registry)

    def _gauge(self, name: str, help: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help, tuple(labels), registry=self.registry)

    def _histogram(
        self, name: str, help: str, buckets: Iterable[float], labels: Iterable[str] = ()
    ) -> Histogram:
        return Histogram(
            f"{PREFIX}_{name}", help, tuple(labels), registry=self.registry, buckets=tuple(buckets)
        )
