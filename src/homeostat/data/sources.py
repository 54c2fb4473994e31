"""Where rows come from: CSV, Parquet and SQL queries, read whole into a table, and its cells.

Not here: CSV files (`data.csv_files`), or whether a row is possible (`validation.checks`). A source hands over what
stands there; an empty text cell is missing. A third party adds a source by satisfying `Source` and passing
`tests/conformance/source.py`.
"""

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
from homeostat.data.csv_files import CsvSource
from homeostat.data.detection import suit_dialect
from homeostat.data.dialects import PLAIN, read_numbers
from homeostat.data.refusals import file_digest, require_file, require_rows, require_unique, unreadable
from homeostat.errors import SourceUnreadable
from homeostat.records import Dialect, Json, Kind
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


def open_source(location: str, *, folder: Path, query: str | None = None, dialect: Dialect = PLAIN) -> Source:
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
    return ParquetSource(path) if is_parquet(path) else CsvSource(path, dialect)


def open_given(path: Path, usual: Dialect, needed: Sequence[str]) -> Source:
    """Return the source for a file that was named by hand, in the dialect in which it has the needed columns.

    That is the usual one, of the project, if it fits: so a file of its own kind is never guessed at.
    """
    whole = path.resolve()
    if is_parquet(whole) or not whole.is_file():
        return open_source(str(whole), folder=whole.parent)
    return CsvSource(whole, suit_dialect(whole, usual, needed))


def is_parquet(path: Path) -> bool:
    """Return whether a file is read as Parquet: by its name."""
    return path.suffix.lower() in {".parquet", ".pq"}


def source_dialect(source: Source) -> Dialect:
    """Return how a source writes numbers as text: a CSV file in its dialect, any other as programs do."""
    return source.dialect if isinstance(source, CsvSource) else PLAIN


def read_result(result: CursorResult[Any], source: str) -> pl.DataFrame:
    """Return the rows that a statement gave."""
    if not result.returns_rows:
        raise unreadable(source, "the statement gives no rows", "a query such as SELECT ... FROM ...")
    names = list(result.keys())
    require_unique(names, source)
    rows = [tuple(row) for row in result]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None, strict=False)


def as_cells(frame: pl.DataFrame, kinds: Mapping[str, Kind], dialect: Dialect = PLAIN) -> dict[str, NDArray[Any]]:
    """Return columns as arrays of cells: float64 (NaN missing) where every cell is a number, else objects.

    Parameters
    ----------
    frame
        A table as a source read it.
    kinds
        The kind of each wanted column; wanted columns that the table lacks are left out.
    dialect
        How numbers are written where they are text.
    """
    return {
        name: number_cells(frame[name], dialect) if kind == "numeric" else text_cells(frame[name])
        for name, kind in kinds.items()
        if name in frame.columns
    }


def number_cells(column: pl.Series, dialect: Dialect = PLAIN) -> NDArray[Any]:
    """Return a column as float64, or, if some cell is no number, as objects with those cells as they stand."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy(writable=True)
    if column.dtype != pl.String:
        return texts(column.to_list())
    stripped = blank_is_missing(column)
    numbers = read_numbers(stripped, dialect)
    if numbers.null_count() == stripped.null_count():
        return numbers.to_numpy(writable=True)
    pairs = zip(numbers.to_list(), stripped.to_list(), strict=True)
    return texts([text if number is None else number for number, text in pairs])


def text_cells(column: pl.Series) -> NDArray[Any]:
    """Return a column as text, None for missing, or as booleans; SourceUnreadable for lists, records or bytes."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise unreadable(
            f"column {column.name!r}", f"it holds {column.dtype}", "numbers, text, moments or true and false"
        )
    if column.dtype == pl.Boolean:
        return texts(column.to_list())
    return texts(blank_is_missing(column.cast(pl.String)).to_list())


def blank_is_missing(column: pl.Series) -> pl.Series:
    """Return a text column without surrounding blanks; what is then empty is missing."""
    stripped = column.str.strip_chars()
    return stripped.set(stripped == "", None)
