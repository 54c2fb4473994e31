"""A release is compared with its predecessor on the rows whose outcomes were judged, each of them once."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import insert, update

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.deployment.registry import require_production
from homeostat.deployment.restoring import last_good, restore
from homeostat.errors import LeaseHeld
from homeostat.monitoring.outcomes import judge_outcomes
from homeostat.monitoring.succession import Succession, succession_to_bytes
from homeostat.monitoring.succession_checks import judge_succession, restore_succession, score_again
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.project import Project
from homeostat.records import Promotion, Release
from homeostat.retraining.aftercare import find_breach, look_after
from homeostat.store.leases import Lease
from homeostat.store.tables import labels, predictions
from homeostat.training.scoring import Graph
from tests.faulty_graphs import FATAL, pack_faulty, raising, turned, unchanged
from tests.production_log import lease_lost, own_lease
from tests.retraining.clinic import draw_patients
from tests.retraining.clinic_after import keep_answers, promote_another, promote_digest

NOW = datetime.now(UTC)
WINDOW = 50


def succeed(project: Project, fault: Callable[[bytes], bytes]) -> Promotion:
    """Promote a release that differs from the champion in its graph."""
    with project.database.read() as connection:
        sound = require_production(connection).release
    return promote_digest(project, pack_faulty(project.blobs, sound, fault))


def live(
    project: Project, promotion: Promotion, *, windows: int = 2, labelled: bool = True, source: str = "clinic"
) -> None:
    """Let a release answer patients of whom all outcomes are known, and a loop look at them."""
    rows, outcomes = draw_patients(windows * WINDOW, seed=promotion.epoch)
    release = open_it(project, promotion)
    scores = Graph(release.graph, release.schema).score(stack_rows(rows, release.schema))
    ids = keep_answers(project, promotion, rows, scores.tolist(), epoch=promotion.epoch)
    if labelled:
        lines = [
            {"prediction": id_, "label": json.dumps(outcome), "received_at": NOW, "source": source}
            for id_, outcome in zip(ids, outcomes, strict=True)
        ]
        with project.database.write() as connection:
            connection.execute(insert(labels), lines)


def open_it(project: Project, promotion: Promotion) -> Release:
    return recall_release(find_release(promotion.release, project.blobs))


def look(project: Project, promotion: Promotion, *, lease: Lease | None = None) -> Succession:
    """Judge outcomes and the succession as a loop does, and return where the comparison stands."""
    release, held = open_it(project, promotion), lease or own_lease(project.database)
    later = datetime.now(UTC) + timedelta(days=30)
    judge_outcomes(project.database, release, promotion, project.settings.monitoring, lease=held, now=later)
    look_after(project, release, promotion, lease=held, now=later)
    return state(project, promotion)


def state(project: Project, promotion: Promotion) -> Succession:
    with project.database.read() as connection:
        return restore_succession(connection, epoch=promotion.epoch)


def alarm(project: Project) -> str | None:
    breach = find_breach(project, now=datetime.now(UTC))
    return breach.alarm if breach else None


def test_a_release_that_outcomes_speak_against_must_go(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, turned)
    live(clinic, second, windows=6)

    found = look(clinic, second)

    assert champion.epoch == 1
    assert found.n_rows == 6 * WINDOW
    assert found.error > found.error_before
    assert alarm(clinic) == "outcomes"


def test_a_release_that_answers_as_its_predecessor_stays(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, unchanged)
    live(clinic, second, windows=4)

    found = look(clinic, second)

    assert champion.epoch == 1
    assert found.error == pytest.approx(found.error_before)
    assert alarm(clinic) is None


def test_outcomes_speak_long_after_the_probation_too(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, unchanged)
    live(clinic, second, windows=21, labelled=False)
    look(clinic, second)
    assert champion.epoch == 1
    assert alarm(clinic) is None

    with clinic.database.write() as connection:
        worse = Succession(100, 40.0, 15.0, 30.0, 0, {"clinic": 100}, np.zeros(4))
        content = succession_to_bytes(worse)
        store_state(connection, epoch=second.epoch, kind="succession", last_seq=1, state=content)

    assert alarm(clinic) == "outcomes"


def test_each_row_counts_once_however_often_a_loop_looks(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, unchanged)
    live(clinic, second)
    first = look(clinic, second)

    again = look(clinic, second)

    assert champion.epoch == 1
    assert succession_to_bytes(again) == succession_to_bytes(first)


def test_rows_count_only_when_their_window_was_judged(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, unchanged)
    live(clinic, second, labelled=True)

    look_after(clinic, open_it(clinic, second), second, lease=own_lease(clinic.database), now=NOW)

    assert champion.epoch == 1
    assert state(clinic, second).n_rows == 0


def test_the_first_release_is_compared_with_nobody(clinic: Project, champion: Promotion) -> None:
    live(clinic, champion)

    assert look(clinic, champion).n_rows == 0


def test_rows_that_the_predecessor_cannot_answer_are_passed_over(clinic: Project, champion: Promotion) -> None:
    assert champion.epoch == 1
    succeed(clinic, raising)
    third = promote_another(clinic)
    live(clinic, third, windows=2)
    with clinic.database.write() as connection:
        fatal = json.dumps({"age": FATAL, "dose": 1.0, "city": "A"}).encode()
        connection.execute(update(predictions).where(predictions.c.observed_seq == 1).values(row=fatal))

    found = look(clinic, third)

    assert found.n_rows == WINDOW


@pytest.mark.parametrize(("n_rows", "n_answers"), [(150, 150), (999, 999), (2500, 500)])
def test_the_predecessor_answers_a_sample_of_many_rows(
    clinic: Project, champion: Promotion, n_rows: int, n_answers: int
) -> None:
    assert champion.epoch == 1
    second = promote_another(clinic)
    rows = [json.dumps(row).encode() for row in draw_patients(n_rows, seed=1)[0]]

    scores = score_again(clinic, second, open_it(clinic, second), rows)

    assert scores is not None
    assert len(scores) == n_answers


def test_a_release_is_not_compared_with_one_that_was_rolled_back(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, turned)
    with clinic.database.read() as connection:
        assert last_good(connection) == champion.release

    back = restore(
        clinic.database,
        champion.release,
        expected_epoch=second.epoch,
        alarm="hand",
        reason="test",
        actor="test",
        labels_ever=0,
        now=NOW,
    )
    live(clinic, back)

    assert look(clinic, back).n_rows == 0


def test_a_loop_that_lost_its_lease_stores_no_comparison(clinic: Project, champion: Promotion) -> None:
    second = succeed(clinic, unchanged)
    live(clinic, second)
    release, settings = open_it(clinic, second), clinic.settings
    own, later = own_lease(clinic.database), datetime.now(UTC) + timedelta(days=30)
    judge_outcomes(clinic.database, release, second, settings.monitoring, lease=own, now=later)

    before = open_it(clinic, champion)
    with lease_lost(clinic.database) as lease, pytest.raises(LeaseHeld):
        judge_succession(clinic.database, release, before, second, settings, lease=lease, now=later)

    with clinic.database.read() as connection:
        assert find_state(connection, epoch=second.epoch, kind="succession") is None
