"""Each window's outcomes are judged once, when they have had their time, whatever was killed or late meanwhile."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, insert, select, update

from homeostat.errors import LeaseHeld
from homeostat.monitoring.concept import advance_concept, begin_concept, concept_to_bytes
from homeostat.monitoring.entries import label_to_text
from homeostat.monitoring.outcome_checks import last_judged, newest_outcome_checks
from homeostat.monitoring.outcomes import find_hearing, judge_outcomes, outcomes_wait
from homeostat.monitoring.performance import measure_performance
from homeostat.monitoring.production import WINDOWS_PER_CALL, stamp_rows
from homeostat.monitoring.sources import Hearing
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.records import (
    Alert,
    Feature,
    Floats,
    Golden,
    Json,
    Label,
    OutOfFold,
    Profile,
    Promotion,
    Release,
    Target,
)
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import read_events
from homeostat.store.leases import give_lease_back
from homeostat.store.tables import labels, predictions
from homeostat.training.evaluation import Labels
from homeostat.validation.schema import freeze_schema
from tests.production_log import NOW, lease_lost, own_lease

DAY = timedelta(days=1)
TARGET = Target("outcome", "no", "yes")
SETTINGS = MonitoringSettings(window=50, maturity_s=86_400)
RELEASE, BEFORE = "a" * 64, "b" * 64


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def draw(n_rows: int, *, turned: bool = False, seed: int = 0) -> tuple[Floats, Labels]:
    """Return calibrated probabilities with outcomes that follow them, or their opposites."""
    rng = np.random.default_rng(seed)
    probabilities = 1 / (1 + np.exp(-rng.normal(-0.9, 1.8, size=n_rows)))
    positive = rng.random(n_rows) < probabilities
    return probabilities, (positive ^ turned).astype(np.int8)


def release_of(*, held_out: bool = True) -> Release:
    """Return a release with 614 out-of-fold rows; judging outcomes needs no graph."""
    schema = freeze_schema([Feature("x", "numeric")], TARGET)
    golden = Golden({}, np.empty(0, dtype=np.float32))
    rows = OutOfFold(*draw(614, seed=9)) if held_out else None
    return Release(RELEASE, schema, b"", Profile(0, {}), golden, {}, {}, out_of_fold=rows)


def answer(
    database: Database,
    probabilities: Sequence[float] | Floats,
    *,
    days_old: float = 2,
    release: str = RELEASE,
    epoch: int = 1,
) -> list[str]:
    """Append answered rows of some age, and stamp them on the watch."""
    with database.write() as connection:
        known = connection.scalar(select(func.count()).select_from(predictions)) or 0
        ids = [f"p{known + place:06}" for place in range(len(probabilities))]
        values = {"release": release, "row": b"{}", "label": '"no"'}
        lines = [{**values, "id": i, "probability": float(p)} for i, p in zip(ids, probabilities, strict=True)]
        # A microsecond apart: each is a request of its own. The newest is as old as was asked for.
        for place, line in enumerate(reversed(lines)):
            line["received_at"] = NOW - days_old * DAY - timedelta(microseconds=place)
        connection.execute(insert(predictions), lines)
    stamp_rows(database, lease=own_lease(database), epoch=epoch)
    return ids


def label(
    database: Database,
    ids: Sequence[str],
    outcomes: Sequence[int] | Labels,
    *,
    days_old: float = 1,
    source: str = "test",
) -> None:
    values: list[Label] = ["yes" if outcome else "no" for outcome in outcomes]
    rest: dict[str, Any] = {"received_at": NOW - days_old * DAY, "source": source}
    lines = [{"prediction": i, "label": label_to_text(v), **rest} for i, v in zip(ids, values, strict=True)]
    with database.write() as connection:
        connection.execute(insert(labels), lines)


def produce(database: Database, n_rows: int, *, turned: bool = False, seed: int = 0) -> tuple[Floats, Labels]:
    """Append answered rows of two days ago with all their outcomes."""
    probabilities, outcomes = draw(n_rows, turned=turned, seed=seed)
    label(database, answer(database, probabilities), outcomes)
    return probabilities, outcomes


def judge(database: Database, *, now: datetime = NOW, epoch: int = 1, release: Release | None = None) -> list[Alert]:
    promotion = Promotion(epoch, RELEASE, None, NOW, "test", "why")
    lease = own_lease(database)
    return judge_outcomes(database, release or release_of(), promotion, SETTINGS, lease=lease, now=now)


def checks(database: Database, *, epoch: int = 1) -> list[Json]:
    with database.read() as connection:
        return newest_outcome_checks(connection, epoch=epoch, limit=1_000)


def windows(database: Database, *, epoch: int = 1) -> list[tuple[int, int]]:
    return [(check["first_seq"], check["last_seq"]) for check in checks(database, epoch=epoch)]


def state(database: Database) -> tuple[int, bytes] | None:
    with database.read() as connection:
        return find_state(connection, epoch=1, kind="concept")


def hearing(database: Database) -> Hearing:
    with database.read() as connection:
        found = find_hearing(connection, epoch=1)
    assert found is not None
    return found


def events(database: Database, kind: str) -> list[Json]:
    with database.read() as connection:
        return [event.payload for event in read_events(connection, kind=kind)]


# --- which windows ------------------------------------------------------------------------------------------------


def test_windows_tumble_and_rows_beyond_the_last_complete_one_wait(database: Database) -> None:
    produce(database, 140)

    judge(database)
    judge(database)

    assert windows(database) == [(1, 50), (51, 100)]


def test_a_window_waits_until_all_of_it_has_had_its_time(database: Database) -> None:
    answer(database, [0.5] * 49, days_old=2)
    answer(database, [0.5] * 51, days_old=0.5)

    judge(database)
    before = windows(database)
    judge(database, now=NOW + 0.5 * DAY)

    assert (before, windows(database)) == ([], [(1, 50), (51, 100)])


def test_a_window_that_has_all_its_outcomes_is_judged_before_its_time(database: Database) -> None:
    ids = answer(database, [0.5] * 50, days_old=0)
    label(database, ids[1:], [1] * 49, days_old=0)
    judge(database)
    before = windows(database)
    label(database, ids[:1], [1], days_old=0)

    judge(database)

    assert (before, windows(database)) == ([], [(1, 50)])


def test_a_window_that_has_all_its_outcomes_waits_for_those_before_it(database: Database) -> None:
    answer(database, [0.5] * 50, days_old=0)
    label(database, answer(database, [0.5] * 50, days_old=0), [1] * 50, days_old=0)

    judge(database)
    before = windows(database)
    judge(database, now=NOW + DAY)

    assert (before, windows(database)) == ([], [(1, 50), (51, 100)])


def test_outcomes_judged_early_leave_the_tests_where_outcomes_judged_in_time_would(
    database: Database, tmp_path: Path
) -> None:
    probabilities, outcomes = draw(100, turned=True)
    with Database(f"sqlite:///{tmp_path / 'in_time.db'}") as in_time:
        label(in_time, answer(in_time, probabilities, days_old=0), outcomes, days_old=0)
        judge(in_time, now=NOW + 2 * DAY)
        expected = state(in_time)
    ids = answer(database, probabilities, days_old=0)
    for start in (0, 50):
        label(database, ids[start : start + 50], outcomes[start : start + 50], days_old=0)
        judge(database)

    assert state(database) == expected


def test_a_backlog_is_taken_in_pieces_and_the_rest_is_known_to_wait(database: Database) -> None:
    answer(database, [0.5] * (2 * WINDOWS_PER_CALL + 6))
    promotion, lease = Promotion(1, RELEASE, None, NOW, "test", "why"), own_lease(database)
    pairs = SETTINGS.model_copy(update={"window": 2})
    taken, waiting = [], []
    for _ in range(2):
        judge_outcomes(database, release_of(), promotion, pairs, lease=lease, now=NOW)
        taken.append(len(windows(database)))
        waiting.append(outcomes_wait(database, promotion, pairs, now=NOW))

    assert taken == [WINDOWS_PER_CALL, WINDOWS_PER_CALL + 3]
    assert waiting == [True, False]


def test_windows_begin_anew_with_each_promotion_and_so_do_the_tests(database: Database) -> None:
    produce(database, 80)
    judge(database)
    answer(database, [0.5] * 50, epoch=2)

    judge(database, epoch=2)

    assert windows(database, epoch=2) == [(81, 130)]
    assert checks(database, epoch=2)[0]["report"]["risk"]["n_rows"] == 0


def test_a_prediction_from_the_future_does_not_hold_up_those_behind_it(database: Database) -> None:
    answer(database, [0.5] * 49)
    answer(database, [0.5] * 10, days_old=-400)
    judge(database)
    before = windows(database)
    answer(database, [0.5] * 41)

    judge(database)

    assert (before, windows(database)) == ([], [(1, 50), (51, 100)])


@pytest.mark.parametrize("years", [-40, 40])
def test_a_clock_that_jumps_judges_no_window_twice_and_stops_nothing(database: Database, years: int) -> None:
    produce(database, 50)
    judge(database)
    judge(database, now=NOW + 365 * years * DAY)
    produce(database, 50, seed=1)

    judge(database)

    assert windows(database) == [(1, 50), (51, 100)]


@pytest.mark.parametrize("maturity_s", [1e300, float("inf")])
def test_outcomes_that_are_awaited_for_ever_are_never_judged(database: Database, maturity_s: float) -> None:
    label(database, answer(database, [0.5] * 50)[1:], [1] * 49)
    promotion = Promotion(1, RELEASE, None, NOW, "test", "why")
    endless = SETTINGS.model_copy(update={"maturity_s": maturity_s})

    judge_outcomes(database, release_of(), promotion, endless, lease=own_lease(database), now=NOW)

    assert windows(database) == []


def test_a_window_whose_predictions_are_gone_does_not_stop_the_watch(database: Database) -> None:
    produce(database, 50)
    judge(database)
    produce(database, 100, seed=1)
    with database.write() as connection:
        connection.execute(delete(predictions).where(predictions.c.observed_seq.between(51, 100)))

    judge(database)

    assert windows(database) == [(1, 50), (51, 100), (101, 150)]
    assert [check["report"]["n_rows"] for check in checks(database)] == [50, 0, 50]


def test_a_watch_without_rows_has_nothing_to_judge(database: Database) -> None:
    assert judge(database) == []


# --- what is said of them -----------------------------------------------------------------------------------------


def test_a_check_holds_the_figures_of_the_windows_own_rows(database: Database) -> None:
    probabilities, outcomes = produce(database, 100)

    judge(database)

    second = checks(database)[1]["report"]
    assert second["realised"] == measure_performance(outcomes[50:], probabilities[50:], seed=51)
    assert (second["n_rows"], second["n_labelled"], second["n_outcomes"], second["n_other"]) == (50, 50, 50, 0)


def test_a_check_tells_how_many_outcomes_there_were_and_how_late(database: Database) -> None:
    ids = answer(database, [0.5] * 50)
    label(database, ids[:20], [1] * 20, days_old=1.5)

    judge(database)

    assert checks(database)[0]["report"]["delay"] == pytest.approx(
        {
            "labelled_share": 0.4,
            "median_s": 43_200.0,
            "p90_s": 43_200.0,
            "n_unlabelled": 30,
            "oldest_unlabelled_s": 172_800.0,
        },
        rel=1e-6,
    )


def test_few_outcomes_are_counted_and_tested_but_not_measured(database: Database) -> None:
    label(database, answer(database, [0.5] * 50)[:29], [1] * 29)

    judge(database)

    report = checks(database)[0]["report"]
    assert (report["n_labelled"], report["realised"], report["risk"]["n_rows"]) == (29, None, 29)


def test_outcomes_of_one_class_give_no_auc(database: Database) -> None:
    label(database, answer(database, [0.5] * 50), [1] * 50)

    judge(database)

    realised = checks(database)[0]["report"]["realised"]
    assert (realised["auc"], realised["accuracy"]["value"]) == (None, 1.0)


def test_rows_that_the_release_before_answered_count_for_nothing(database: Database) -> None:
    probabilities, outcomes = draw(50)
    label(database, answer(database, [0.0] * 15, release=BEFORE), [1] * 15)
    label(database, answer(database, probabilities[:35]), outcomes[:35])

    judge(database)

    report = checks(database)[0]["report"]
    assert (report["n_rows"], report["n_other"], report["n_outcomes"], report["n_labelled"]) == (50, 15, 50, 35)
    assert report["realised"] == measure_performance(outcomes[:35], probabilities[:35], seed=1)
    assert report["risk"]["n_rows"] == 35


def test_outcomes_that_the_target_does_not_know_count_for_nothing(database: Database) -> None:
    produce(database, 50)
    with database.write() as connection:
        connection.execute(update(labels).where(labels.c.prediction < "p000040").values(label="1"))

    judge(database)

    report = checks(database)[0]["report"]
    assert (report["n_labelled"], report["n_outcomes"]) == (10, 50)


def test_an_outcome_that_comes_after_its_window_was_judged_counts_for_no_test(database: Database) -> None:
    ids = answer(database, [0.5] * 100)
    judge(database)
    before = state(database)
    label(database, ids, [1] * 100)

    judge(database)

    assert state(database) == before
    assert windows(database) == [(1, 50), (51, 100)]


def test_each_check_is_one_event_with_figures(database: Database) -> None:
    produce(database, 50)

    judge(database)

    (event,) = events(database, "outcomes_checked")
    report = checks(database)[0]["report"]
    assert (event["window"], event["n_rows"], event["n_labelled"]) == ([1, 50], 50, 50)
    assert event["auc"] == report["realised"]["auc"]["value"]
    assert (event["risk"], event["residual"]) == (report["risk"]["value"], report["residual"]["value"])


def test_a_release_without_out_of_fold_rows_is_measured_and_not_tested(database: Database) -> None:
    produce(database, 50)

    alerts = judge(database, release=release_of(held_out=False))

    report = checks(database)[0]["report"]
    assert (alerts, report["risk"], report["residual"], state(database)) == ([], None, None, None)
    assert report["realised"]["n_rows"] == 50


# --- alerts -------------------------------------------------------------------------------------------------------


def test_outcomes_that_follow_the_probabilities_raise_no_alert(database: Database) -> None:
    produce(database, 2_000)

    assert judge(database) == []
    assert events(database, "alert") == []


def test_outcomes_that_turn_round_raise_each_alert_once(database: Database) -> None:
    produce(database, 200)
    quiet = judge(database)
    produce(database, 200, turned=True, seed=1)

    alerts = judge(database)
    produce(database, 100, turned=True, seed=2)

    assert (quiet, judge(database)) == ([], [])
    assert sorted(alert.kind for alert in alerts) == ["residual", "risk"]
    assert [event["kind"] for event in events(database, "alert")] == [alert.kind for alert in alerts]


def test_an_alert_says_what_was_seen_and_what_was_to_be_expected(database: Database) -> None:
    _, outcomes = produce(database, 50, turned=True)

    (alert, *_) = judge(database)

    assert (alert.kind, alert.subject) == ("risk", "outcome")
    assert alert.sentence.startswith(f"{alert.figures['n_wrong']} of 50 answers with an outcome were wrong (")
    assert alert.figures["peak"] >= alert.figures["needed"] == 40
    payload = events(database, "alert")[0]
    assert set(payload) == {"kind", "subject", "sentence", "figures", "epoch"}
    assert len(outcomes) == payload["figures"]["n_rows"]


def test_the_alert_of_the_residuals_says_in_which_way_outcomes_differ(database: Database) -> None:
    probabilities, _ = draw(300)
    label(database, answer(database, probabilities), [1] * 300)

    alerts = {alert.kind: alert for alert in judge(database)}

    assert alerts["residual"].sentence.startswith("outcomes are positive more often than predicted: ")


def label_by_three(database: Database, n_rows: int, *, turned: Sequence[str] = (), seed: int = 0) -> None:
    """Answer rows whose outcomes three sources send in turn; some of these send the opposite."""
    probabilities, outcomes = draw(n_rows, seed=seed)
    ids = answer(database, probabilities)
    for place, source in enumerate("abc"):
        sent = outcomes[place::3] ^ (source in turned)
        label(database, ids[place::3], sent.astype(np.int8), source=source)


def test_one_source_that_contradicts_the_others_is_named_once(database: Database) -> None:
    label_by_three(database, 300)
    quiet = judge(database)
    label_by_three(database, 600, turned="b", seed=1)

    alerts = [alert for alert in judge(database) if alert.kind == "source"]
    label_by_three(database, 100, turned="b", seed=2)

    assert (quiet, [alert.subject for alert in alerts], judge(database)) == ([], ["b"], [])
    assert "only the outcomes of this source contradict the release, since about row " in alerts[0].sentence
    assert [event["subject"] for event in events(database, "alert") if event["kind"] == "source"] == ["b"]


def test_a_change_that_all_sources_see_names_none_of_them(database: Database) -> None:
    label_by_three(database, 600, turned="abc")

    assert sorted(alert.kind for alert in judge(database)) == ["residual", "risk"]


def test_a_single_source_is_never_named_whatever_it_sends(database: Database) -> None:
    produce(database, 600, turned=True)

    assert "source" not in {alert.kind for alert in judge(database)}


def test_outcomes_of_rows_that_the_release_before_answered_speak_for_no_source(database: Database) -> None:
    label(database, answer(database, [0.0] * 20, release=BEFORE), [1] * 20, source="before")
    label(database, answer(database, [0.5] * 30), [1] * 30, source="after")

    judge(database)

    assert [(name, source.last) for name, source in hearing(database).sources.items()] == [("after", 50)]


def test_the_first_outcomes_to_arrive_being_the_positive_ones_raises_no_alert(database: Database) -> None:
    probabilities, outcomes = draw(500)
    ids = np.array(answer(database, probabilities, days_old=0))
    alerts = []
    for half_days, chosen in enumerate([outcomes == 1, outcomes == 0]):
        label(database, list(ids[chosen]), outcomes[chosen])
        alerts += judge(database, now=NOW + half_days * DAY)

    assert alerts == []
    assert checks(database)[-1]["report"]["risk"]["n_rows"] == 500


# --- going on -----------------------------------------------------------------------------------------------------


def test_the_state_is_that_of_all_judged_outcomes_at_once(database: Database) -> None:
    probabilities, outcomes = produce(database, 130)

    judge(database)

    held_out = release_of().out_of_fold
    assert held_out is not None
    begun = begin_concept(held_out.probabilities, held_out.labels)
    expected = advance_concept(begun, probabilities[:100], outcomes[:100])
    assert concept_to_bytes(hearing(database).everyone.concept) == concept_to_bytes(expected)


def test_a_state_of_another_version_is_begun_anew(database: Database) -> None:
    produce(database, 50)
    with database.write() as connection:
        store_state(connection, epoch=1, kind="concept", last_seq=0, state=b"\x91\x63")

    judge(database)

    assert checks(database)[0]["report"]["risk"]["n_rows"] == 50


def test_a_loop_that_lost_its_lease_stores_nothing(database: Database) -> None:
    produce(database, 50, turned=True)
    promotion = Promotion(1, RELEASE, None, NOW, "test", "why")

    with lease_lost(database) as lease, pytest.raises(LeaseHeld):
        judge_outcomes(database, release_of(), promotion, SETTINGS, lease=lease, now=NOW)

    assert (windows(database), state(database)) == ([], None)
    assert events(database, "outcomes_checked") == events(database, "alert") == []


JUDGE = """
import sys
from homeostat.store.database import Database
from tests.monitoring.test_outcomes import judge
with Database(sys.argv[1]) as database:
    judge(database)
"""


def test_a_judgement_that_is_killed_goes_on_to_the_same_bits(database: Database, tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'undisturbed.db'}") as undisturbed:
        produce(undisturbed, 2_000)
        judge(undisturbed)
        expected = (windows(undisturbed), state(undisturbed), events(undisturbed, "outcomes_checked"))
    produce(database, 2_000)
    give_lease_back(database, own_lease(database))
    command = [sys.executable, "-c", JUDGE, str(database.engine.url)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as judging:
        while len(windows(database)) < 5 and judging.poll() is None:
            time.sleep(0.01)
        judging.send_signal(signal.SIGKILL)
    done = len(windows(database))

    judge(database)

    assert 5 <= done < 40
    assert (windows(database), state(database), events(database, "outcomes_checked")) == expected


def test_the_last_judged_number_is_that_of_the_watch(database: Database) -> None:
    produce(database, 50)
    judge(database)

    with database.read() as connection:
        assert [last_judged(connection, epoch=epoch) for epoch in (1, 2)] == [50, None]


def test_a_report_is_plain_json(database: Database) -> None:
    produce(database, 50, turned=True)

    judge(database)

    json.dumps(checks(database), allow_nan=False)


def test_a_release_with_no_held_out_row_at_all_is_not_tested(database: Database) -> None:
    produce(database, 50)
    empty = replace(release_of(), out_of_fold=OutOfFold(np.empty(0), np.empty(0, dtype=np.int8)))

    judge(database, release=empty)

    assert checks(database)[0]["report"]["risk"] is None
