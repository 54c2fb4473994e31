"""Metrics: of one process, and of several that share a folder, whoever of them is asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.parser import text_string_to_metric_families

from homeostat.monitoring.metrics import Metrics

Samples = dict[tuple[str, ...], float]
# Counts in a place, and prints what it would answer with.
COUNT = """
import sys
from homeostat.monitoring.metrics import Metrics, count_as
from homeostat.monitoring.state_metrics import StoredState
place, n_rows, digest = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
count_as(place)
metrics = Metrics()
metrics.workers.set(1)
metrics.pending.set(n_rows)
metrics.memory.set(1000 * place)
metrics.stored.state = StoredState(drift_score=place / 10, evidence={f"feature {place}": 1.0})
metrics.predictions.labels("1").inc(n_rows)
metrics.latency.labels("/v1/predict").observe(0.002)
metrics.show_release("a" * 64, 1)
metrics.show_release(digest, 2)
print(metrics.render().decode())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of all workers."""
    (tmp_path / "metrics").mkdir()
    return tmp_path / "metrics"


def parse(text: str) -> Samples:
    """Return every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def count_in(folder: Path, place: int, *, n_rows: int, digest: str = "b" * 64) -> Samples:
    """Count rows in a process of its own, which ends; return what it answered with."""
    command = [sys.executable, "-c", COUNT, str(place), str(n_rows), digest]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return parse(subprocess.check_output(command, env=environment, text=True))


def test_one_process_tells_about_itself() -> None:
    metrics = Metrics()
    metrics.predictions.labels("1").inc(3)

    found = parse(metrics.render().decode())

    assert found["homeostat_predictions_total", "1"] == 3
    assert found[("process_resident_memory_bytes",)] > 10_000_000


def test_the_release_that_no_longer_answers_counts_no_worker() -> None:
    metrics = Metrics()
    for digest, epoch in (("a", 1), ("b", 2), ("b", 2)):
        metrics.show_release(digest, epoch)

    found = parse(metrics.render().decode())

    assert (found["homeostat_release_info", "a", "1"], found["homeostat_release_info", "b", "2"]) == (0, 1)


def test_the_counts_of_all_workers_are_added_up(folder: Path) -> None:
    count_in(folder, 1, n_rows=5)

    found = count_in(folder, 2, n_rows=7)

    assert found["homeostat_predictions_total", "1"] == 12
    assert found["homeostat_http_request_duration_seconds_count", "/v1/predict"] == 2
    assert found[("homeostat_log_pending_rows",)] == 12
    assert found[("homeostat_workers",)] == 2
    assert found["homeostat_release_info", "b" * 64, "2"] == 2


def test_workers_that_answer_with_different_releases_are_told_apart(folder: Path) -> None:
    count_in(folder, 1, n_rows=1, digest="b" * 64)

    found = count_in(folder, 2, n_rows=1, digest="c" * 64)

    assert [found["homeostat_release_info", name * 64, epoch] for name, epoch in ("a1", "b2", "c2")] == [0, 1, 1]


def test_what_cannot_be_added_is_told_for_each_worker(folder: Path) -> None:
    count_in(folder, 2, n_rows=1)

    found = count_in(folder, 1, n_rows=1)

    assert [found["homeostat_worker_resident_memory_bytes", place] for place in "12"] == [1000, 2000]


def test_the_stored_state_is_what_the_worker_that_was_asked_has_read(folder: Path) -> None:
    count_in(folder, 2, n_rows=1)

    found = count_in(folder, 1, n_rows=1)

    assert found[("homeostat_drift_score",)] == 0.1
    assert [name for name in found if name[0] == "homeostat_evidence"] == [("homeostat_evidence", "feature 1")]


def test_a_worker_that_died_leaves_its_counts_and_nothing_else(folder: Path) -> None:
    count_in(folder, 1, n_rows=5)
    mark_process_dead(1, str(folder))  # type: ignore[no-untyped-call]  # the library types nothing here

    found = count_in(folder, 2, n_rows=7)

    assert found["homeostat_predictions_total", "1"] == 12
    assert (found[("homeostat_workers",)], found[("homeostat_log_pending_rows",)]) == (1, 7)
    assert ("homeostat_worker_resident_memory_bytes", "1") not in found


def test_a_worker_in_the_place_of_a_dead_one_counts_on(folder: Path) -> None:
    for n_rows in (5, 7, 9):
        found = count_in(folder, 1, n_rows=n_rows)
    files = len(list(folder.iterdir()))

    assert found["homeostat_predictions_total", "1"] == 21
    count_in(folder, 1, n_rows=1)
    assert len(list(folder.iterdir())) == files
