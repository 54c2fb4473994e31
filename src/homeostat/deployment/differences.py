"""In what releases differ: parameters, settings, recipe, features, rows and code, side by side.

Not here: their figures, which have intervals and are compared as such (`web.compare_page`). Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from homeostat.records import Feature, Release

# What a release does not have.
ABSENT = "-"
# Parts of a lineage that are compared, and how each is called. What a release was chosen from is told in its own place.
PARTS: Mapping[str, str] = {
    "family": "model",
    "parameters": "parameters",
    "fixed": "parameters",
    "recipe": "recipe",
    "settings": "settings",
    "monitoring": "settings",
    "change": "change in the world",
    "code": "software",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in all releases: `values` has one entry for each, in their order."""

    part: str
    name: str
    values: tuple[str, ...]


def list_differences(releases: Sequence[Release]) -> list[Difference]:
    """Return everything in which the releases differ."""
    described = [dict(describe(release)) for release in releases]
    keys = list(dict.fromkeys(key for one in described for key in one))
    found = [Difference(*key, tuple(one.get(key, ABSENT) for one in described)) for key in keys]
    return [difference for difference in found if len(set(difference.values)) > 1]


def describe(release: Release) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what is compared of a release: its part and name, and its value in words."""
    lineage = release.lineage
    for key, part in PARTS.items():
        yield from flatten(part, lineage.get(key), key)
    yield ("training set", "snapshot"), str(lineage.get("snapshot", ABSENT))[:12]
    for feature in release.schema.features:
        yield ("features", feature.name), describe_feature(feature)
    target = release.schema.target
    yield ("features", f"{target.name} (target)"), f"{target.negative!r} or {target.positive!r}"


def flatten(part: str, value: object, name: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield a value under its name; of an object each member under its own."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from flatten(part, member, str(key))
    elif value is not None:
        yield (part, name), show(value)


def show(value: object) -> str:
    """Return a value in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_feature(feature: Feature) -> str:
    """Return what a feature may be, in words."""
    words: list[str] = [feature.kind]
    if feature.low is not None or feature.high is not None:
        words.append(f"{show_end(feature.low)} to {show_end(feature.high)}")
    if feature.unit:
        words.append(feature.unit)
    if feature.booleans:
        words.append(" or ".join(map(show, feature.booleans)))
    if feature.missing:
        words.append(f"missing: {', '.join(map(show, feature.missing))}")
    return ", ".join(words)


def show_end(end: float | None) -> str:
    """Return the end of a range."""
    return "any" if end is None else f"{end:g}"
