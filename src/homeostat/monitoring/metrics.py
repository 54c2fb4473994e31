"""What Prometheus is told: the name, the labels and the meaning of every metric.

Not here: when one is counted (`web`), or any alarm. https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Container, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

# Seconds. A row takes a few milliseconds with its sync of the disk, and tenths of one without.
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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
        self.pending = Gauge("homeostat_log_pending_rows", "Rows that wait for their commit.", registry=self.registry)
        self.release = Info("homeostat_release", "The release that answers, by digest.", registry=self.registry)
        self.swaps = Counter(
            "homeostat_release_swaps_total", "Releases that began to answer in this process.", registry=self.registry
        )
        self.refusals = Counter(
            "homeostat_release_refusals_total",
            "Promoted releases that failed a check at load, by error code.",
            ["code"],
            registry=self.registry,
        )
        self.drift_score = Gauge(
            "homeostat_drift_score",
            "Drifted features / features at the latest check, 0 to 1; NaN before the first.",
            registry=self.registry,
        )

    def count_violations(self, found: Mapping[tuple[str, str], int], columns: Container[str]) -> None:
        """Count broken rules by column and rule.

        A column that the schema does not hold has no series of its own: senders could make as many as they like.
        """
        for (column, rule), n_values in found.items():
            self.violations.labels(column if column in columns else "", rule).inc(n_values)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
