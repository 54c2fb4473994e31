"""What is said of a stored drift check: nothing that it does not hold, and what matters most first."""

import copy

import pytest

from homeostat.monitoring.verdicts import describe, headline, list_readings, list_verdicts, short
from homeostat.records import Json


def feature(name: str, *, p_value: float = 0.5, drifted: bool = False) -> Json:
    """Return the test of one feature as a report of before holds it."""
    stands = {"median": 3.0, "quartiles": [1.0, 5.0], "missing_share": 0.0}
    figures = {"statistic": 0.1, "p_value": p_value, "drifted": drifted, "then": stands, "now": stands}
    return {"name": name, "test": "kolmogorov-smirnov", "method": "exact", **figures}


def check(**report: object) -> Json:
    """Return a check whose report holds these keys beside those that every report has."""
    features = [feature("quiet"), feature("moved", p_value=1e-9, drifted=True)]
    known = {"features": features, "score": 0.5, "boundary": 0.3, "n_reference": 500, "n_current": 200}
    return {"first_seq": 1, "last_seq": 200, "score": 0.5, "fired": True, "report": {**known, **report}}


def evidence(values: dict[str, float], *, gathering: bool = False) -> Json:
    """Return evidence that has never been higher than now."""
    streams = {name: {"value": value, "peak": value, "since": None} for name, value in values.items()}
    return {"n_reference": 320, "n_rows": 600, "gathering": gathering, "streams": streams}


GUARDED = {"fired": False, "counted": [], "needed": 1, "evidence_needed": 40.0, "alert_needed": 60.0, "since": None}
SCORES = feature(".scores") | {"shift": "median 0.3 -> 0.7 (+0.4)"}
ESTIMATE = {"n_rows": 200, "accuracy": {"value": 0.76, "low": 0.7, "high": 0.82}, "auc": None}


def said(**report: object) -> dict[str, str]:
    """Return the verdicts of a check by their judges."""
    return {verdict.judge: f"{verdict.mark}: {verdict.sentence}" for verdict in list_verdicts(check(**report))}


def test_of_a_check_of_before_only_the_verdict_of_the_book_is_told() -> None:
    assert said() == {"book": "fired: 1 of 2 features drifted: score 0.500, boundary 0.3"}


def test_keys_that_are_null_are_not_spoken_of() -> None:
    nothing = dict.fromkeys(["evidence", "guarded", "scores", "estimated", "explanation"])

    assert said(**nothing) == said()


def test_a_correction_is_named_and_its_p_values_are_read() -> None:
    corrected = check(correction="holm")
    corrected["report"]["features"][0]["adjusted_p_value"] = 0.75

    assert "p adjusted (holm)" in list_verdicts(corrected)[0].sentence
    assert {reading.name: reading.adjusted for reading in list_readings(corrected)} == {"quiet": 0.75, "moved": None}


def test_while_evidence_gathers_its_reference_no_value_of_it_is_told() -> None:
    gathering = evidence({"moved": 1.0}, gathering=True)

    assert said(evidence=gathering, guarded=GUARDED)["guarded"] == "gathering: its reference: 320 of 500 rows"
    assert all(reading.evidence is None for reading in list_readings(check(evidence=gathering)))


def test_the_guarded_trigger_names_what_counts_and_since_when() -> None:
    guarded = {**GUARDED, "fired": True, "counted": ["moved"], "since": 412}

    assert said(guarded=guarded)["guarded"] == (
        "fired: 1 of the 1 features needed count (moved), since row 412; each needs evidence of 40, 60 alerts by itself"
    )


def test_the_scores_are_told_with_their_evidence() -> None:
    told = said(scores=SCORES, evidence=evidence({".scores": 12345.0}))["predictions"]

    assert told == ": no drift: median 0.3 -> 0.7 (+0.4) (KS, exact: 0.100, p 0.5, evidence 1.2e4)"


def test_an_estimate_is_told_without_the_figures_that_are_not_defined() -> None:
    assert said(estimated=ESTIMATE)["estimated"] == ": without labels: accuracy 0.760 [0.700, 0.820]"


def test_features_that_count_come_first_then_drifted_ones_then_those_with_evidence() -> None:
    features = [feature("rest"), feature("strong"), feature("drifted", drifted=True), feature("counts", drifted=True)]

    readings = list_readings(
        check(
            features=features,
            evidence=evidence({"strong": 9.0, "rest": 1.0}),
            guarded={**GUARDED, "counted": ["counts"]},
        )
    )

    assert [reading.name for reading in readings] == ["counts", "drifted", "strong", "rest"]


@pytest.mark.parametrize(
    ("value", "peak", "words"),
    [(0.4, 1.1, "0.4"), (0.4, 300.0, "0.4, peak 300"), (250.0, 300.0, "250"), (2.3e9, 2.3e9, "2.3e9")],
)
def test_a_peak_is_told_if_it_told_something_and_has_gone(value: float, peak: float, words: str) -> None:
    risen = evidence({"moved": value})
    risen["streams"]["moved"]["peak"] = peak

    standing = list_readings(check(evidence=risen))[0].evidence

    assert standing is not None
    assert standing.words == words


@pytest.mark.parametrize(
    ("report", "fired", "sentence"),
    [
        ({}, True, "The world has moved: 1 of 2 features drifted"),
        ({"guarded": GUARDED}, True, "1 of 2 features drifted, not yet enough evidence"),
        (
            {"guarded": {**GUARDED, "fired": True, "counted": ["moved"]}},
            True,
            "The world has moved: 1 of 2 features, with evidence",
        ),
        ({"guarded": GUARDED}, False, "Quiet: 1 of 2 features drifted"),
        ({"features": []}, False, "No row of this window could be tested"),
    ],
)
def test_the_headline_is_the_strongest_true_sentence(report: Json, fired: bool, sentence: str) -> None:  # noqa: FBT001  a column of the table
    assert headline({**check(**copy.deepcopy(report)), "fired": fired}) == sentence


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"median": 3.0, "quartiles": [1.0, 5.5], "missing_share": 0.25}, "median 3 (1 to 5.5), 25% missing"),
        ({"median": None, "quartiles": None, "missing_share": 1.0}, "100% missing"),
        ({"mode": "Bonn", "missing_share": 0.0}, "mostly Bonn"),
        ({"mode": None, "missing_share": 0.0}, "nothing"),
    ],
)
def test_a_report_without_a_shift_tells_where_a_feature_stands(state: Json, words: str) -> None:
    assert describe(state) == words


@pytest.mark.parametrize(
    ("number", "letters"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.034, "0.034"),
        (99.6, "100"),
        (160.0, "160"),
        (1.2e4, "1.2e4"),
        (4.8e-112, "4.8e-112"),
    ],
)
def test_a_figure_takes_a_few_letters_however_large_it_is(number: float, letters: str) -> None:
    assert short(number) == letters
