"""Tables that Python hands over and gets back: any kind of table as polars, and what is stored as lines of a table.

Not here: what is done with them (`homeostat.api`), or reading a file (`data.sources`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import polars as pl
from polars.exceptions import PolarsError

from homeostat.data.refusals import require_rows
from homeostat.data.sources import Source, open_given
from homeostat.deployment.history import Move
from homeostat.deployment.registry import RegisteredRelease
from homeostat.errors import SourceUnreadable
from homeostat.monitoring.labels import LabelOutcome
from homeostat.monitoring.verdicts import list_readings
from homeostat.records import Dialect, Json
from homeostat.web.answers import Answer, Refused

MOMENT = pl.Datetime("us", "UTC")
VIOLATIONS = {
    "row": pl.Int64(),
    "column": pl.String(),
    "value": pl.String(),
    "rule": pl.String(),
    "expected": pl.String(),
}
ANSWERS = {"id": pl.String(), "probability": pl.Float64(), "label": pl.String(), "rejected_because": pl.String()}
EXPLANATIONS = {
    "row": pl.Int64(),
    "probability": pl.Float64(),
    "feature": pl.String(),
    "value": pl.String(),
    "missing": pl.Boolean(),
    "contribution": pl.Float64(),
}
LABELS = {"id": pl.String(), "label": pl.String(), "status": pl.String(), "standing": pl.String()}
FEATURES = {
    "feature": pl.String(),
    "drifted": pl.Boolean(),
    "shift": pl.String(),
    "test": pl.String(),
    "statistic": pl.Float64(),
    "p_value": pl.Float64(),
    "evidence": pl.Float64(),
}
RELEASES = {
    "number": pl.Int64(),
    "digest": pl.String(),
    "production": pl.Boolean(),
    "created_at": MOMENT,
    "family": pl.String(),
    "auc": pl.Float64(),
    "auc_low": pl.Float64(),
    "auc_high": pl.Float64(),
}
MOVES = {
    "epoch": pl.Int64(),
    "release": pl.String(),
    "how": pl.String(),
    "decided_at": MOMENT,
    "until": MOMENT,
    "actor": pl.String(),
    "reason": pl.String(),
}


class ArrowTable(Protocol):
    """Anything that hands over its columns as Arrow does: polars, pyarrow, DuckDB, pandas where pyarrow is installed.

    https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream of record batches."""
        ...


Table: TypeAlias = pl.DataFrame | ArrowTable | Mapping[str, Sequence[Any]] | str | Path  # Any: a cell of any type


@dataclass(frozen=True, slots=True)
class FrameSource:
    """A table in memory as a source."""

    frame: pl.DataFrame

    @property
    def name(self) -> str:
        """Return the name that messages use."""
        return "the table"

    def read(self) -> pl.DataFrame:
        """Return every row; SourceUnreadable if there is none."""
        return require_rows(self.frame, self.name)

    def describe(self) -> Json:
        """Return the source's line of lineage."""
        return {"kind": "memory", "name": self.name}


def open_table(table: Table, usual: Dialect, needed: Sequence[str]) -> Source:
    """Return the source for any kind of table; a CSV file in the dialect in which it has the needed columns."""
    return open_given(Path(table), usual, needed) if isinstance(table, str | Path) else FrameSource(to_polars(table))


def to_polars(table: pl.DataFrame | ArrowTable | Mapping[str, Sequence[Any]]) -> pl.DataFrame:  # Any: of any type
    """Return a table in memory as polars; SourceUnreadable if it is none."""
    if isinstance(table, pl.DataFrame):
        return table
    try:
        # Any: a type checker knows none of polars' ways in that takes a stream of Arrow.
        columns: Any = from_pandas(table) if is_pandas(table) else table
        return pl.DataFrame(dict(columns) if isinstance(columns, Mapping) else columns, strict=False)
    except (PolarsError, TypeError, ValueError) as error:
        raise SourceUnreadable(
            problem=f"a {type(table).__name__} cannot be read as a table: {str(error).splitlines()[0]}",
            expected="a DataFrame, a dictionary of columns, or the path of a CSV or Parquet file",
            action="hand over columns of equal length",
        ) from error


def is_pandas(table: object) -> bool:
    """Return whether a table is a DataFrame of pandas, which is not imported for that."""
    return type(table).__module__.partition(".")[0] == "pandas"


def from_pandas(table: Any) -> dict[str, list[Any]]:  # Any: pandas is no dependency
    """Return the columns of a pandas DataFrame, None for whatever is missing; it would itself need pyarrow."""
    plain = table.astype(object).where(table.notna(), None)
    return {str(name): list(cells) for name, cells in plain.to_dict("list").items()}


def write_table(table: Table, path: Path) -> Path:
    """Return the file of a table: the one that it is, or a Parquet file that is written now."""
    if isinstance(table, str | Path):
        return Path(table)
    FrameSource(to_polars(table)).read().write_parquet(path)
    return path


def as_text(value: object) -> str | None:
    """Return a cell as text, None for missing."""
    return None if value is None else str(value)


def frame_violations(violations: Sequence[Json]) -> pl.DataFrame:
    """Return the violations of a check as a table."""
    return pl.DataFrame([{**line, "value": as_text(line["value"])} for line in violations], schema=VIOLATIONS)


def frame_answers(results: Sequence[Answer | Refused]) -> pl.DataFrame:
    """Return what rows were answered with as a table."""
    lines = [
        {"id": one.id, "probability": one.probability, "label": str(one.label), "rejected_because": None}
        if isinstance(one, Answer)
        else {"rejected_because": "; ".join(describe(violation) for violation in one.rejected)}
        for one in results
    ]
    return pl.DataFrame(lines, schema=ANSWERS)


def describe(violation: Json) -> str:
    """Return a violation that the service tells in words."""
    return f"{violation['column']} = {violation['value']!r}: {violation['rule']} ({violation['expected']})"


def frame_explanations(told: Sequence[Json]) -> pl.DataFrame:
    """Return why rows are answered as they are as a table, a line for each accepted row and feature."""
    lines = [
        {"row": place, "probability": one["probability"], **part, "value": as_text(part["value"])}
        for place, one in enumerate(told, start=1)
        for part in one.get("contributions", ())
    ]
    return pl.DataFrame(lines, schema=EXPLANATIONS)


def frame_labels(outcomes: Sequence[LabelOutcome]) -> pl.DataFrame:
    """Return what became of outcomes as a table."""
    lines = [
        {"id": o.id, "label": as_text(o.label), "status": o.status, "standing": as_text(o.standing)} for o in outcomes
    ]
    return pl.DataFrame(lines, schema=LABELS)


def frame_features(check: Json) -> pl.DataFrame:
    """Return the features of a drift check as a table, what matters most first."""
    lines = [
        {
            "feature": reading.name,
            "drifted": reading.drifted,
            "shift": reading.shift,
            "test": reading.test,
            "statistic": reading.statistic,
            "p_value": reading.p_value,
            "evidence": reading.evidence.value if reading.evidence else None,
        }
        for reading in list_readings(check)
    ]
    return pl.DataFrame(lines, schema=FEATURES)


def frame_releases(found: Sequence[RegisteredRelease], *, live: str | None) -> pl.DataFrame:
    """Return releases as a table; the AUC is that on the anchor, with its 95 % interval."""
    lines = []
    for release in found:
        auc = release.metrics["anchor"]["auc"]
        line = {"number": release.number, "digest": release.digest, "production": release.digest == live}
        line |= {"created_at": release.created_at, "family": release.family}
        lines.append(line | {"auc": auc["value"], "auc_low": auc["low"], "auc_high": auc["high"]})
    return pl.DataFrame(lines, schema=RELEASES)


def frame_moves(moves: Sequence[Move]) -> pl.DataFrame:
    """Return the moves of production as a table."""
    lines = [
        {
            "epoch": move.promotion.epoch,
            "release": move.promotion.release,
            "how": move.how,
            "decided_at": move.promotion.decided_at,
            "until": move.until,
            "actor": move.promotion.actor,
            "reason": move.promotion.reason,
        }
        for move in moves
    ]
    return pl.DataFrame(lines, schema=MOVES)
