"""Where rows come from: CSV, Parquet and SQL queries, read whole into a table.

Not here: whether a row is possible (`validation.checks`). A source hands over what stands there; an empty text cell is
missing. A third party adds a source by satisfying `Source` and passing `tests/conformance/source.py`.
"""

import csv
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError
from sqlalchemy import CursorResult, NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from homeostat.data.columns import texts
from homeostat.errors import SourceUnreadable
from homeostat.records import Json, Kind
from homeostat.store.database import resolve_url


class Source(Protocol):
    """Something that holds a table."""

    @property
    def name(self) -> str:
        """Return the name that messages and lineage use."""
        ...

    def read(self) -> pl.DataFrame:
        """Return every row; SourceUnreadable if there is no table with at least one row."""
        ...

    def describe(self) -> Json:
        """Return the source's line of lineage: kind, name and the digest of what was read."""
        ...


@dataclass(frozen=True, slots=True)
class CsvSource:
    """A CSV file in UTF-8 with a header line. Every column is read as text: the schema says what is a number."""

    path: Path

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name

    def read(self) -> pl.DataFrame:
        """Return every row, all columns as text."""
        header = read_header(self.path)
        require_unique(header, self.name)
        try:
            # The header is read by `csv`: polars leaves doubled quotes in names, and takes [a] in a path for a pattern.
            frame = pl.read_csv(self.path, infer_schema=False, glob=False, new_columns=header)
        except (PolarsError, OSError) as error:
            find_lines(self.path, width=len(header))
            raise unreadable(self.name, str(error).splitlines()[0], "a CSV file in UTF-8 with a header line") from error
        # A line that is blank or ends early is read as if its last cells were empty.
        if frame[:, -1].null_count():
            frame = frame.filter(pl.Series(find_lines(self.path, width=len(header))))
        return require_rows(frame, self.name)

    def describe(self) -> Json:
        """Return the file's line of lineage."""
        return {"kind": "csv", "name": self.name, "sha256": file_digest(self.path)}


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file."""

    path: Path

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name

    def read(self) -> pl.DataFrame:
        """Return every row with the file's own types."""
        require_file(self.path)
        try:
            frame = pl.read_parquet(self.path, glob=False)
        except (PolarsError, OSError) as error:
            raise unreadable(self.name, str(error).splitlines()[0], "a Parquet file") from error
        return require_rows(frame, self.name)

    def describe(self) -> Json:
        """Return the file's line of lineage."""
        return {"kind": "parquet", "name": self.name, "sha256": file_digest(self.path)}


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The result of one SQL query. A SQLite file must exist: connecting would create an empty one."""

    url: str
    query: str

    @property
    def name(self) -> str:
        """Return the query; the URL may hold a password."""
        return self.query

    def read(self) -> pl.DataFrame:
        """Return every row of the result."""
        try:
            location = make_url(self.url)
            if location.get_backend_name() == "sqlite" and location.database:
                require_file(Path(location.database))
            engine = create_engine(location, poolclass=NullPool)
            with engine.connect() as connection:
                frame = read_result(connection.exec_driver_sql(self.query), self.name)
        except (SQLAlchemyError, PolarsError, ImportError) as error:
            raise unreadable(self.name, str(error).splitlines()[0], "a query that the database answers") from error
        return require_rows(frame, self.name)

    def describe(self) -> Json:
        """Return the query's line of lineage; what it gave is named by the snapshot's own digest."""
        return {"kind": "sql", "name": self.query}


def open_source(location: str, *, folder: Path, query: str | None = None) -> Source:
    """Return the source for a file path or a database URL with its query; relative paths begin at `folder`."""
    if "://" in location:
        if query is None:
            raise SourceUnreadable(
                problem=f"{location.split('://', maxsplit=1)[0]} database without a query",
                expected="project.query beside project.data",
                action='add query = "SELECT ..." to [project]',
            )
        return SqlSource(resolve_url(location, folder), query)
    path = folder / location
    return ParquetSource(path) if path.suffix in {".parquet", ".pq"} else CsvSource(path)


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV file."""
    require_file(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), None)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise unreadable(path.name, str(error), "text in UTF-8") from error
    if not header:
        problem = "the file is empty" if header is None else "the first line is blank"
        raise unreadable(path.name, problem, "a header line and rows")
    return header


def find_lines(path: Path, *, width: int) -> list[bool]:
    """Return for each line below the header whether it is a row; SourceUnreadable if one has not `width` cells.

    A blank line is no row, except in a file of one column, where it is a missing value.
    """
    found: list[bool] = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        try:
            for cells in itertools.islice(csv.reader(file), 1, None):
                if cells and len(cells) != width:
                    problem = f"row {sum(found) + 1} has {len(cells)} of {width} cells"
                    raise unreadable(path.name, problem, "as many cells in each row as in the header")
                found.append(bool(cells) or width == 1)
        except csv.Error as error:
            raise unreadable(path.name, f"row {sum(found) + 1}: {error}", "plain cells") from error
    return found


def read_result(result: CursorResult[Any], source: str) -> pl.DataFrame:
    """Return the rows that a statement gave."""
    if not result.returns_rows:
        raise unreadable(source, "the statement gives no rows", "a query such as SELECT ... FROM ...")
    names = list(result.keys())
    require_unique(names, source)
    rows = [tuple(row) for row in result]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None, strict=False)


def require_file(path: Path) -> None:
    """Raise SourceUnreadable unless `path` is a file."""
    if not path.is_file():
        raise unreadable(str(path), "there is no such file", "an existing file")


def require_unique(names: Sequence[str], source: str) -> None:
    """Raise SourceUnreadable if two columns have the same name."""
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise unreadable(source, f"column {repeated[0]!r} stands twice in the header", "each column name once")


def require_rows(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """Return the table, or raise SourceUnreadable if it has no row."""
    if frame.is_empty():
        raise unreadable(source, "there is a header but no row", "at least one row")
    return frame


def unreadable(name: str, problem: str, expected: str) -> SourceUnreadable:
    """Return the three-part error for a source."""
    return SourceUnreadable(problem=f"{name}: {problem}", expected=expected, action="check the file or the query")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_cells(frame: pl.DataFrame, kinds: Mapping[str, Kind]) -> dict[str, NDArray[Any]]:
    """Return columns as arrays of cells: float64 (NaN missing) where every cell is a number, else objects.

    Parameters
    ----------
    frame
        A table as a source read it.
    kinds
        The kind of each wanted column; wanted columns that the table lacks are left out.
    """
    return {
        name: number_cells(frame[name]) if kind == "numeric" else text_cells(frame[name])
        for name, kind in kinds.items()
        if name in frame.columns
    }


def number_cells(column: pl.Series) -> NDArray[Any]:
    """Return a column as float64, or, if some cell is no number, as objects with those cells as they stand."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy(writable=True)
    if column.dtype != pl.String:
        return texts(column.to_list())
    stripped = blank_is_missing(column)
    numbers = stripped.cast(pl.Float64, strict=False)
    if numbers.null_count() == stripped.null_count():
        return numbers.to_numpy(writable=True)
    pairs = zip(numbers.to_list(), stripped.to_list(), strict=True)
    return texts([text if number is None else number for number, text in pairs])


def text_cells(column: pl.Series) -> NDArray[Any]:
    """Return a column as text, None for missing; SourceUnreadable if it holds lists, records or bytes."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise unreadable(
            f"column {column.name!r}", f"it holds {column.dtype}", "numbers, text, moments or true and false"
        )
    return texts(blank_is_missing(column.cast(pl.String)).to_list())


def blank_is_missing(column: pl.Series) -> pl.Series:
    """Return a text column without surrounding blanks; what is then empty is missing."""
    stripped = column.str.strip_chars()
    return stripped.set(stripped == "", None)


def guess_kinds(frame: pl.DataFrame) -> dict[str, Kind]:
    """Return `numeric` for each column whose every cell is a number or empty, `categorical` for the others."""
    return {
        column.name: "categorical" if number_cells(column).dtype == object else "numeric"
        for column in frame.iter_columns()
    }
