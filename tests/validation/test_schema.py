"""A schema is named by its content, survives JSON, and cannot hold what could never be obeyed."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import SettingsInvalid
from homeostat.records import Feature, Kind, Label, Schema, Target
from homeostat.validation.schema import class_label, freeze_schema, is_label, schema_from_json, schema_to_json

TARGET = Target("Outcome", 0, 1)
GLUCOSE = Feature("Glucose", "numeric", "mg/dL", low=20.0, high=600.0, missing=(0.0, "n/a"))
CITY = Feature("City", "categorical", missing=("?",))

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text().filter(lambda name: not name.startswith("."))
units = st.none() | st.text(max_size=5)
numeric = st.builds(
    Feature,
    names,
    st.just("numeric"),
    units,
    st.none() | finite.filter(lambda low: low < 0),
    st.none() | finite.filter(lambda high: high > 0),
    st.lists(finite | st.text(max_size=3), max_size=3).map(tuple),
)
categorical = st.builds(
    Feature,
    names,
    st.just("categorical"),
    units,
    missing=st.lists(st.text(), max_size=2).map(tuple),
    booleans=st.none() | st.just(("no", "yes")),
)
targets = st.sampled_from([Target("\0", 0, 1), Target("\0", "no", "yes"), Target("\0", 1, "1")])
features = st.lists((numeric | categorical).filter(lambda f: f.name != "\0"), max_size=4, unique_by=lambda f: f.name)


@given(features=features, target=targets)
def test_a_schema_survives_json_under_the_same_digest(features: list[Feature], target: Target) -> None:
    schema = freeze_schema(features, target)

    assert schema_from_json(json.loads(json.dumps(schema_to_json(schema)))) == schema


def test_a_schema_without_booleans_has_the_digest_that_it_always_had() -> None:
    assert digest_of(GLUCOSE, CITY) == "d7d1092ca51e84cfab86d5663f0777033c07760dbe0f0c4888d152a026112d95"


@pytest.mark.parametrize(
    ("kind", "booleans"),
    [
        ("numeric", ("no", "yes")),
        ("numeric", (1, 1)),
        ("categorical", (0, 1)),
        ("categorical", ("yes", "yes")),
        ("categorical", ("", "yes")),
    ],
)
def test_booleans_that_are_not_two_values_of_the_feature_are_refused(kind: Kind, booleans: tuple[Label, Label]) -> None:
    with pytest.raises(SettingsInvalid, match=r"features\.smokes\.booleans"):
        freeze_schema([Feature("smokes", kind, booleans=booleans)], TARGET)


def test_a_name_that_begins_with_a_dot_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match=r"features\.\.label begins with a dot; expected another name"):
        freeze_schema([Feature(".label", "numeric")], TARGET)


def digest_of(*features: Feature, target: Target = TARGET) -> str:
    return freeze_schema(features, target).digest


@pytest.mark.parametrize(
    "other",
    [
        {"name": "Sugar"},
        {"kind": "categorical", "low": None, "high": None, "missing": ("n/a",)},
        {"unit": None},
        {"low": 21.0},
        {"low": None},
        {"high": 601.0},
        {"missing": (0.0,)},
        {"missing": ("n/a", 0.0)},
        {"booleans": (0, 1)},
        {"booleans": (1, 0)},
    ],
)
def test_every_setting_of_a_feature_is_part_of_the_digest(other: dict[str, object]) -> None:
    changed = replace(GLUCOSE, **other)  # type: ignore[arg-type]

    assert digest_of(changed, CITY) != digest_of(GLUCOSE, CITY)


def test_the_order_of_the_features_and_the_target_are_part_of_the_digest() -> None:
    targets = [TARGET, Target("outcome", 0, 1), Target("Outcome", 1, 0), Target("Outcome", "0", "1")]

    digests = [digest_of(CITY, GLUCOSE), *(digest_of(GLUCOSE, CITY, target=target) for target in targets)]

    assert len(set(digests)) == 5


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (replace(GLUCOSE, low=1234567.0), "features.Glucose.range is [1234567, 600]"),
        (replace(GLUCOSE, low=float("nan")), "features.Glucose.range is [nan, 600]"),
        (replace(GLUCOSE, name="Outcome"), "column 'Outcome' is both a feature and the target"),
        (replace(CITY, low=0.0), "features.City is categorical and has a range"),
        (replace(CITY, missing=("?", 9.0)), "features.City is categorical and has the number 9 as missing marker"),
    ],
)
def test_what_could_never_be_obeyed_is_refused(feature: Feature, problem: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        freeze_schema([feature], TARGET)

    assert refused.value.problem == problem


def test_a_target_with_one_value_is_refused() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        freeze_schema([GLUCOSE], Target("Outcome", 1, 1))

    assert refused.value.problem == "project.target_values is [1, 1]"


def test_a_range_of_a_single_value_is_a_range() -> None:
    assert freeze_schema([replace(GLUCOSE, low=20.0, high=20.0)], TARGET).features[0].high == 20.0


def test_the_kinds_are_told_apart_in_schema_order() -> None:
    age = Feature("Age", "numeric")
    schema: Schema = freeze_schema([GLUCOSE, CITY, age], TARGET)

    assert schema.numeric == (GLUCOSE, age)
    assert schema.categorical == (CITY,)


@pytest.mark.parametrize(
    ("value", "known"),
    [(0, True), (1, True), (2, False), ("1", False), (True, False), (1.0, False), (None, False), ([1], False)],
)
def test_a_label_is_one_of_the_two_values_and_of_their_type(value: object, known: bool) -> None:  # noqa: FBT001  a table
    assert is_label(value, TARGET) is known


def test_a_class_has_its_value() -> None:
    target = Target("Outcome", "no", "yes")

    assert (class_label(target, positive=True), class_label(target, positive=False)) == ("yes", "no")
