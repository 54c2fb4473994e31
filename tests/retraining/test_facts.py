"""What triggers and policy rest on is counted from the log: since when, by whom, and kept from training."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.outcome_checks import append_outcome_check
from homeostat.monitoring.production import stamp_rows
from homeostat.monitoring.retention import clear_expired, periods_of
from homeostat.project import Project
from homeostat.records import Json, Promotion, Row
from homeostat.retraining.cycles import close_cycle, find_open_cycle, open_cycle
from homeostat.retraining.facts import describe_quiet, gather_facts, gather_watch, judging_labels
from homeostat.retraining.policy import Facts
from homeostat.retraining.triggers import Watch
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import NOW

ROW: Row = {"age": 50.0, "dose": 20.0, "city": "A"}


def send(project: Project, n_rows: int, *, epoch: int = 1) -> list[str]:
    """Answer rows, label every third `yes` and the others `no`, and let a loop see them."""
    ids = answer(project.database, [ROW] * n_rows)
    label(project.database, [(i, "no" if int(i[1:]) % 3 else "yes") for i in ids])
    stamp_rows(project.database, lease=own_lease(project.database), epoch=epoch)
    return ids


def check(project: Project, fired: Sequence[bool], *, epoch: int = 1) -> None:
    """Record windows of 50 rows from row 1 on, outcomes judged; the evidence dates a change to the first fired."""
    since = 50 * fired.index(True) + 1 if True in fired else None
    with project.database.write() as connection:
        for place, one in enumerate(fired):
            guarded: Json = {"fired": one, "since": since, "counted": ["age"] * one, "needed": 1}
            report: Json = {"score": 0.5 if one else 0.0, "boundary": 0.3, "features": [], "guarded": guarded}
            report["evidence"] = {"gathering": place < 1, "n_reference": 50}
            window = (50 * place + 1, 50 * place + 50)
            append_check(connection, report, epoch=epoch, window=window, release="a" * 64, now=NOW)
            append_outcome_check(connection, {}, epoch=epoch, window=window, release="a" * 64, now=NOW)


def began(project: Project, trigger: str, *, hours: float) -> None:
    """Record a cycle that began and failed some hours after `NOW`."""
    moment = NOW + timedelta(hours=hours)
    with project.database.write() as connection:
        open_cycle(connection, trigger=trigger, reason="r", step="snapshot", now=moment)
        cycle = find_open_cycle(connection)
        assert cycle is not None
        close_cycle(connection, cycle, outcome="failed", sentence="s", now=moment)


def facts(project: Project, champion: Promotion) -> Facts:
    with project.database.read() as connection:
        return gather_facts(connection, project, champion, gather_watch(connection, project, champion, now=NOW))


def judges(project: Project, champion: Promotion) -> dict[str, object]:
    with project.database.read() as connection:
        change = gather_watch(connection, project, champion, now=NOW).change
        return judging_labels(connection, project, champion, change=change, now=NOW)


def watch(project: Project, champion: Promotion) -> Watch:
    with project.database.read() as connection:
        return gather_watch(connection, project, champion, now=NOW)


def test_every_label_after_the_champions_snapshot_is_new(clinic: Project, champion: Promotion) -> None:
    send(clinic, 30)

    assert facts(clinic, champion).n_new_labels == 30


def test_only_labelled_predictions_kept_from_training_judge(clinic: Project, champion: Promotion) -> None:
    ids = send(clinic, 200)

    found = judges(clinic, champion)

    assert 50 < len(found) < 110
    assert set(found) < set(ids)
    assert set(found.values()) == {"yes", "no"}


def test_who_judges_does_not_change_when_more_arrive(clinic: Project, champion: Promotion) -> None:
    send(clinic, 100)
    before = judges(clinic, champion)

    send(clinic, 100)

    assert before.items() <= judges(clinic, champion).items()


def test_the_rarer_class_of_those_who_judge_is_counted(clinic: Project, champion: Promotion) -> None:
    send(clinic, 200)
    outcomes = list(judges(clinic, champion).values())

    found = facts(clinic, champion)

    assert (found.n_recent, found.n_recent_rarer) == (len(outcomes), outcomes.count("yes"))


def test_after_a_drift_only_rows_since_the_change_point_judge(clinic: Project, champion: Promotion) -> None:
    ids = send(clinic, 200)
    check(clinic, [False, False, True, True])

    assert min(judges(clinic, champion)) >= ids[100]


def test_without_a_drift_only_rows_of_this_watch_judge(clinic: Project, champion: Promotion) -> None:
    send(clinic, 100, epoch=0)
    ids = send(clinic, 100)

    assert min(judges(clinic, champion)) >= ids[0]


def expire(project: Project) -> None:
    """Delete every row that a drift check has covered, whether its outcome was judged or not."""
    now, periods = NOW + timedelta(days=10_000), replace(periods_of(project.settings), await_outcomes=False)
    assert clear_expired(project.database, periods, lease=own_lease(project.database), now=now)


def test_labels_that_went_with_their_rows_are_still_new(clinic: Project, champion: Promotion) -> None:
    send(clinic, 20, epoch=0)
    expire(clinic)
    send(clinic, 10)

    assert facts(clinic, champion).n_new_labels == 30


def test_of_the_rows_since_the_change_point_those_that_are_left_judge(clinic: Project, champion: Promotion) -> None:
    ids = send(clinic, 250)
    check(clinic, [False, False, True, True])
    before = judges(clinic, champion)

    expire(clinic)

    assert judges(clinic, champion) == {i: label for i, label in before.items() if i >= ids[200]}


def test_where_no_row_of_the_watch_is_left_nobody_judges(clinic: Project, champion: Promotion) -> None:
    send(clinic, 100)
    check(clinic, [True, True])

    expire(clinic)

    assert judges(clinic, champion) == {}


def test_before_any_row_nobody_judges(clinic: Project, champion: Promotion) -> None:
    assert judges(clinic, champion) == {}


def test_cooldown_and_budget_count_what_the_loop_began_itself(clinic: Project, champion: Promotion) -> None:
    for trigger, hours in (("drift", 1.0), ("hand", 2.0), ("schedule", 3.0)):
        began(clinic, trigger, hours=hours)

    assert facts(clinic, champion).started_at == [NOW + timedelta(hours=1), NOW + timedelta(hours=3)]


def test_the_moments_of_trainings_are_those_of_cycles_and_of_the_promotion(
    clinic: Project, champion: Promotion
) -> None:
    began(clinic, "hand", hours=2)
    began(clinic, "rollback", hours=3)

    assert watch(clinic, champion).trained_at == [NOW, NOW + timedelta(hours=2)]


def test_a_watch_is_shown_its_own_newest_check_and_the_newest_that_fired(clinic: Project, champion: Promotion) -> None:
    check(clinic, [True, True, False], epoch=1)

    shown, of_the_next = watch(clinic, champion), watch(clinic, Promotion(2, "a", None, NOW, "t", "t"))

    assert [one and one["first_seq"] for one in (shown.newest, shown.fired)] == [101, 51]
    assert (of_the_next.newest, of_the_next.fired) == (None, None)


def test_a_quiet_watch_is_described_by_its_newest_window(clinic: Project, champion: Promotion) -> None:
    check(clinic, [False, False])

    assert describe_quiet(watch(clinic, champion).newest, 50) == (
        "drift score 0.000 in the newest window (rows 51 to 100), boundary 0.3; evidence in 0 of 1 features needed"
    )


def test_a_watch_that_still_gathers_its_reference_says_so(clinic: Project, champion: Promotion) -> None:
    check(clinic, [False])

    assert describe_quiet(watch(clinic, champion).newest, 50).endswith("; 50 of the 500 rows that evidence begins with")


def test_a_watch_without_a_window_says_what_it_waits_for() -> None:
    assert describe_quiet(None, 50) == "no window of 50 accepted rows is complete yet"
