"""Every complete window of a watch is checked once, whatever was killed, edited or promoted meanwhile."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from homeostat.errors import LeaseHeld
from homeostat.monitoring.alerts import list_alerts
from homeostat.monitoring.drift import detect_drift, report_from_json
from homeostat.monitoring.drift_checks import list_drift_checks
from homeostat.monitoring.production import WINDOWS_PER_CALL, stamp_rows
from homeostat.monitoring.watch_states import store_state
from homeostat.monitoring.windows import watch
from homeostat.records import Columns, DriftReport, Feature, Golden, Json, Promotion, Release, Row, Schema, Target
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import read_events
from homeostat.store.tables import watch_states
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.logistic import Logistic
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.scoring import Graph
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.validation.schema import freeze_schema
from tests.faulty_graphs import FATAL, raising
from tests.production_log import NOW, answer, lease_lost, own_lease

TARGET = Target("outcome", 0, 1)
SCHEMA = freeze_schema([Feature("x", "numeric"), Feature("city", "categorical")], TARGET)
SETTINGS = MonitoringSettings(window=50, alpha=0.01)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def draw(n_rows: int, *, shift: float = 0.0, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [{"x": float(x), "city": "AB"[i % 2]} for i, x in enumerate(rng.normal(loc=shift, size=n_rows))]


def columns_of(rows: list[Row]) -> Columns:
    return {
        "x": np.array([row["x"] for row in rows], dtype=np.float64),
        "city": np.array([row["city"] for row in rows], dtype=np.object_),
    }


@lru_cache
def release_of(schema: Schema = SCHEMA) -> Release:
    """Return a release whose baseline is 300 quiet rows, and whose scores rise with x."""
    columns = columns_of(draw(300, seed=9))
    preprocessor = fit_preprocessor(columns, SCHEMA)
    risen = (columns["x"].astype(np.float64) + np.random.default_rng(1).normal(size=300) > 0).astype(np.int8)
    model = Logistic().fit(design_matrix(preprocessor, columns, SCHEMA), risen, parameters={}, seed=0)
    graph = compile_release(preprocessor, model, Calibration(1.0, 0.0), SCHEMA)
    held_out = np.sort(Graph(graph, SCHEMA).score(columns_of(draw(100, seed=8))).astype(np.float64))
    golden = Golden({}, np.empty(0, dtype=np.float32))
    return Release("a" * 64, schema, graph, build_profile(columns, SCHEMA), golden, {}, {}, held_out)


def look(
    database: Database, *, epoch: int = 1, release: Release | None = None, now: datetime = NOW
) -> list[DriftReport]:
    promotion, lease = Promotion(epoch, "a" * 64, None, NOW, "test", "why"), own_lease(database)
    stamp_rows(database, lease=lease, epoch=epoch)
    return watch(database, release or release_of(), promotion, SETTINGS, lease=lease, now=now)


def windows(database: Database) -> list[tuple[int, int]]:
    with database.read() as connection:
        return [(check["first_seq"], check["last_seq"]) for check in list_drift_checks(connection)]


def events(database: Database) -> list[Json]:
    with database.read() as connection:
        return [event.payload for event in read_events(connection, kind="drift_checked")]


def test_windows_tumble_and_rows_beyond_the_last_complete_one_wait(database: Database) -> None:
    answer(database, draw(140))

    look(database)

    assert windows(database) == [(1, 50), (51, 100)]


def test_rows_that_waited_are_checked_with_those_that_complete_their_window(database: Database) -> None:
    answer(database, draw(80))
    look(database)
    answer(database, draw(20))

    look(database)

    assert windows(database) == [(1, 50), (51, 100)]


def test_windows_begin_anew_with_each_promotion(database: Database) -> None:
    answer(database, draw(80))
    look(database)
    answer(database, draw(60))

    look(database, epoch=2)

    assert windows(database) == [(1, 50), (81, 130)]


def test_a_window_is_checked_once(database: Database) -> None:
    answer(database, draw(100))

    assert [len(look(database)) for _ in range(3)] == [2, 0, 0]


def test_a_report_is_the_drift_test_of_the_windows_own_rows(database: Database) -> None:
    rows = draw(100, shift=1.0)
    answer(database, rows)

    _, second = look(database)

    release = release_of()
    current = count_rows(columns_of(rows[50:]), SCHEMA, release.profile)
    assert second == detect_drift(release.profile, current, alpha=0.01, boundary=SETTINGS.boundary)


def test_the_correction_is_that_of_the_settings(database: Database) -> None:
    answer(database, draw(50))
    promotion, lease = Promotion(1, "a" * 64, None, NOW, "test", "why"), own_lease(database)
    stamp_rows(database, lease=lease, epoch=1)

    watch(database, release_of(), promotion, SETTINGS.model_copy(update={"correction": "holm"}), lease=lease, now=NOW)

    assert checks(database)[0]["correction"] == "holm"


def test_a_stored_report_is_the_one_that_was_returned(database: Database) -> None:
    answer(database, draw(50))

    (report,) = look(database)

    with database.read() as connection:
        assert report_from_json(list_drift_checks(connection)[0]["report"]) == report


def test_a_population_that_moved_fires_and_one_that_stayed_does_not(database: Database) -> None:
    answer(database, draw(100) + draw(50, shift=2.0))

    reports = look(database)

    assert [report.fired for report in reports] == [False, False, True]
    assert reports[2].drifted == ("x",)


def test_each_check_is_one_event_with_figures_and_names_but_no_value(database: Database) -> None:
    answer(database, draw(50, shift=2.0))

    look(database)

    (told,) = events(database)
    explained = told.pop("scores")
    expected = {"window": [1, 50], "score": 0.5, "boundary": 0.3, "fired": True, "drifted": ["x"]}
    assert told == {**expected, "guarded": True, "since": 1}
    assert explained["now"] - explained["then"] == pytest.approx(explained["features"]["x"])


def test_rows_that_an_edited_schema_refuses_are_left_out_of_their_window(database: Database) -> None:
    answer(database, draw(30) + [{**row, "x": "text"} for row in draw(20)])

    (report,) = look(database)

    assert report.n_current == 30


def test_a_window_that_an_edited_schema_empties_does_not_stop_the_watch(database: Database) -> None:
    answer(database, [{**row, "x": "text"} for row in draw(50)] + draw(50, shift=2.0))

    emptied, full = look(database)

    assert (emptied.n_current, emptied.fired, emptied.features) == (0, False, ())
    assert (full.n_current, full.fired) == (50, True)


def test_a_row_on_which_the_graph_fails_does_not_stop_the_watch(database: Database) -> None:
    sound = release_of()
    answer(database, [{**row, "x": FATAL if place == 7 else row["x"]} for place, row in enumerate(draw(50, shift=2.0))])

    (report,) = look(database, release=replace(sound, graph=raising(sound.graph)))

    (check,) = checks(database)
    assert (report.n_current, report.fired) == (50, True)
    assert check["estimated"]["n_rows"] == 49
    assert np.isfinite([check["explanation"]["now"], check["explanation"]["then"]]).all()


def states(database: Database) -> list[tuple[int, bytes]]:
    with database.read() as connection:
        return [(line.epoch, line.state) for line in connection.execute(select(watch_states))]


def test_windows_looked_at_one_by_one_leave_the_evidence_of_one_look_bit_for_bit(
    database: Database, tmp_path: Path
) -> None:
    rows = draw(300) + draw(200, shift=0.5)
    for start in range(0, 500, 70):
        answer(database, rows[start : start + 70])
        look(database)

    assert states(database) == [uninterrupted(tmp_path, rows)]


def checks(database: Database) -> list[Json]:
    with database.read() as connection:
        return [check["report"] for check in list_drift_checks(connection)]


def test_a_later_watch_gathers_its_reference_from_its_own_rows(database: Database) -> None:
    answer(database, draw(50))
    look(database)
    answer(database, draw(600, shift=3.0))

    look(database, epoch=2)

    evidence = [report["evidence"] for report in checks(database)[1:]]
    assert [one["gathering"] for one in evidence] == [True] * 9 + [False] * 3
    assert [(one["n_reference"], one["n_rows"]) for one in evidence[8:11]] == [(450, 0), (500, 0), (500, 50)]
    assert not any(report["guarded"]["fired"] for report in checks(database)[1:])


def test_only_the_evidence_of_the_watch_under_way_is_kept(database: Database) -> None:
    for epoch in (1, 2):
        answer(database, draw(50))
        look(database, epoch=epoch)

    assert [epoch for epoch, _ in states(database)] == [2]


def alerts(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        return [(alert["kind"], alert["subject"]) for alert in list_alerts(connection, epoch=1)]


def test_a_stream_whose_evidence_suffices_alone_is_named_once(database: Database) -> None:
    answer(database, draw(400, shift=1.0))

    look(database)

    assert sorted(alerts(database)) == [("evidence", ".scores"), ("evidence", "x")]


def test_an_alert_in_a_window_of_few_rows_holds_no_value_of_theirs(database: Database) -> None:
    value = max(float(row["x"] or 0) for row in draw(300, seed=9))
    answer(database, [{**row, "x": value} for row in draw(60)])
    promotion, lease = Promotion(1, "a" * 64, None, NOW, "test", "why"), own_lease(database)
    stamp_rows(database, lease=lease, epoch=1)

    watch(database, release_of(), promotion, SETTINGS.model_copy(update={"window": 1}), lease=lease, now=NOW)

    with database.read() as connection:
        sentences = [alert["sentence"] for alert in list_alerts(connection, epoch=1)]
    assert sentences
    assert not any(f"{value:.4g}" in sentence for sentence in sentences)


def test_a_quiet_watch_names_nothing(database: Database) -> None:
    answer(database, draw(1_000, seed=5))

    look(database)

    assert alerts(database) == []


def test_a_feature_that_turns_constant_is_a_drift_like_any(database: Database) -> None:
    answer(database, draw(50) + [{**row, "x": 1.25} for row in draw(100)])

    look(database)

    assert [report["guarded"]["fired"] for report in checks(database)] == [False, True, True]


def test_a_feature_that_is_no_longer_sent_is_a_drift_like_any(database: Database) -> None:
    answer(database, [{"city": "AB"[i % 2]} for i in range(100)])

    look(database)

    assert checks(database)[1]["features"][0]["shift"].endswith("missing 0 % -> 100 %")
    assert ("evidence", "x") in alerts(database)


def test_a_clock_that_jumps_back_changes_nothing_but_the_time_told(database: Database) -> None:
    for seed, years in enumerate((0, -3, 5)):
        answer(database, draw(50, seed=seed))
        look(database, now=NOW.replace(year=NOW.year + years))

    assert windows(database) == [(1, 50), (51, 100), (101, 150)]


def test_scores_are_held_against_rows_that_training_has_not_seen(database: Database) -> None:
    answer(database, draw(50, seed=3) + draw(50, seed=4, shift=1.0))

    look(database)

    quiet, moved = (report["scores"] for report in checks(database))
    assert (quiet["drifted"], moved["drifted"]) == (False, True)
    assert quiet["then"] == moved["then"]


def test_what_performance_to_expect_is_part_of_each_report(database: Database) -> None:
    answer(database, draw(50))

    look(database)

    estimated = checks(database)[0]["estimated"]
    assert estimated["auc"]["low"] < estimated["auc"]["value"] < estimated["auc"]["high"]


def test_a_release_of_before_is_watched_without_its_scores(database: Database) -> None:
    answer(database, draw(50))

    look(database, release=replace(release_of(), held_out=np.empty(0)))

    assert checks(database)[0]["scores"] is None
    assert set(checks(database)[0]["evidence"]["streams"]) == {"x", "city"}


def test_a_backlog_is_taken_in_pieces_so_that_the_loop_can_renew_its_lease(database: Database) -> None:
    answer(database, draw(2 * WINDOWS_PER_CALL + 6))
    promotion, lease = Promotion(1, "a" * 64, None, NOW, "test", "why"), own_lease(database)
    stamp_rows(database, lease=lease, epoch=1)
    pairs = SETTINGS.model_copy(update={"window": 2})

    taken = [len(watch(database, release_of(), promotion, pairs, lease=lease, now=NOW)) for _ in range(3)]

    assert taken == [WINDOWS_PER_CALL, 3, 0]


def test_evidence_that_another_version_has_left_begins_anew(database: Database) -> None:
    answer(database, draw(50))
    look(database)
    with database.write() as connection:
        store_state(connection, epoch=1, kind="evidence", last_seq=50, state=b"of another version")
    answer(database, draw(50))

    look(database)

    assert [report["evidence"]["n_rows"] for report in checks(database)] == [50, 50]


def test_a_watch_of_nothing_reports_nothing(database: Database) -> None:
    assert look(database) == []


def test_a_loop_that_lost_its_lease_stores_no_check(database: Database) -> None:
    answer(database, draw(50))
    stamp_rows(database, lease=own_lease(database), epoch=1)
    promotion = Promotion(1, "a" * 64, None, NOW, "test", "why")

    with lease_lost(database) as lease, pytest.raises(LeaseHeld):
        watch(database, release_of(), promotion, SETTINGS, lease=lease, now=NOW)

    assert windows(database) == []
    assert events(database) == []


def test_the_window_is_that_of_the_settings(database: Database) -> None:
    answer(database, draw(100))
    promotion, lease = Promotion(1, "a" * 64, None, NOW, "test", "why"), own_lease(database)
    stamp_rows(database, lease=lease, epoch=1)

    watch(database, release_of(), promotion, SETTINGS.model_copy(update={"window": 30}), lease=lease, now=NOW)

    assert windows(database) == [(1, 30), (31, 60), (61, 90)]


WATCHER = """
import sys
from homeostat.store.database import Database
from tests.monitoring.test_windows import look
with Database(sys.argv[1]) as database:
    look(database)
"""


def uninterrupted(folder: Path, rows: list[Row]) -> tuple[int, bytes]:
    """Return the state to which one look brings the same rows."""
    with Database(f"sqlite:///{folder / 'other.db'}") as other:
        answer(other, rows)
        look(other)
        (state,) = states(other)
    return state


def test_a_watch_that_is_killed_goes_on_without_repeating_or_leaving_out_a_window(
    database: Database, tmp_path: Path
) -> None:
    answer(database, draw(4_000))
    command = [sys.executable, "-c", WATCHER, str(database.engine.url)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as watcher:
        while len(windows(database)) < 5 and watcher.poll() is None:
            time.sleep(0.01)
        watcher.send_signal(signal.SIGKILL)

    done = len(windows(database))
    look(database)
    (killed,) = states(database)

    assert 5 <= done < 80
    assert killed == uninterrupted(tmp_path, draw(4_000))
    assert windows(database) == [(first, first + 49) for first in range(1, 4_000, 50)]
    assert len(events(database)) == 80
