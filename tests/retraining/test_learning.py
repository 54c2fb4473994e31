"""The sentences of the steps that learn: what is in the training set, what is not, and which candidate was chosen."""

import pytest

from homeostat.records import Json
from homeostat.retraining.learning import describe_choice, describe_searches, describe_snapshot

FROZEN: Json = {
    "snapshot": "a" * 64,
    "rows": {"training": 600, "anchor": 150, "recent": 0},
    "left_out": {},
    "giveaways": {},
    "change": None,
}


def candidate(recipe: str, log_loss: float | None, n_choosing: int = 80) -> Json:
    return {"recipe": recipe, "log_loss": log_loss, "n_choosing": n_choosing}


def test_a_snapshot_says_how_many_rows_are_on_each_side() -> None:
    assert describe_snapshot(FROZEN) == "Snapshot aaaaaaaaaaaa: 600 training, 150 anchor rows."


def test_a_snapshot_says_what_was_left_out_and_why() -> None:
    said = describe_snapshot({**FROZEN, "left_out": {"quarantine": 3, "source_cap": 40}})

    assert said.endswith("rows. Left out: 3 quarantine, 40 source_cap.")


def test_a_column_that_gives_the_outcome_away_is_asked_about() -> None:
    said = describe_snapshot({**FROZEN, "giveaways": {"discharge": 0.9996}})

    assert said.endswith("discharge alone tells the outcome (AUC 1.000): is it known when a prediction is asked for?")


@pytest.mark.parametrize(("kind", "told"), [("concept", True), ("data", True), ("none", False)])
def test_a_snapshot_says_what_has_changed(kind: str, *, told: bool) -> None:
    said = describe_snapshot({**FROZEN, "change": {"kind": kind, "sentence": "since about row 400"}})

    assert said.endswith("rows. What has changed: since about row 400.") is told


def test_one_search_speaks_for_itself() -> None:
    assert describe_searches([{"recipe": {"name": "union"}, "found": {"sentence": "It won."}}]) == "It won."


def test_several_searches_are_told_apart_by_their_recipes() -> None:
    searches = [{"recipe": {"name": name}, "found": {"sentence": f"{name} won."}} for name in ("union", "since")]

    assert describe_searches(searches) == "Recipe 'union': union won. Recipe 'since': since won."


def test_a_choice_is_told_with_everyones_figures() -> None:
    candidates = [candidate("union", 0.7), candidate("since", 0.4)]

    said = describe_choice({"recipe": "since", "candidates": candidates})

    assert said == ", trained by the recipe 'since': log loss on 80 recent rows union 0.700, since 0.400"


def test_where_nothing_could_choose_that_is_told() -> None:
    candidates = [candidate("union", None, 0), candidate("since", None, 0)]

    said = describe_choice({"recipe": "union", "candidates": candidates})

    assert said == ", trained by the recipe 'union': too few recent rows to choose"


def test_a_single_candidate_was_not_chosen() -> None:
    assert describe_choice({"recipe": "union", "candidates": [candidate("union", None)]}) == ""
