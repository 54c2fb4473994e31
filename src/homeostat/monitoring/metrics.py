"""What Prometheus is told: the name, the labels and the meaning of every metric.

Not here: when one is counted (`web`), or any alarm. https://prometheus.io/docs/practices/naming/

Several workers count in files of a folder that they share; whichever is asked adds them all up. A worker that took the
place of a dead one counts on where that one stopped, so that no counter ever falls.
https://prometheus.github.io/client_python/multiprocess/
"""

import math
import os
import threading
from collections.abc import Container, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from homeostat.monitoring.state_metrics import StateCollector

# Where the workers' files are. prometheus_client reads it when it is imported, and the supervisor sets it before that.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
STATM = Path("/proc/self/statm")
# Seconds. A row takes a few milliseconds with its sync of the disk, and tenths of one without.
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def count_as(place: int) -> None:
    """Count in the shared files of one place from now on; to be called before the first `Metrics` is made.

    No two living processes may have the same place. The folder is that of PROMETHEUS_MULTIPROC_DIR.
    """
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # the library types no function here


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # What is asked for: the folder of all workers if there is one, else what this process counts.
        self._shown = CollectorRegistry() if SHARED in os.environ else self.registry
        if SHARED in os.environ:
            MultiProcessCollector(self._shown)  # type: ignore[no-untyped-call]  # as above
        else:
            ProcessCollector(registry=self.registry)
        self.stored = StateCollector()
        self._shown.register(self.stored)
        self._rendering = threading.Lock()
        self._answering: tuple[str, str] | None = None
        self.requests = Counter(
            "homeostat_http_requests_total",
            "Requests answered, by route and status code.",
            ["route", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "homeostat_http_request_duration_seconds",
            "Time from a request's first byte to its answer's last, by route.",
            ["route"],
            registry=self.registry,
            buckets=LATENCY_BUCKETS,
        )
        self.errors = Counter(
            "homeostat_http_errors_total",
            "Problems answered, by error code.",
            ["code"],
            registry=self.registry,
        )
        self.predictions = Counter(
            "homeostat_predictions_total", "Rows answered and stored.", ["label"], registry=self.registry
        )
        self.rejected = Counter(
            "homeostat_rejected_rows_total", "Rows refused as impossible, and stored.", registry=self.registry
        )
        self.violations = Counter(
            "homeostat_rule_violations_total",
            "Values of rejected rows that broke a rule, by column (empty: not in the schema) and rule.",
            ["column", "rule"],
            registry=self.registry,
        )
        self.labels = Counter(
            "homeostat_labels_total", "Outcomes received, by what became of them.", ["status"], registry=self.registry
        )
        self.commits = Histogram(
            "homeostat_log_commit_duration_seconds",
            "Time of one commit of the prediction log, the sync of the disk included.",
            registry=self.registry,
            buckets=LATENCY_BUCKETS,
        )
        self.pending = Gauge(
            "homeostat_log_pending_rows",
            "Rows that wait for their commit.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.durability = Gauge(
            "homeostat_log_durability_info",
            "1 for what an answered row survives.",
            ["level"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.in_progress = Gauge(
            "homeostat_http_requests_in_progress",
            "Requests under way.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.workers = Gauge(
            "homeostat_workers", "Processes that answer.", registry=self.registry, multiprocess_mode="livesum"
        )
        self.memory = Gauge(
            "homeostat_worker_resident_memory_bytes",
            "Resident memory of each worker.",
            registry=self.registry,
            multiprocess_mode="liveall",
        )
        self.release = Gauge(
            "homeostat_release_info",
            "Workers that answer with a release, by its digest and the epoch of its promotion.",
            ["digest", "epoch"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.swaps = Counter(
            "homeostat_release_swaps_total", "Releases that began to answer in this process.", registry=self.registry
        )
        self.refusals = Counter(
            "homeostat_release_refusals_total",
            "Promoted releases that failed a check at load, by error code.",
            ["code"],
            registry=self.registry,
        )

    def count_violations(self, found: Mapping[tuple[str, str], int], columns: Container[str]) -> None:
        """Count broken rules by column and rule.

        A column that the schema does not hold has no series of its own: senders could make as many as they like.
        """
        for (column, rule), n_values in found.items():
            self.violations.labels(column if column in columns else "", rule).inc(n_values)

    def show_release(self, digest: str, epoch: int) -> None:
        """Note which release this process answers with; the one before counts one worker less."""
        answering = digest, str(epoch)
        if answering == self._answering:
            return
        if self._answering is not None:
            self.release.labels(*self._answering).set(0)  # not removed: shared files forget nothing
        self.release.labels(*answering).set(1)
        self._answering = answering

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format: of this process, or of all workers if there are several."""
        with self._rendering:
            return generate_latest(self._shown)


def resident_memory_bytes() -> float:
    """Return how much memory this process holds; NaN where the system does not tell: no /proc, no free descriptor."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.nan
