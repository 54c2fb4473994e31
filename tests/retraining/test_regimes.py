"""What a watch has seen change is told with its figures; one sender of outcomes cannot feign a change of the rule."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, insert, select

from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.entries import label_to_text
from homeostat.monitoring.outcomes import judge_outcomes
from homeostat.monitoring.production import stamp_rows
from homeostat.monitoring.watch_states import store_state
from homeostat.project import Project
from homeostat.records import Change, Floats, Json, OutOfFold, Promotion
from homeostat.retraining.regimes import judge_change
from homeostat.store.tables import labels, predictions
from tests.production_log import own_lease
from tests.retraining.clinic import NOW

THREE = ("north", "south", "west")


def to_probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float64)


def observe(
    project: Project,
    promotion: Promotion,
    n_rows: int,
    *,
    shift: float = 0.0,
    slope: float = 1.0,
    sources: Sequence[str] = THREE,
    flips: float = 0.0,
    spread: float = 1.8,
) -> None:
    """Answer rows whose outcomes several sources send in turn, the first of them with flips, and judge them.

    `shift` and `slope` say what has become of the log-odds.
    """
    with project.database.write() as connection:
        known = connection.scalar(select(func.count()).select_from(predictions)) or 0
        rng = np.random.default_rng(known)
        log_odds = rng.normal(-0.9 * spread / 1.8, spread, n_rows)
        sender = np.arange(n_rows) % len(sources)
        positive = rng.random(n_rows) < to_probability(slope * log_odds + shift)
        positive ^= (sender == 0) & (rng.random(n_rows) < flips)
        rest: dict[str, Any] = {"release": promotion.release, "row": b"{}", "label": '"no"', "received_at": NOW}
        ids = [f"p{known + place:06}" for place in range(n_rows)]
        rows = zip(ids, to_probability(log_odds).tolist(), strict=True)
        connection.execute(insert(predictions), [{**rest, "id": i, "probability": p} for i, p in rows])
        lines = [
            {"prediction": i, "label": label_to_text("yes" if one else "no"), "received_at": NOW, "source": sources[s]}
            for i, one, s in zip(ids, positive, sender.tolist(), strict=True)
        ]
        connection.execute(insert(labels), lines)
    judge(project, promotion)


def judge(project: Project, promotion: Promotion) -> None:
    """Judge the outcomes with 614 rows of a calibrated release as the reference."""
    rng = np.random.default_rng(1)
    probabilities = to_probability(rng.normal(-0.9, 1.8, 614))
    held_out = OutOfFold(probabilities, (rng.random(614) < probabilities).astype(np.int8))
    release = recall_release(find_release(promotion.release, project.blobs))
    lease = own_lease(project.database)
    stamp_rows(project.database, lease=lease, epoch=promotion.epoch)
    rules = project.settings.monitoring
    judge_outcomes(project.database, replace(release, out_of_fold=held_out), promotion, rules, lease=lease, now=NOW)


def move_features(project: Project, promotion: Promotion, since: int) -> None:
    """Record a drift check that fired, with a change point."""
    guarded: Json = {"fired": True, "since": since, "counted": ["age"], "needed": 1}
    report: Json = {"score": 0.5, "boundary": 0.3, "features": [], "guarded": guarded}
    with project.database.write() as connection:
        window, release = (since, since + 49), promotion.release
        append_check(connection, report, epoch=promotion.epoch, window=window, release=release, now=NOW)


def change(project: Project, promotion: Promotion) -> Change:
    with project.database.read() as connection:
        return judge_change(connection, project, promotion, now=NOW + timedelta(hours=1))


def test_a_watch_without_rows_has_seen_no_change(clinic: Project, champion: Promotion) -> None:
    found = change(clinic, champion)

    assert (found.kind, found.since, found.n_sources, found.confirmed) == ("none", None, 0, False)
    assert found.sentence == "the features have not moved; no outcome has been judged yet"


def test_outcomes_that_follow_the_probabilities_are_no_change(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 900)

    found = change(clinic, champion)

    assert (found.kind, found.since, found.n_sources, found.confirmed) == ("none", None, 3, False)


def test_features_that_moved_are_a_change_of_the_data(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 300)
    move_features(clinic, champion, since=201)

    found = change(clinic, champion)

    assert (found.kind, found.since, found.n_sources, found.confirmed) == ("data", 201, 3, False)
    assert found.sentence.startswith("the features have moved since about row 201; ")


def test_labels_that_turn_round_are_a_confirmed_change_of_the_concept(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 600)
    observe(clinic, champion, 400, slope=-1.0)

    found = change(clinic, champion)

    assert (found.kind, found.n_sources, found.confirmed) == ("concept", 3, True)
    assert found.since == pytest.approx(601, abs=20)
    assert found.sentence.startswith(f"outcomes no longer follow the features since about row {found.since}: ")
    assert found.sentence.endswith("; 3 sources, none of them alone")


def test_a_base_rate_that_moves_is_a_confirmed_change_of_the_concept(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 600)
    observe(clinic, champion, 800, shift=1.5)

    found = change(clinic, champion)

    assert (found.kind, found.confirmed) == ("concept", True)
    assert found.since == pytest.approx(601, abs=60)


def test_a_change_that_a_single_source_tells_of_is_not_confirmed(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 300, slope=-1.0, sources=["only"])

    found = change(clinic, champion)

    assert (found.kind, found.n_sources, found.confirmed) == ("concept", 1, False)
    assert found.sentence.endswith("; all from one source: not confirmed")


@pytest.mark.parametrize("flips", [0.01, 0.05, 0.2, 1.0])
def test_flips_of_one_source_of_three_are_never_confirmed(clinic: Project, champion: Promotion, flips: float) -> None:
    observe(clinic, champion, 1_200, flips=flips)

    found = change(clinic, champion)

    assert not found.confirmed
    assert found.kind == "none" or "without 'north' it does not show: not confirmed" in found.sentence


def test_the_new_world_is_no_news_any_more_after_a_promotion(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 300, slope=-1.0)

    assert change(clinic, champion).kind == "concept"
    assert change(clinic, replace(champion, epoch=champion.epoch + 1)).kind == "none"


def test_a_world_that_has_gone_back_is_no_change_any_more(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 100, slope=-1.0)
    before = change(clinic, champion)
    observe(clinic, champion, 2_000)

    assert (before.kind, change(clinic, champion).kind) == ("concept", "none")


def test_rows_that_become_harder_are_no_change_of_the_concept(clinic: Project, champion: Promotion) -> None:
    observe(clinic, champion, 600, spread=0.4)
    before = change(clinic, champion)
    move_features(clinic, champion, since=1)

    after = change(clinic, champion)

    assert (before.kind, after.kind, after.since) == ("concept", "data", 1)


def test_features_and_outcomes_that_both_moved_are_a_change_of_the_concept(
    clinic: Project, champion: Promotion
) -> None:
    observe(clinic, champion, 400, slope=-1.0)
    move_features(clinic, champion, since=51)

    found = change(clinic, champion)

    assert (found.kind, found.confirmed) == ("concept", True)
    assert found.since is not None
    assert found.since < 51
    assert found.sentence.endswith("; the features have moved too, since about row 51")


def test_what_another_version_has_left_says_nothing(clinic: Project, champion: Promotion) -> None:
    with clinic.database.write() as connection:
        store_state(connection, epoch=champion.epoch, kind="concept", last_seq=0, state=b"\x91\x63")

    assert change(clinic, champion).kind == "none"
