"""Sudden changes are named within 100 arrivals, whether the rules reject them or not; nothing else is."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from scipy import stats

from homeostat.data.columns import stack_rows
from homeostat.monitoring.arrivals import BLOCK, Progress, judge_block
from homeostat.monitoring.indicators import ENOUGH, Accepted, Baseline, Rejected, count_indicators
from homeostat.records import Alert, Feature, Row, Schema, Target
from homeostat.validation.checks import check_row
from homeostat.validation.profiles import build_profile
from homeostat.validation.schema import freeze_schema

GLUCOSE = Feature("Glucose", "numeric", unit="mg/dL", low=20, high=600, missing=(0,))
OPEN_GLUCOSE = Feature("Glucose", "numeric", unit="mg/dL", missing=(0,))
OTHERS = (Feature("Age", "numeric"), Feature("City", "categorical"), Feature("Constant", "numeric"))
TARGET = Target("outcome", 0, 1)
SCHEMA = freeze_schema([GLUCOSE, *OTHERS], TARGET)
OPEN_SCHEMA = freeze_schema([OPEN_GLUCOSE, *OTHERS], TARGET)
CITIES = ("Ulm", "Bonn", "Kiel")

Rows = Sequence[Row]
Told = set[tuple[str, str]]


def draw(n_rows: int, *, seed: int, change: Callable[[Row], Row] = dict) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows: list[Row] = [
        {
            "Glucose": 0.0 if rng.random() < 0.05 else round(float(rng.normal(117, 25)), 1),
            "Age": float(rng.integers(21, 80)),
            "City": str(rng.choice(CITIES)),
            "Constant": 1.0,
        }
        for _ in range(n_rows)
    ]
    return [change(row) for row in rows]


def baseline_of(rows: Rows, *, schema: Schema = SCHEMA, n_rejected: int = 0) -> Baseline:
    profile = build_profile(stack_rows(rows, schema), schema)
    return Baseline(schema, profile, n_arrived=len(rows) + n_rejected, n_rejected=n_rejected)


BASELINE = baseline_of(draw(700, seed=1))
OPEN_BASELINE = baseline_of(draw(700, seed=1), schema=OPEN_SCHEMA)


def arrive(rows: Iterable[Row], schema: Schema) -> list[Accepted | Rejected]:
    """Return rows as the service would have judged them."""
    found: list[Accepted | Rejected] = []
    for row in rows:
        checked = check_row(row, schema)
        broken = frozenset((violation.column, violation.rule) for violation in checked.violations)
        found.append(Rejected(row, broken) if broken else Accepted(checked.row))
    return found


def watch(
    rows: Rows, *, baseline: Baseline = BASELINE, size: int = BLOCK, so_far: Progress | None = None
) -> list[Alert]:
    progress = so_far or Progress()
    alerts: list[Alert] = []
    for start in range(0, len(rows), size):
        block = arrive(rows[start : start + size], baseline.schema)
        progress, told = judge_block(baseline, progress, block, alpha_life=0.05)
        alerts += told
    return alerts


def told(alerts: Iterable[Alert]) -> Told:
    return {(alert.kind, alert.subject) for alert in alerts}


def in_mmol(row: Row) -> Row:
    return {**row, "Glucose": round(float(row["Glucose"] or 0) / 18.016, 1)}


def test_a_change_of_unit_that_the_range_rejects_is_named_within_100_rows_with_its_factor() -> None:
    alerts = watch([*draw(70, seed=2), *draw(100, seed=3, change=in_mmol)][:170])

    assert told(alerts) == {("rejected", "Glucose range")}
    assert "a factor of about 1/1" in alerts[0].sentence
    assert alerts[0].sentence.endswith("a change of unit, as between mg/dL and mmol/L of glucose?")


def test_a_change_of_unit_that_no_rule_rejects_is_named_within_100_rows_with_its_factor() -> None:
    alerts = watch([*draw(70, seed=2), *draw(100, seed=3, change=in_mmol)], baseline=OPEN_BASELINE)

    assert told(alerts) == {("below", "Glucose")}
    assert alerts[0].sentence.endswith("a change of unit, as between mg/dL and mmol/L of glucose?")


@pytest.mark.parametrize("clean", range(0, 50, 5))
def test_wherever_in_a_block_the_unit_changes_it_is_named_within_100_rows(clean: int) -> None:
    rows = [*draw(clean, seed=4), *draw(100, seed=5, change=in_mmol)]

    assert told(watch(rows[: (clean + 100) // BLOCK * BLOCK])) == {("rejected", "Glucose range")}


def test_a_change_of_unit_upwards_is_told_apart_from_one_downwards() -> None:
    alerts = watch(draw(50, seed=2, change=lambda row: {**row, "Age": float(row["Age"] or 0) * 12}))

    assert told(alerts) == {("above", "Age")}


def test_an_alert_says_how_many_of_how_many_against_what_and_how_sure_that_is() -> None:
    (alert,) = watch(draw(50, seed=6, change=lambda row: {**row, "Age": None}))

    assert alert.sentence == "Age: 50 of the last 50 values are missing, against 0.0% of the baseline"
    assert {key: alert.figures[key] for key in ("hits", "rows", "share", "share_then")} == {
        "hits": 50,
        "rows": 50,
        "share": 1,
        "share_then": 0,
    }
    assert alert.figures["p_value"] < 1e-60


def test_a_share_of_missing_values_that_jumps_from_5_to_60_percent_is_named() -> None:
    rng = np.random.default_rng(7)
    rows = draw(100, seed=8, change=lambda row: {**row, "Glucose": None if rng.random() < 0.6 else row["Glucose"]})

    assert told(watch(rows)) == {("missing", "Glucose")}


def test_a_new_category_is_named() -> None:
    alerts = watch(draw(50, seed=9, change=lambda row: {**row, "City": "Jena"}))

    assert told(alerts) == {("unseen", "City")}
    assert "most often 'Jena' (50)" in alerts[0].sentence


def test_new_codes_for_every_category_are_named_but_not_told_while_few_rows_share_one() -> None:
    names = iter(range(100))

    alerts = watch(draw(50, seed=9, change=lambda row: {**row, "City": f"code {next(names)}"}))

    assert told(alerts) == {("unseen", "City")}
    assert "code" not in alerts[0].sentence


def test_of_a_long_category_only_the_beginning_is_told() -> None:
    (alert,) = watch(draw(50, seed=9, change=lambda row: {**row, "City": "x" * 10_000}))

    assert f"most often '{'x' * 40}' (50)" in alert.sentence
    assert len(alert.sentence) < 200


def test_a_column_of_numbers_that_turns_to_text_upstream_is_named() -> None:
    alerts = watch(draw(50, seed=10, change=lambda row: {**row, "Age": str(row["Age"])}))

    assert told(alerts) == {("rejected", "Age number")}
    expected = "Age: 50 of the last 50 rows hold something that is no number, against at most 0.0% before training"
    assert alerts[0].sentence == expected


def test_a_column_that_is_renamed_upstream_is_named_as_lacking_and_as_unknown() -> None:
    alerts = watch(draw(50, seed=11, change=lambda row: {k.replace("Age", "age"): v for k, v in row.items()}))

    assert told(alerts) == {("rejected", "Age required"), ("rejected", "unknown")}


def test_rows_that_are_rejected_for_many_different_reasons_are_named_together() -> None:
    spoil: list[Callable[[Row], Row]] = [
        lambda row: {**row, "Age": "x"},
        lambda row: {**row, "Glucose": 5000.0},
        lambda row: {**row, "Constant": "x"},
        lambda row: {key: value for key, value in row.items() if key != "City"},
    ]
    rows = [spoil[number % 4](row) for number, row in enumerate(draw(100, seed=12))]

    assert told(watch(rows)) == {("rejected", "any rule")}


def test_each_alert_is_told_once_on_a_watch() -> None:
    rows = draw(500, seed=13, change=in_mmol)

    assert [len(watch(rows[:n_rows])) for n_rows in (50, 250, 500)] == [1, 1, 1]


def test_judging_goes_on_from_stored_progress_as_if_it_had_never_stopped() -> None:
    rows = [*draw(100, seed=2), *draw(100, seed=14, change=in_mmol)]
    progress = Progress()
    for start in range(0, 150, BLOCK):
        progress, _ = judge_block(BASELINE, progress, arrive(rows[start : start + BLOCK], SCHEMA), alpha_life=0.05)

    assert progress == Progress(3, frozenset({("rejected", "Glucose range")}))
    assert watch(rows[150:], so_far=progress) == []


def test_many_drift_free_watches_raise_fewer_alerts_than_they_may() -> None:
    n_watches, alarmed = 60, 0
    for seed in range(n_watches):
        rows = draw(60 + 1_000, seed=100 + seed)
        alarmed += bool(watch(rows[60:], baseline=baseline_of(rows[:60])))

    assert stats.binomtest(alarmed, n_watches, 0.05, alternative="greater").pvalue > 1e-3
    assert alarmed == 0


@pytest.mark.parametrize("column", ["Glucose", "Age", "City"])
def test_batches_that_arrive_sorted_raise_nothing(column: str) -> None:
    rows: list[Row] = []
    for seed in range(10):
        rows += sorted(draw(200, seed=200 + seed), key=lambda row: (row[column] is None, row[column]))

    assert watch(rows, size=200) == []


def test_a_constant_column_raises_nothing_until_it_moves() -> None:
    assert watch(draw(200, seed=15)) == []
    assert told(watch(draw(50, seed=15, change=lambda row: {**row, "Constant": 2.0}))) == {("above", "Constant")}


def test_a_column_that_becomes_constant_raises_nothing_by_itself() -> None:
    assert watch(draw(200, seed=16, change=lambda row: {**row, "Age": 40.0})) == []


def test_a_slip_of_the_pen_in_the_baseline_does_not_hide_a_change() -> None:
    rows = [{**row, "Glucose": 1.0} for row in draw(5, seed=17)] + draw(695, seed=18)

    alerts = watch(draw(50, seed=19, change=in_mmol), baseline=baseline_of(rows, schema=OPEN_SCHEMA))

    assert told(alerts) == {("below", "Glucose")}


def test_against_an_empty_baseline_nothing_has_changed() -> None:
    assert watch(draw(100, seed=20, change=in_mmol), baseline=baseline_of([])) == []


def test_a_feature_that_the_baseline_never_measured_has_no_bounds() -> None:
    rows: list[Row] = [{**row, "Glucose": None, "City": None} for row in draw(300, seed=21)]

    assert watch(draw(200, seed=22), baseline=baseline_of(rows)) == []


def test_rules_that_rejected_as_many_rows_before_training_are_no_news() -> None:
    rows = draw(200, seed=23)
    spoiled: list[Row] = [{**row, "Age": "x"} if i % 5 < 2 else row for i, row in enumerate(rows)]

    assert watch(spoiled, baseline=baseline_of(draw(300, seed=24), n_rejected=200)) == []
    assert told(watch(spoiled)) == {("rejected", "Age number")}


def test_the_median_of_few_rows_is_never_told() -> None:
    few = baseline_of(draw(ENOUGH - 1, seed=25), schema=OPEN_SCHEMA)

    (alert,) = watch(draw(50, seed=26, change=in_mmol), baseline=few)

    assert "median" not in alert.sentence
    assert "median" not in alert.figures


def test_a_block_of_nothing_is_no_block() -> None:
    progress = Progress(3, frozenset({("missing", "Age")}))

    assert judge_block(BASELINE, progress, [], alpha_life=0.05) == (progress, ())


def test_values_that_no_number_can_be_made_of_stop_nothing() -> None:
    strange: list[object] = [True, "12", None, [1], {"a": 1}, 10**400, float("inf"), float("nan")]
    block = [Rejected({"Glucose": strange[i % 8]}, frozenset({("Glucose", "range")})) for i in range(50)]

    _, (alert,) = judge_block(BASELINE, Progress(), block, alpha_life=0.05)

    assert (alert.kind, alert.subject) == ("rejected", "Glucose range")
    assert "median" not in alert.figures


def test_numbers_too_small_for_any_factor_stop_nothing() -> None:
    (alert,) = watch([{**row, "Glucose": 5e-324} for row in draw(50, seed=27)])

    assert (alert.kind, alert.subject) == ("rejected", "Glucose range")
    assert alert.figures["median"] == 5e-324


def test_a_violation_of_a_column_that_the_schema_does_not_have_counts_among_all() -> None:
    block = [Rejected({}, frozenset({("", "answer")}))] * 50

    _, alerts = judge_block(BASELINE, Progress(), block, alpha_life=0.05)

    assert told(alerts) == {("rejected", "any rule")}


def test_the_level_is_shared_by_all_indicators_and_falls_with_each_block() -> None:
    # 15 of 20 after 30 of 100: p is 2e-4, which is enough for one indicator or for an early block only.
    schema = freeze_schema([Feature("x", "numeric")], TARGET)
    rows: list[Row] = [{"x": None if i % 10 < 3 else float(i)} for i in range(100)]
    block = [Accepted({"x": None if i < 15 else float(i)}) for i in range(20)]
    baseline = baseline_of(rows, schema=schema)

    found = [bool(judge_block(baseline, Progress(n_blocks), block, alpha_life=0.05)[1]) for n_blocks in (0, 1, 30)]

    assert count_indicators(schema) == 9
    assert found == [True, True, False]
