"""A release on probation goes for a reason that was reported, and passes once enough rows were answered without one."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import HELD_OUT, find_release, open_release, recall_release
from homeostat.deployment.registry import require_production
from homeostat.deployment.restoring import restore
from homeostat.monitoring.alerts import list_alerts
from homeostat.monitoring.bake import judge_output
from homeostat.monitoring.latencies import N_BUCKETS, bucket_of
from homeostat.monitoring.production import count_labels_ever
from homeostat.monitoring.worker_reports import (
    PER_SILENCE,
    REPORT_S,
    WorkerReport,
    longest_pause_s,
    name_worker,
    store_reports,
)
from homeostat.project import Project, open_project
from homeostat.records import Json, Promotion, Row
from homeostat.retraining.aftercare import conclude_bake, find_breach, look_after, on_probation
from homeostat.store.events import append_event, read_events
from homeostat.training.scoring import Graph
from tests.faulty_graphs import FATAL, pack_faulty, raising
from tests.production_log import own_lease
from tests.retraining.clinic import draw_patients
from tests.retraining.clinic_after import keep_answers, promote_another, promote_digest, publish

# Every byte is as it was packed, and yet it is no release.
UNREADABLE = {HELD_OUT: b"{}"}
IMPATIENT_S = 0.5
SECOND = timedelta(seconds=1)
SCORES = np.random.default_rng(3).beta(2, 3, size=400).tolist()


@pytest.fixture
def second(clinic: Project, champion: Promotion) -> Promotion:
    """A release that has taken the champion's place."""
    assert champion.epoch == 1
    return promote_another(clinic, held_out=SCORES[:150])


@pytest.fixture
def impatient(clinic: Project, second: Promotion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The clinic with a short limit of silence, and a second release in production."""
    assert second.epoch == 2
    monkeypatch.setenv("HOMEOSTAT_RETRAINING__BAKE_SILENCE_S", str(IMPATIENT_S))
    with open_project(clinic.folder) as project:
        yield project


def report(
    project: Project,
    *,
    epoch: int = 2,
    worker: str | None = None,
    answered: int = 0,
    failed: int = 0,
    seconds: float = 0.001,
    age_s: float = 0,
    ended: bool = False,
) -> None:
    """Put one worker's report into the database."""
    latency = [0] * N_BUCKETS
    latency[bucket_of(seconds)] = answered
    at = datetime.now(UTC) - age_s * SECOND
    line = WorkerReport(worker or name_worker(), epoch, at, at, at if ended else None, answered, failed, latency)
    with project.database.write() as connection:
        store_reports(connection, [line], now=at)


def alarm(project: Project) -> str | None:
    breach = find_breach(project, now=datetime.now(UTC))
    return breach.alarm if breach else None


def answer(project: Project, promotion: Promotion, n_rows: int, *, scores: Sequence[float] = SCORES) -> None:
    """Let a release answer so many distinct rows."""
    rows: list[Row] = [{**row, "age": number / 100} for number, row in enumerate(draw_patients(n_rows, seed=1)[0])]
    keep_answers(project, promotion, rows, [scores[number % len(scores)] for number in range(n_rows)])


def conclude(project: Project, promotion: Promotion) -> bool:
    return conclude_bake(project, promotion, lease=own_lease(project.database), now=datetime.now(UTC))


def go_back(project: Project, release: str, *, at: int) -> Promotion:
    with project.database.read() as connection:
        labels_ever = count_labels_ever(connection)
    return restore(
        project.database,
        release,
        expected_epoch=at,
        alarm="errors",
        reason="test",
        actor="test",
        labels_ever=labels_ever,
        now=datetime.now(UTC),
    )


def probation(project: Project) -> str | None:
    with project.database.read() as connection:
        return on_probation(connection, project, require_production(connection))


def refuse_to_load(project: Project, promotion: Promotion) -> None:
    payload = {"release": promotion.release, "epoch": promotion.epoch, "code": "artifact-corrupt", "problem": "a byte"}
    with project.database.write() as connection:
        append_event(connection, "release_refused", payload, now=datetime.now(UTC))


def look(project: Project, promotion: Promotion) -> None:
    """Look after a release as a loop does."""
    release = open_release(find_release(promotion.release, project.blobs))
    look_after(project, release, promotion, lease=own_lease(project.database), now=datetime.now(UTC))


def alerts(project: Project) -> list[Json]:
    with project.database.read() as connection:
        return [alert for epoch in (1, 2) for alert in list_alerts(connection, epoch=epoch)]


# --- breaches -----------------------------------------------------------------------------------------------------


def test_a_release_of_which_nothing_is_known_may_stay(clinic: Project, second: Promotion) -> None:
    assert second.epoch == 2
    assert alarm(clinic) is None


def test_a_release_whose_requests_fail_must_go(clinic: Project, second: Promotion) -> None:
    report(clinic, epoch=second.epoch, worker="elsewhere:1:1", answered=50, failed=5)
    report(clinic, epoch=second.epoch, worker="elsewhere:2:1", answered=50, failed=5)

    assert alarm(clinic) == "errors"


def test_what_its_predecessor_did_speaks_not_against_it(clinic: Project, second: Promotion) -> None:
    report(clinic, epoch=second.epoch - 1, answered=50, failed=50)

    assert alarm(clinic) is None


def test_a_release_that_answers_slowly_must_go(clinic: Project, second: Promotion) -> None:
    report(clinic, epoch=second.epoch - 1, answered=1000, seconds=0.01)
    report(clinic, epoch=second.epoch, answered=200, seconds=0.1)

    assert alarm(clinic) == "latency"


@pytest.mark.parametrize("epoch", [None, 2], ids=["not seen by a loop yet", "seen"])
def test_a_release_whose_answers_are_others_than_before_must_go(
    clinic: Project, second: Promotion, epoch: int | None
) -> None:
    rows: list[Row] = [{"age": number / 10, "dose": 1.0, "city": "A"} for number in range(200)]
    keep_answers(clinic, second, rows, [0.9] * 100 + [0.95] * 100, epoch=epoch)

    assert alarm(clinic) == "output"


def test_answers_that_the_predecessor_would_give_too_are_the_world_that_has_moved(
    clinic: Project, champion: Promotion
) -> None:
    second = promote_another(clinic)
    rows: list[Row] = [{"age": 100 + number / 100, "dose": 45.0, "city": "C"} for number in range(200)]
    release = open_release(find_release(champion.release, clinic.blobs))
    scores = Graph(release.graph, release.schema).score(stack_rows(rows, release.schema))
    keep_answers(clinic, second, rows, scores.tolist())

    assert judge_output(scores.astype(np.float64), release.held_out) is not None
    assert alarm(clinic) is None


def test_one_row_that_is_sent_again_and_again_is_no_distribution(clinic: Project, second: Promotion) -> None:
    keep_answers(clinic, second, [{"age": 50.0, "dose": 1.0, "city": "A"}] * 500, [0.9] * 500)

    assert alarm(clinic) is None


def test_a_release_that_a_service_could_not_load_must_go(clinic: Project, second: Promotion) -> None:
    refuse_to_load(clinic, second)

    assert alarm(clinic) == "refused"


def test_a_worker_that_has_ended_or_is_gone_is_not_silent(clinic: Project, second: Promotion) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    report(clinic, epoch=second.epoch, worker=f"{os.uname().nodename}:{gone.pid}:1", answered=10, age_s=60)
    report(clinic, epoch=second.epoch, worker="elsewhere:1:1", answered=10, age_s=60, ended=True)

    assert alarm(clinic) is None


@pytest.mark.parametrize("age_s", [60, -3600], ids=["an old report", "one from the future"])
def test_a_worker_that_hangs_is_a_breach(impatient: Project, age_s: float) -> None:
    report(impatient, epoch=2, answered=10, age_s=age_s)

    assert alarm(impatient) == "silence"


def test_an_idle_worker_that_speaks_once_more_after_the_machine_has_slept_is_no_breach(
    clinic: Project, second: Promotion
) -> None:
    report(clinic, epoch=second.epoch, answered=10, age_s=60)
    beat_s = clinic.settings.retraining.bake_silence_s / PER_SILENCE
    beat = threading.Timer(beat_s + 0.2, lambda: report(clinic, epoch=second.epoch, answered=10))

    beat.start()
    found = alarm(clinic)
    beat.join()

    assert found is None


def test_the_last_word_is_longer_than_a_live_worker_may_be_silent() -> None:
    assert longest_pause_s(10) == 10 / PER_SILENCE + REPORT_S + 1
    assert longest_pause_s(1) == 2 / PER_SILENCE + 1


def test_a_worker_whose_number_was_given_to_another_process_is_gone(clinic: Project, second: Promotion) -> None:
    host, process, _ = name_worker().rsplit(":", 2)

    report(clinic, epoch=second.epoch, worker=f"{host}:{process}:1", answered=10, age_s=60)

    assert alarm(clinic) is None


def test_a_release_that_cannot_be_read_must_go(clinic: Project, champion: Promotion) -> None:
    assert champion.epoch == 1
    promote_digest(clinic, publish(clinic, UNREADABLE))

    assert alarm(clinic) == "refused"


def test_a_predecessor_that_cannot_be_read_excuses_nothing(clinic: Project, champion: Promotion) -> None:
    assert champion.epoch == 1
    promote_digest(clinic, publish(clinic, UNREADABLE))
    third = promote_another(clinic, held_out=SCORES[:150])
    answer(clinic, third, 200, scores=[0.9, 0.95])

    assert alarm(clinic) == "output"


def test_a_predecessor_that_fails_on_these_rows_excuses_nothing(clinic: Project, champion: Promotion) -> None:
    assert champion.epoch == 1
    promote_digest(clinic, pack_faulty(clinic.blobs, champion.release, raising))
    third = promote_another(clinic)
    rows: list[Row] = [{"age": FATAL, "dose": number / 10, "city": "A"} for number in range(200)]
    keep_answers(clinic, third, rows, [0.9] * 100 + [0.95] * 100)

    assert alarm(clinic) == "output"


def test_a_predecessor_that_accepts_none_of_the_rows_excuses_nothing(clinic: Project, second: Promotion) -> None:
    rows: list[Row] = [{"age": 500.0 + number, "dose": 1.0, "city": "A"} for number in range(200)]
    keep_answers(clinic, second, rows, [0.9] * 100 + [0.95] * 100)

    assert alarm(clinic) == "output"


def test_a_release_that_a_service_cannot_load_after_its_probation_must_go_too(
    clinic: Project, second: Promotion
) -> None:
    answer(clinic, second, 1000)
    assert conclude(clinic, second)
    assert alarm(clinic) is None

    refuse_to_load(clinic, second)

    assert alarm(clinic) == "refused"


# --- nothing to go back to ----------------------------------------------------------------------------------------


def test_a_release_that_must_go_while_no_other_is_left_is_told_once(clinic: Project, champion: Promotion) -> None:
    report(clinic, epoch=champion.epoch, answered=50, failed=50)

    look(clinic, champion)
    look(clinic, champion)

    (told,) = alerts(clinic)
    assert (told["kind"], told["subject"], told["epoch"]) == ("stranded", "errors", 1)
    assert "50 of 100 requests failed" in told["sentence"]


def test_a_worker_of_the_first_release_may_be_silent(clinic: Project, champion: Promotion) -> None:
    report(clinic, epoch=champion.epoch, answered=50, age_s=3600)

    look(clinic, champion)

    assert alerts(clinic) == []


def test_a_release_that_must_go_is_no_alert_where_one_is_left(clinic: Project, second: Promotion) -> None:
    report(clinic, epoch=second.epoch, answered=50, failed=50)

    look(clinic, second)

    assert alerts(clinic) == []


def test_a_predecessor_that_is_gone_does_not_stop_the_loop(
    clinic: Project, champion: Promotion, second: Promotion
) -> None:
    recall_release.cache_clear()
    shutil.rmtree(find_release(champion.release, clinic.blobs))

    look(clinic, second)

    assert alarm(clinic) is None


# --- passing ------------------------------------------------------------------------------------------------------


def test_a_release_passes_once_it_has_answered_its_rows_and_its_workers_have_reported_since(
    clinic: Project, second: Promotion
) -> None:
    report(clinic, epoch=second.epoch, answered=10)
    time.sleep(0.01)
    answer(clinic, second, 1000)
    assert not conclude(clinic, second)

    report(clinic, epoch=second.epoch, answered=1000)

    assert conclude(clinic, second)
    assert not conclude(clinic, second)
    with clinic.database.read() as connection:
        (event,) = read_events(connection, kind="bake_passed")
        figures = {"rows": 1000, "answered": 1000, "failed": 0}
        assert event.payload == {"release": second.release, "epoch": 2, "figures": figures}


def test_workers_that_have_not_yet_reported_on_a_release_hold_up_its_probation(
    clinic: Project, second: Promotion
) -> None:
    report(clinic, epoch=second.epoch - 1, answered=10)
    answer(clinic, second, 1000)

    assert not conclude(clinic, second)


def test_a_worker_that_was_lost_before_a_promotion_holds_up_no_probation(clinic: Project, second: Promotion) -> None:
    report(clinic, epoch=second.epoch - 1, worker="elsewhere:1:1", answered=10)
    answer(clinic, second, 1000)

    report(clinic, epoch=second.epoch, answered=1000)

    assert conclude(clinic, second)


def test_a_worker_elsewhere_that_was_lost_long_before_a_promotion_holds_up_no_probation(
    clinic: Project, second: Promotion
) -> None:
    report(clinic, epoch=second.epoch - 1, worker="elsewhere:1:1", answered=10, age_s=3600)
    answer(clinic, second, 1000)

    assert conclude(clinic, second)


def test_a_worker_elsewhere_that_was_lost_before_it_answered_anything_holds_up_no_probation(
    clinic: Project, second: Promotion
) -> None:
    report(clinic, epoch=second.epoch, worker="elsewhere:1:1", age_s=60)
    answer(clinic, second, 1000)
    report(clinic, epoch=second.epoch, answered=1000)

    assert conclude(clinic, second)


def test_a_probation_does_not_wait_for_a_clock_that_was_set_back(clinic: Project, second: Promotion) -> None:
    answer(clinic, second, 1000)
    earlier = datetime.now(UTC) - timedelta(hours=1)
    report(clinic, epoch=second.epoch, answered=1000, age_s=3601)

    assert conclude_bake(clinic, second, lease=own_lease(clinic.database), now=earlier)


def test_a_probation_says_how_far_it_is_until_it_is_over(clinic: Project, second: Promotion) -> None:
    answer(clinic, second, 420)
    assert probation(clinic) == f"release {second.release[:12]} is on probation: 420 of 1000 rows answered"

    answer(clinic, second, 580)
    assert conclude(clinic, second)

    assert probation(clinic) is None


def test_a_release_with_a_breach_does_not_pass(clinic: Project, second: Promotion) -> None:
    answer(clinic, second, 1000)
    report(clinic, epoch=second.epoch, answered=900, failed=100)

    assert not conclude(clinic, second)


def test_a_release_that_has_passed_is_measured_no_more(clinic: Project, second: Promotion) -> None:
    answer(clinic, second, 1000)
    assert conclude(clinic, second)

    report(clinic, epoch=second.epoch, answered=50, failed=50)

    assert alarm(clinic) is None


def test_the_first_release_is_on_no_probation(clinic: Project, champion: Promotion) -> None:
    report(clinic, epoch=champion.epoch, answered=50, failed=50)

    assert probation(clinic) is None
    assert alarm(clinic) is None


# --- after going back ---------------------------------------------------------------------------------------------


def test_a_release_that_has_passed_before_is_not_put_on_probation_again(clinic: Project, second: Promotion) -> None:
    answer(clinic, second, 1000)
    assert conclude(clinic, second)
    third = promote_another(clinic, note="third")

    back = go_back(clinic, second.release, at=third.epoch)
    report(clinic, epoch=back.epoch, answered=50, failed=50)

    assert probation(clinic) is None
    assert alarm(clinic) is None


def test_a_release_that_has_not_passed_before_is_on_probation_again(clinic: Project, second: Promotion) -> None:
    third = promote_another(clinic, note="third")

    back = go_back(clinic, second.release, at=third.epoch)
    assert probation(clinic) is not None
    report(clinic, epoch=back.epoch, answered=50, failed=50)

    assert alarm(clinic) == "errors"
