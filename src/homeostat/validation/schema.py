"""What a schema is: freezing declared features and a target under one digest, and its JSON form.

Not here: guessing a schema from data (`validation.inference`) or applying it (`validation.checks`). Pure.
"""

import hashlib
import json
from collections.abc import Sequence

from homeostat.errors import SettingsInvalid
from homeostat.records import Feature, Json, Label, Schema, Target


def freeze_schema(features: Sequence[Feature], target: Target) -> Schema:
    """Return the schema of these columns, named by the SHA-256 of its content.

    Raises
    ------
    SettingsInvalid
        A name begins with a dot, a range is empty, a category has a range or a number as marker, booleans have no two
        values of the feature's kind, the target is also a feature, or its two values are the same.
    """
    for feature in features:
        require_consistent(feature)
        if feature.name.startswith("."):
            raise SettingsInvalid(
                problem=f"features.{feature.name} begins with a dot",
                expected="another name: snapshots keep ids, sides and labels in columns that begin with one",
                action="rename the column",
            )
        if feature.name == target.name:
            raise SettingsInvalid(
                problem=f"column {feature.name!r} is both a feature and the target",
                expected="a target that is not an input",
                action=f"remove [features.{feature.name}] or name another target",
            )
    if target.negative == target.positive:
        raise SettingsInvalid(
            problem=f"project.target_values is [{target.negative!r}, {target.positive!r}]",
            expected="two different values, the negative first",
            action="write the two values as they stand in the data",
        )
    content = json.dumps(content_of(tuple(features), target), sort_keys=True)
    return Schema(tuple(features), target, hashlib.sha256(content.encode()).hexdigest())


def require_consistent(feature: Feature) -> None:
    """Raise SettingsInvalid if what is declared for a feature can never hold, or would never be looked at."""
    where = f"features.{feature.name}"
    if feature.low is not None and feature.high is not None and not feature.low <= feature.high:
        raise SettingsInvalid(
            problem=f"{where}.range is [{feature.low:.15g}, {feature.high:.15g}]",
            expected="the smaller end first",
            action="swap the two numbers",
        )
    if feature.booleans is not None:
        require_booleans(where, feature.booleans, int if feature.kind == "numeric" else str)
    if feature.kind == "numeric":
        return
    if (feature.low, feature.high) != (None, None):
        raise SettingsInvalid(
            problem=f"{where} is categorical and has a range",
            expected="a range for numbers only",
            action='remove the range, or write kind = "numeric"',
        )
    numbers = [marker for marker in feature.missing if not isinstance(marker, str)]
    if numbers:
        raise SettingsInvalid(
            problem=f"{where} is categorical and has the number {numbers[0]:.15g} as missing marker",
            expected="text, as every category is",
            action=f'write "{numbers[0]:.15g}"',
        )


def require_booleans(where: str, booleans: tuple[Label, Label], kind: type) -> None:
    """Raise SettingsInvalid unless false and true stand for two different values that the feature can have."""
    if booleans[0] == booleans[1] or not all(isinstance(value, kind) and str(value).strip() for value in booleans):
        raise SettingsInvalid(
            problem=f"{where}.booleans is {list(booleans)}",
            expected=f"two different {'whole numbers' if kind is int else 'texts'}: what false means, then true",
            action="write the two values as they stand in the data, or remove the setting",
        )


def content_of(features: tuple[Feature, ...], target: Target) -> Json:
    """Return the JSON object that a schema's digest covers."""
    return {
        "features": [content_of_feature(feature) for feature in features],
        "target": {"name": target.name, "negative": target.negative, "positive": target.positive},
    }


def content_of_feature(feature: Feature) -> Json:
    """Return the JSON object of one feature; without booleans it is that of a schema of before."""
    content: Json = {"name": feature.name, "kind": feature.kind, "unit": feature.unit}
    content |= {"range": [feature.low, feature.high], "missing": list(feature.missing)}
    return content if feature.booleans is None else content | {"booleans": list(feature.booleans)}


def schema_to_json(schema: Schema) -> Json:
    """Return the schema as a JSON object."""
    return content_of(schema.features, schema.target)


def schema_from_json(data: Json) -> Schema:
    """Return the schema that `schema_to_json` wrote."""
    features = [
        Feature(f["name"], f["kind"], f["unit"], low, high, tuple(f["missing"]), read_booleans(f.get("booleans")))
        for f in data["features"]
        for low, high in [f["range"]]
    ]
    target = data["target"]
    return freeze_schema(features, Target(target["name"], target["negative"], target["positive"]))


def read_booleans(values: list[Label] | None) -> tuple[Label, Label] | None:
    """Return what a schema's JSON declares of booleans."""
    return None if values is None else (values[0], values[1])


def is_label(value: object, target: Target) -> bool:
    """Return whether `value` is one of the target's two values, of the same JSON type."""
    return any(value == known and type(value) is type(known) for known in (target.negative, target.positive))


def class_label(target: Target, *, positive: bool) -> Label:
    """Return the target's value for a class."""
    return target.positive if positive else target.negative
