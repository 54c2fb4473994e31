"""A real Prometheus that scrapes a real service by the example: the values arrive, and the rules fire.

The rules are those of `deploy/prometheus`, but that none waits before it fires.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from homeostat.monitoring.drift_checks import append_check
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.events import append_event
from homeostat.store.keys import create_key
from homeostat.store.leases import take_lease
from tests.system.load import ROW
from tests.system.prometheus import Prometheus, scrape, wait_for
from tests.system.serving_process import Serving, serve

REPORT: Json = {
    "score": 0.375,
    "boundary": 0.3,
    "evidence": {"streams": {"Glucose": {"value": 2000.0}, "Age": {"value": 1.5}, ".scores": {"value": 0.5}}},
    "guarded": {"fired": False, "evidence_needed": 120.0, "alert_needed": 160.0},
}


@pytest.fixture
def token(trained_project: Path) -> str:
    """The token of a key, without which the service tells and answers nothing; a loop has been seen just now."""
    with open_project(trained_project) as project:
        # The project was trained when the tests began, and a loop that is silent since then is an alert.
        take_lease(project.database, now=datetime.now(UTC))
        with project.database.write() as connection:
            return create_key(connection, "test", frozenset({"read", "predict"}), now=datetime.now(UTC))[1]


@pytest.fixture
def serving(trained_project: Path, token: str) -> Iterator[Serving]:
    assert token
    with serve(trained_project) as started:
        yield started


@pytest.fixture
def prometheus(serving: Serving, token: str, tmp_path: Path) -> Iterator[Prometheus]:
    (tmp_path / "prometheus").mkdir()
    with scrape(serving.address.removeprefix("http://"), token, folder=tmp_path / "prometheus") as started:
        # Until the first scrape no project is known, and that is an alert.
        wait_for(lambda: started.ask("up == 1") and not started.find_firing())
        yield started


def watch_once(folder: Path) -> None:
    """Leave in the database what a loop leaves that has found a drift of one feature."""
    with open_project(folder) as project:
        take_lease(project.database, now=datetime.now(UTC))
        with project.database.write() as connection:
            append_check(connection, REPORT, epoch=1, window=(1, 200), release="r", now=datetime.now(UTC))
            append_event(connection, "alert", {"kind": "above", "subject": "Glucose"}, now=datetime.now(UTC))


def test_what_the_loop_has_found_arrives_and_calls_a_person(prometheus: Prometheus, trained_project: Path) -> None:
    watch_once(trained_project)
    expected = {"HomeostatDrift", "HomeostatEvidenceNamed", "HomeostatAlertTold"}

    wait_for(lambda: expected <= set(prometheus.find_firing()))

    assert set(prometheus.find_firing()) == expected
    assert prometheus.ask("homeostat_drift_score") == {"": 0.375}
    assert prometheus.ask("homeostat_evidence") == {"feature=Glucose": 2000, "feature=Age": 1.5, "feature=.scores": 0.5}
    assert prometheus.ask("homeostat_alerts") == {"kind=above": 1}
    assert 0 <= prometheus.ask("time() - homeostat_loop_seen_timestamp_seconds")[""] < 60
    assert math.isnan(prometheus.ask("homeostat_labels_mature_rows")[""])


def test_impossible_rows_fire_the_rule_about_their_share(prometheus: Prometheus, serving: Serving, token: str) -> None:
    wait_for(lambda: prometheus.ask("homeostat_rejected_rows_total == 0"))
    body = {"rows": [ROW] * 2 + [{**ROW, "Age": 250}] * 40}

    httpx.post(f"{serving.address}/v1/predict", json=body, headers={"Authorization": f"Bearer {token}"})

    wait_for(lambda: "HomeostatRejectedShare" in prometheus.find_firing())
    assert prometheus.ask("homeostat_rejected_rows_total") == {"": 40}
    assert prometheus.ask("sum(homeostat_predictions_total)") == {"": 2}
    assert prometheus.ask("homeostat_log_commit_duration_seconds_count") == {"": 1}
    assert 0 <= prometheus.ask("time() - homeostat_last_prediction_timestamp_seconds")[""] < 60


def test_a_service_that_was_killed_is_told_to_be_down(prometheus: Prometheus, serving: Serving) -> None:
    assert prometheus.find_firing() == {}

    serving.kill()

    wait_for(lambda: "HomeostatServiceDown" in prometheus.find_firing())
    firing = prometheus.find_firing()["HomeostatServiceDown"]
    target = serving.address.removeprefix("http://")
    assert firing["annotations"]["description"] == f"{target} has not answered a scrape for a minute."
    assert firing["labels"]["severity"] == "critical"
