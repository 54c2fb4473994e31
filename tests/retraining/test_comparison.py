"""Both releases answer the same held-out rows, and one that cannot be trusted is refused before it answers any."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from homeostat.deployment.artifacts import GOLDEN, GRAPH, find_release, open_release, pack_release
from homeostat.deployment.gate import Rules
from homeostat.deployment.limits import Limits
from homeostat.errors import ReleaseMissing
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project
from homeostat.records import Criterion, GateResult, Promotion, Release
from homeostat.retraining.cases import Case
from homeostat.retraining.comparison import Refused, compare, prepare
from homeostat.retraining.packing import pack
from homeostat.retraining.training_data import take_snapshot
from homeostat.validation.schema import freeze_schema
from tests.deployment.saboteurs import flipped, open_workshop
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import FOUND, draw_patients

PROGRAM = ["artifact", "size", "columns", "latency", "memory"]
ANCHOR = ["answers", "skill", "anchor"]
CLOSELY = ["calibration", "slices"]
# What depends on the machine and the moment.
MEASURED = {"latency", "memory"}


def challenge(project: Project, champion: Promotion) -> str:
    """Send labelled patients, and pack a challenger that has learned from some of them."""
    rows, outcomes = draw_patients(150, seed=1)
    label(project.database, list(zip(answer(project.database, rows), outcomes, strict=True)))
    stamp_rows(project.database, lease=own_lease(project.database), epoch=1)
    snapshot = take_snapshot(project, champion=champion, reload_files=False, change_point=None)
    return str(pack(project, snapshot, FOUND, code={}, provenance={})["release"])


def verdict(
    project: Project,
    challenger: str,
    champion: str | None,
    recent: Collection[str] | None,
    *,
    past: tuple[str, ...] = (),
    enforced: bool = True,
    old_world: str | None = None,
) -> GateResult:
    """Judge in this process: nothing here is hostile, and the limits would last."""
    ids = None if recent is None else frozenset(recent)
    rules = Rules(margin=0.05, min_recent=10, min_recent_per_class=2, enforced=enforced, seed=0)
    case = Case(challenger, champion, past, ids, old_world, rules, Limits())
    try:
        return compare(prepare(project, case), case)
    except Refused as refused:
        return GateResult((refused.criterion,))


def criterion(result: GateResult, name: str) -> Criterion:
    (found,) = (one for one in result.criteria if one.name == name)
    return found


def names(result: GateResult) -> list[str]:
    return [one.name for one in result.criteria]


def ids(n_rows: int) -> list[str]:
    return [f"p{number:06}" for number in range(n_rows)]


def release_of(project: Project, digest: str) -> Release:
    return open_release(find_release(digest, project.blobs))


def test_a_first_release_is_judged_alone(clinic: Project, champion: Promotion) -> None:
    result = verdict(clinic, champion.release, None, None)

    assert result.passed
    assert names(result) == [*PROGRAM, "answers", "skill", "calibration"]


def test_a_challenger_is_compared_on_the_anchor_and_on_recent_rows(clinic: Project, champion: Promotion) -> None:
    result = verdict(clinic, challenge(clinic, champion), champion.release, ids(150))

    assert names(result) == [*PROGRAM, *ANCHOR, "recent rows", "recent", *CLOSELY]


def test_the_artifact_is_checked_first_byte_for_byte_and_by_its_golden_rows(
    clinic: Project, champion: Promotion
) -> None:
    found = criterion(verdict(clinic, champion.release, None, None), "artifact")

    n_golden = len(release_of(clinic, champion.release).golden.expected)
    assert found.sentence == f"every byte verified; {n_golden} golden rows answered within 0"


@pytest.mark.parametrize("name", [GRAPH, GOLDEN])
def test_a_damaged_challenger_is_refused_and_not_opened(clinic: Project, champion: Promotion, name: str) -> None:
    challenger = challenge(clinic, champion)
    (find_release(challenger, clinic.blobs) / name).write_bytes(b"damaged")

    result = verdict(clinic, challenger, champion.release, None)

    assert [(one.name, one.passed) for one in result.criteria] == [("artifact", False)]
    assert f"the bytes of '{name}' differ" in result.criteria[0].sentence


def test_only_recent_rows_with_the_given_ids_judge(clinic: Project, champion: Promotion) -> None:
    challenger = challenge(clinic, champion)

    counted = [
        criterion(verdict(clinic, challenger, champion.release, ids(n)), "recent rows").figures["n_rows"]
        for n in (0, 75, 150)
    ]

    assert counted[0] == 0 < counted[1] < counted[2] < 150


def test_without_ids_recent_rows_do_not_judge(clinic: Project, champion: Promotion) -> None:
    assert names(verdict(clinic, challenge(clinic, champion), champion.release, None)) == [*PROGRAM, *ANCHOR, *CLOSELY]


def test_a_release_against_itself_differs_by_nothing(clinic: Project, champion: Promotion) -> None:
    found = criterion(verdict(clinic, champion.release, champion.release, None), "anchor")

    assert found.figures["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize(("edit", "compared"), [({"unit": "other"}, True), ({"name": "another"}, False)])
def test_a_champion_of_an_edited_schema_is_compared_as_long_as_it_can_answer_the_same_rows(
    clinic: Project, champion: Promotion, *, edit: dict[str, Any], compared: bool
) -> None:
    release = release_of(clinic, champion.release)
    first, *others = release.schema.features
    edited = freeze_schema([replace(first, **edit), *others], release.schema.target)
    rows = {edit.get("name", name) if name == first.name else name: v for name, v in release.golden.columns.items()}
    other = pack_release(
        graph=release.graph,
        schema=edited,
        profile=release.profile,
        golden_inputs=rows,
        metrics={},
        lineage=release.lineage,
        extra={},
        provenance={},
        blobs=clinic.blobs,
    )

    found = names(verdict(clinic, champion.release, other, None))

    assert ("anchor" in found, "champion" in found) == (compared, not compared)


def test_a_champion_that_is_gone_is_no_reason_to_let_a_challenger_in(clinic: Project, champion: Promotion) -> None:
    with pytest.raises(ReleaseMissing):
        verdict(clinic, champion.release, "f" * 64, None)


def test_the_same_challenger_gets_the_same_verdict(clinic: Project, champion: Promotion) -> None:
    challenger = challenge(clinic, champion)

    first, second = (
        [one for one in verdict(clinic, challenger, champion.release, ids(150)).criteria if one.name not in MEASURED]
        for _ in range(2)
    )

    assert first == second
    assert np.isfinite(criterion(GateResult(tuple(first)), "recent").figures["difference"]["low"])


# --- worlds and champions of before -------------------------------------------------------------------------------


def test_the_best_champion_of_before_is_asked_again_on_the_rows_of_today(clinic: Project, champion: Promotion) -> None:
    past = open_workshop(champion.release, clinic.blobs)
    turned = flipped(past)

    found = criterion(
        verdict(clinic, champion.release, turned, None, past=(turned, past.release.digest)), "best past"
    ).figures

    assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda folder: (folder / GOLDEN).write_text("[]")])
def test_a_champion_of_before_that_cannot_be_opened_is_left_out_and_named(
    clinic: Project, champion: Promotion, damage: Callable[[Path], object]
) -> None:
    past = flipped(open_workshop(champion.release, clinic.blobs))
    damage(find_release(past, clinic.blobs))

    found = verdict(clinic, champion.release, champion.release, None, past=(past,))

    assert found.passed
    assert criterion(found, "past").sentence.startswith(f"past champion {past[:12]} is left out")


def test_the_verdict_says_which_anchor_it_rests_on_and_one_that_was_given_up_stays_reported(
    clinic: Project, champion: Promotion
) -> None:
    challenger = challenge(clinic, champion)
    first = criterion(verdict(clinic, challenger, champion.release, ids(150)), "anchor").figures

    later = verdict(clinic, challenger, champion.release, ids(150), old_world=first["rows"])

    assert first["enforced"] is True
    assert criterion(later, "anchor").figures["enforced"] is False
    assert criterion(later, "skill").sentence.endswith("recent rows, chance is 0.5")


def test_a_release_of_before_is_judged_by_labels_that_came_after_its_snapshot(
    clinic: Project, champion: Promotion
) -> None:
    challenge(clinic, champion)

    found = criterion(verdict(clinic, champion.release, champion.release, ids(150)), "recent rows")

    assert 30 < found.figures["n_rows"] < 90
