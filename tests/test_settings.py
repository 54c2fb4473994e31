"""Settings have defaults that are documented, are overridden key by key, and refuse what they do not know."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticUndefined

from homeostat.errors import SettingsInvalid
from homeostat.settings import FeatureSettings, Section, Settings, override, parse_settings, read_value

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"
LEAST = {"project": {"name": "p", "data": ["a.csv"], "target": "Outcome"}, "features": {"Glucose": {}}}
SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
KEYS = [(section, key) for section, fields in SECTIONS.items() for key in fields.model_fields]
# A value other than the default for each key whose type alone does not say one.
OTHER = {
    "name": "q", "data": ["b.csv"], "query": "SELECT 1", "target": "Result", "target_values": ["no", "yes"],
    "family": "logistic", "anchor_share": 0.3, "alpha": 0.01, "boundary": 0.5, "reference": "snapshot",
    "schedule": "0 3 * * *", "recent_share": 0.5, "margin": 0.02, "host": "::1", "durability": "process-safe",
    "database": "sqlite:///b.db", "blobs": "b", "tracking": "sqlite:///t.db", "trigger": "book",
    "authentication": "required", "certfile": "chain.pem", "keyfile": "key.pem",
    "correction": "holm", "alpha_life": 0.01, "effect_floor": 0.1, "seasons": "baseline",
    "new_labels": 500, "half_life": 1000, "max_source_share": 0.5, "anchor": "report", "promotion": "approval",
    "bake_error_share": 0.05, "url": "https://example.org/hook", "secret": "a secret of enough letters",
    "kinds": ["promoted"], "separator": ";", "decimal": ",", "thousands": "'", "encoding": "cp1252",
    "booleans": [0, 1], "time": "day",
}  # fmt: skip


def document(**sections: Any) -> dict[str, Any]:  # Any: a TOML document
    """Return the least document with some sections changed."""
    merged: dict[str, Any] = {**LEAST}
    for name, table in sections.items():
        merged[name] = {**merged.get(name, {}), **table} if isinstance(table, dict) else table
    return merged


def refusal(**sections: Any) -> SettingsInvalid:  # Any: as above
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings(document(**sections))
    return refused.value


# --- defaults -----------------------------------------------------------------------------------------------------


def test_the_least_document_is_enough() -> None:
    settings = parse_settings(LEAST)

    assert settings.project.target_values == (0, 1)
    assert settings.features["Glucose"] == FeatureSettings()


def documented(section: str) -> dict[str, str]:
    """Return the default of each key as the reference tells it."""
    table = REFERENCE.read_text().split(f"### `[{section}]`")[1].split("###")[0].split("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return {row[1].strip(" `"): row[3].strip(" `") for row in rows}


def told(default: object) -> str:
    """Return a default as the reference tells it."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return "none" if default is None else json.dumps(default)


@pytest.mark.parametrize(("section", "fields"), [*SECTIONS.items(), ("features.NAME", FeatureSettings)])
def test_the_reference_tells_each_default(section: str, fields: type[Section]) -> None:
    assert documented(section) == {key: told(field.default) for key, field in fields.model_fields.items()}


def test_settings_never_change_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_settings(LEAST).training.trials = 3


# --- overriding ---------------------------------------------------------------------------------------------------


def other_value(section: str, key: str) -> object:
    """Return an allowed value other than the default."""
    if (section, key) == ("retraining", "data"):
        return 5_000
    return OTHER[key] if key in OTHER else SECTIONS[section].model_fields[key].default + 1


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_can_be_overridden_by_a_variable(section: str, key: str) -> None:
    value = other_value(section, key)
    text = value if isinstance(value, str) else json.dumps(value)

    settings = parse_settings(override(LEAST, {f"HOMEOSTAT_{section}__{key}".upper(): text}))

    found = getattr(getattr(settings, section), key)
    assert found == (tuple(value) if isinstance(value, list) else value)


def test_a_variable_wins_over_the_file_and_leaves_the_other_keys() -> None:
    read = override(document(training={"trials": 3, "folds": 4}), {"HOMEOSTAT_TRAINING__TRIALS": "7"})

    assert parse_settings(read).training == parse_settings(document(training={"trials": 7, "folds": 4})).training


@pytest.mark.parametrize(
    "variable", ["HOMEOSTAT_PIMA", "HOMEOSTAT_TRAINING__", "TRAINING__TRIALS", "PATH", "HOMEOSTAT_"]
)
def test_variables_that_name_no_key_are_not_looked_at(variable: str) -> None:
    assert override(LEAST, {variable: "7"}) == LEAST


def test_overriding_changes_nothing_in_the_document_it_is_given() -> None:
    given = document(training={"trials": 3})
    override(given, {"HOMEOSTAT_TRAINING__TRIALS": "7", "HOMEOSTAT_SERVING__PORT": "1"})

    assert given == document(training={"trials": 3})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.2", 0.2),
        ("true", True),
        ('["a", "b"]', ["a", "b"]),
        ('"7"', "7"),
        ("a.csv", "a.csv"),
        ("0 3 * * *", "0 3 * * *"),
        ("", ""),
    ],
)
def test_the_value_of_a_variable_is_toml_if_it_can_be_and_text_if_not(text: str, value: object) -> None:
    assert read_value(text) == value


@given(text=st.text())
def test_no_text_in_a_variable_breaks_its_reading(text: str) -> None:
    read_value(text)


def test_a_variable_for_a_feature_is_refused_whose_name_it_could_not_spell() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        override(LEAST, {"HOMEOSTAT_FEATURES__GLUCOSE__UNIT": "mg/dL"})

    assert refused.value.problem.startswith("the variable HOMEOSTAT_FEATURES__GLUCOSE__UNIT is set")


@pytest.mark.parametrize("separator", ['"', ";;", "a", "\n", "\r", "", "é"])
def test_a_separator_is_one_character_that_no_word_holds(separator: str) -> None:
    assert refusal(project={"separator": separator}).problem == f"project.separator is {separator!r}"


def test_an_encoding_that_does_not_exist_is_refused_by_name() -> None:
    refused = refusal(project={"encoding": "utf-9"})

    assert (refused.problem, refused.expected) == (
        "project.encoding is 'utf-9'",
        "the name of a text encoding, such as cp1252 or utf-16",
    )


def test_one_mark_is_not_both_before_the_decimals_and_between_the_thousands() -> None:
    assert "another mark between the thousands" in refusal(project={"thousands": "."}).expected


def test_a_variable_for_an_unknown_key_is_refused_like_one_in_the_file() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings(override(LEAST, {"HOMEOSTAT_TRAINING__TRAILS": "7"}))

    assert refused.value.problem == "training.trails is not a setting"


# --- refusing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "problem", "near"),
    [
        ({"training": {"trails": 3}}, "training.trails", "trials"),
        ({"monitoring": {"windows": 3}}, "monitoring.windows", "window"),
        ({"features": {"Glucose": {"rang": [0, 1]}}}, "features.Glucose.rang", "range"),
        ({"trainin": {"trials": 3}}, "trainin", "training"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(sections: dict[str, Any], problem: str, near: str) -> None:
    refused = refusal(**sections)

    assert refused.problem == f"{problem} is not a setting"
    assert refused.action == f"did you mean {near!r}?"


def test_an_unknown_key_near_to_none_is_refused_with_all_that_there_are() -> None:
    refused = refusal(store={"xyz": 1})

    assert refused.expected == "one of database, blobs, tracking, keep_predictions_days, keep_rejections_days"
    assert refused.action == "remove it or correct its name"


@pytest.mark.parametrize(
    ("sections", "problem", "expected"),
    [
        ({"training": {"trials": 0}}, "training.trials is 0", "greater than or equal to 1"),
        ({"training": {"family": "forest"}}, "training.family is 'forest'", "'auto', 'lightgbm' or 'logistic'"),
        ({"training": 5}, "training is 5", "a table"),
        ({"project": {"name": "my project"}}, "project.name is 'my project'", "text that matches '"),
        ({"project": {"data": "a.csv"}}, "project.data is 'a.csv'", "a list"),
        ({"project": {"data": []}}, "project.data is []", "a list of at least 1 item"),
        ({"project": {"target_values": [0, 1, 2]}}, "project.target_values is [0, 1, 2]", "a list of at most 2 items"),
        ({"project": {"target_values": [0, 0.5]}}, "project.target_values.1 is 0.5", "a valid integer"),
        ({"features": {"Glucose": {"range": "wide"}}}, "features.Glucose.range is 'wide'", "a list"),
        (
            {"features": {"Glucose": {"missing": [0, [1]]}}},
            "features.Glucose.missing.1 is [1]",
            "a valid number or text",
        ),
        ({"features": {"Glucose": 5}}, "features.Glucose is 5", "a table"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_what_is(
    sections: dict[str, Any], problem: str, expected: str
) -> None:
    refused = refusal(**sections)

    assert refused.problem == problem
    assert refused.expected.startswith(expected)
    assert refused.action.startswith("correct it in homeostat.toml")


def test_a_wrong_value_is_said_to_come_from_the_file_or_its_variable() -> None:
    refused = refusal(serving={"port": "eighty"})

    assert refused.action == "correct it in homeostat.toml, or in HOMEOSTAT_SERVING__PORT if that is set"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[features.a]", "project is missing"),
        ('[project]\nname = "p"\ndata = ["a"]\ntarget = "y"', "features is missing"),
        ('[project]\nname = "p"\ndata = ["a"]\n[features.a]', "project.target is missing"),
        (
            '[project]\nname = "p"\ndata = ["a"]\ntarget = "y"\ntarget_values = [0]\n[features.a]',
            "project.target_values.1 is missing",
        ),
    ],
)
def test_what_has_no_default_must_be_there(text: str, problem: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings(tomllib.loads(text))

    assert refused.value.problem == problem
    assert refused.value.action == "add it to homeostat.toml"


def test_a_variable_for_a_section_that_is_no_table_does_not_hide_the_error() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings(override(document(training=5), {"HOMEOSTAT_TRAINING__TRIALS": "7"}))

    assert refused.value.problem == "training is 5"
