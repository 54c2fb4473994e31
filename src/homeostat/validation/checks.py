"""The one rule set: which values are impossible, for a request's row and for a file's columns alike.

Not here: what is normal but unusual (`monitoring.drift`), or imputation of what is missing (`training.preprocessing`).
Pure. A value passes two stages: it is *parsed* from a cell (by the same function in both forms), then its number is
*judged* by expressions that hold for one float as for an array.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import texts
from homeostat.errors import ColumnMissing
from homeostat.records import CheckedRow, CheckedTable, Feature, Floats, Schema, Texts, Violation

# What false and true are where a feature says nothing else: so Parquet, databases and JSON write them.
WORDS = ("false", "true")
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over numbers. `broken` maps a float or an array (NaN is missing) to a bool or a mask."""

    name: str
    broken: Callable[[Any, Feature], Any]  # Any: one float -> bool, or an array -> mask
    expected: Callable[[Feature], str]


def beyond_float32(value: Any, feature: Feature) -> Any:  # noqa: ARG001  one signature for all rules
    """Return whether the model, which computes in float32, cannot hold the value."""
    return abs(value) > FLOAT32_MAX


def outside_range(value: Any, feature: Feature) -> Any:
    """Return whether the value is impossible: outside the range and no missing marker."""
    low = -math.inf if feature.low is None else feature.low
    high = math.inf if feature.high is None else feature.high
    outside = (value < low) | (value > high)
    for marker in feature.missing:
        # `& (... ^ True)` and not `and not`: the expression must hold for an array as for one float.
        outside = outside & ((value == marker) ^ True)
    return outside


def describe_range(feature: Feature) -> str:
    """Return the possible values in words."""
    unit = f" {feature.unit}" if feature.unit else ""
    if feature.low is None and feature.high is None:
        words = f"a number{unit}"
    elif feature.high is None:
        words = f"{feature.low:.15g}{unit} or more"
    elif feature.low is None:
        words = f"{feature.high:.15g}{unit} or less"
    else:
        words = f"{feature.low:.15g} to {feature.high:.15g}{unit}"
    markers = ", ".join(
        f"{marker:.15g}" if isinstance(marker, float | int) else repr(marker) for marker in feature.missing
    )
    return f"{words}, {markers} or null if not measured" if markers else f"{words}, null if not measured"


# In the order in which they are judged: a value breaks at most one.
NUMBER_RULES = (
    Rule("finite", beyond_float32, lambda _: "a finite number that float32 can hold"),
    Rule("range", outside_range, describe_range),
)


def parse_number(cell: object, feature: Feature) -> float | Violation:
    """Return the number in a cell, NaN if it is missing, or the violation of rule `number`."""
    if cell is None or (isinstance(cell, str) and cell.strip() in feature.missing):
        return math.nan
    if isinstance(cell, bool) and feature.booleans is not None:
        return float(feature.booleans[cell])
    if isinstance(cell, float | int) and not isinstance(cell, bool):
        try:
            return float(cell)
        except OverflowError:  # an integer of more than 308 digits
            return math.inf if cell > 0 else -math.inf
    return Violation(feature.name, cell, "number", describe_range(feature))


def parse_text(cell: object, feature: Feature) -> str | Violation | None:
    """Return the category in a cell, None if it is missing, or the violation of rule `text`.

    A whole number is a category too: codes are written 1, 2, 3 as often as "1", "2", "3". A boolean is the category
    that the feature says, else its word. Blanks around a text are no part of it.
    """
    if cell is None:
        return None
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return str((feature.booleans or WORDS)[cell]).strip()
    if isinstance(cell, int):
        return str(cell)
    return Violation(feature.name, cell, "text", "a category as text, null if not known")


def check_row(row: Mapping[str, object], schema: Schema) -> CheckedRow:
    """Return one row with its violations: at most one for each column, in schema order, unknown fields last."""
    values: dict[str, float | str | None] = {}
    violations: list[Violation] = []
    for feature in schema.features:
        if feature.name not in row:
            violations.append(Violation(feature.name, None, "required", "the field, or null if not measured"))
            continue
        value = check_cell(row[feature.name], feature)
        if isinstance(value, Violation):
            violations.append(value)
        else:
            values[feature.name] = value
    absent = sum(violation.rule == "required" for violation in violations)
    if len(row) > len(schema.features) - absent:
        violations.extend(unknown_fields(row, schema))
    return CheckedRow(values, tuple(violations))


def check_cell(cell: object, feature: Feature) -> float | str | Violation | None:
    """Return the value in a cell, None if it is missing, or the first violation."""
    if feature.kind == "categorical":
        return parse_text(cell, feature)
    number = parse_number(cell, feature)
    if isinstance(number, Violation):
        return number
    for rule in NUMBER_RULES:
        if rule.broken(number, feature):
            return Violation(feature.name, cell, rule.name, rule.expected(feature))
    return None if math.isnan(number) else number


def unknown_fields(row: Mapping[str, object], schema: Schema) -> Iterator[Violation]:
    """Yield a violation of rule `unknown` for each field that the schema does not name."""
    names = [feature.name for feature in schema.features]
    for field in row:
        if field not in names:
            near = difflib.get_close_matches(field, names, n=1)
            yield Violation(field, row[field], "unknown", f"did you mean {near[0]!r}?" if near else ", ".join(names))


def check_table(cells: Mapping[str, NDArray[Any]], schema: Schema) -> CheckedTable:
    """Return the accepted rows of a table and every violation, by row and then in schema order.

    Parameters
    ----------
    cells
        One array of shape (n_rows,) per column: float64 with NaN for missing, or objects (None, numbers, text).
        Columns that the schema does not name are left out.
    schema
        What a row may be.

    Raises
    ------
    ColumnMissing
        A feature has no column.
    """
    require_columns(list(cells), [feature.name for feature in schema.features])
    columns: dict[str, Floats | Texts] = {}
    found: list[tuple[int, int, Violation]] = []
    for position, feature in enumerate(schema.features):
        values, violations = check_column(cells[feature.name], feature)
        columns[feature.name] = values
        found.extend((violation.row or 0, position, violation) for violation in violations)
    n_rows = len(next(iter(columns.values())))
    accepted = np.ones(n_rows, dtype=np.bool_)
    accepted[[row for row, _, _ in found]] = False
    ordered = tuple(violation for _, _, violation in sorted(found, key=lambda item: item[:2]))
    return CheckedTable({name: values[accepted] for name, values in columns.items()}, accepted, ordered)


def require_columns(found: Sequence[str], needed: Sequence[str]) -> None:
    """Raise ColumnMissing for the first needed column that a table does not have."""
    for name in needed:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            raise ColumnMissing(
                problem=f"there is no column {name!r} (found: {', '.join(found) or 'none'})",
                expected="every column of the schema",
                action=f"rename {near[0]!r} to {name!r}"
                if near
                else "add the column, or remove it from homeostat.toml",
            )


def check_column(cells: NDArray[Any], feature: Feature) -> tuple[Floats | Texts, list[Violation]]:
    """Return the values of a column, shape (n_rows,), and its violations in row order."""
    parse = parse_text if feature.kind == "categorical" else parse_number
    if cells.dtype == object or feature.kind == "categorical":
        parsed = [parse(cell, feature) for cell in cells.tolist()]
    else:
        parsed = []
    violations = [
        Violation(p.column, p.value, p.rule, p.expected, row)
        for row, p in enumerate(parsed)
        if isinstance(p, Violation)
    ]
    kept: list[Any] = [None if isinstance(p, Violation) else p for p in parsed]
    if feature.kind == "categorical":
        return texts(kept), violations
    numbers = cells.astype(np.float64) if cells.dtype != object else np.array(kept, dtype=np.float64)
    violations += judge_numbers(numbers, cells, feature)
    return numbers, sorted(violations, key=lambda violation: violation.row or 0)


def judge_numbers(numbers: Floats, cells: NDArray[Any], feature: Feature) -> Iterator[Violation]:
    """Yield the violations of the number rules, each row's first one only."""
    open_rows = np.ones(len(numbers), dtype=np.bool_)
    for rule in NUMBER_RULES:
        broken = rule.broken(numbers, feature) & open_rows
        open_rows &= ~broken
        for row in np.flatnonzero(broken).tolist():
            yield Violation(feature.name, cells[row : row + 1].tolist()[0], rule.name, rule.expected(feature), row)
