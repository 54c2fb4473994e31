"""CSV files as sources: read in their dialect, each cell as the text that stands there.

Not here: guessing the dialect (`data.detection`), or what the text means (`data.sources.as_cells`).
"""

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from homeostat.data.dialects import PLAIN, open_text
from homeostat.data.refusals import file_digest, require_file, require_rows, require_unique, unreadable
from homeostat.errors import SourceUnreadable
from homeostat.records import Dialect, Json


@dataclass(frozen=True, slots=True)
class CsvSource:
    """A CSV file with a header line, packed by gzip or not. Every column is text: the schema says what is a number."""

    path: Path
    dialect: Dialect = PLAIN

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name

    def read(self) -> pl.DataFrame:
        """Return every row, all columns as text."""
        header = read_header(self.path, self.dialect)
        require_unique(header, self.name)
        separator = self.dialect.separator
        try:
            content = self.path if self.dialect.encoding == PLAIN.encoding else transcode(self.path, self.dialect)
            # The header is read by `csv`: polars leaves doubled quotes in names, and takes [a] in a path for a pattern.
            frame = pl.read_csv(content, infer_schema=False, glob=False, new_columns=header, separator=separator)
        except (PolarsError, OSError, UnicodeError) as error:
            find_lines(self.path, self.dialect, width=len(header))
            raise unreadable_text(self.path, self.dialect, str(error).splitlines()[0]) from error
        # A line that is blank or ends early is read as if its last cells were empty.
        if frame[:, -1].null_count():
            frame = frame.filter(pl.Series(find_lines(self.path, self.dialect, width=len(header))))
        return require_rows(frame, self.name)

    def describe(self) -> Json:
        """Return the file's line of lineage."""
        return {"kind": "csv", "name": self.name, "sha256": file_digest(self.path)}


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """Return the column names of a CSV file."""
    require_file(path)
    try:
        with open_text(path, dialect.encoding) as file:
            header = next(csv.reader(file, delimiter=dialect.separator), None)
    except (UnicodeError, csv.Error, OSError, EOFError) as error:
        raise unreadable_text(path, dialect, str(error)) from error
    if not header:
        problem = "the file is empty" if header is None else "the first line is blank"
        raise unreadable(path.name, problem, "a header line and rows")
    return header


def find_lines(path: Path, dialect: Dialect, *, width: int) -> list[bool]:
    """Return for each line below the header whether it is a row; SourceUnreadable if one has not `width` cells.

    A blank line is no row, except in a file of one column, where it is a missing value.
    """
    found: list[bool] = []
    with open_text(path, dialect.encoding, errors="replace") as file:
        try:
            for cells in itertools.islice(csv.reader(file, delimiter=dialect.separator), 1, None):
                if cells and len(cells) != width:
                    problem = f"row {sum(found) + 1} has {len(cells)} of {width} cells"
                    raise unreadable(path.name, problem, "as many cells in each row as in the header")
                found.append(bool(cells) or width == 1)
        except (csv.Error, OSError, EOFError) as error:
            raise unreadable(path.name, f"row {sum(found) + 1}: {error}", "plain cells") from error
    return found


def write_table(frame: pl.DataFrame, path: Path, dialect: Dialect) -> None:
    """Write a table as a CSV file in a dialect: no thousands marks, a question mark for a letter it does not have."""
    is_comma = dialect.decimal == ","
    content = frame.write_csv(separator=dialect.separator, decimal_comma=is_comma)
    path.write_bytes(content.encode(dialect.encoding, errors="replace"))


def transcode(path: Path, dialect: Dialect) -> io.BytesIO:
    """Return the text of a file in UTF-8."""
    with open_text(path, dialect.encoding) as file:
        return io.BytesIO(file.read().encode())


def unreadable_text(path: Path, dialect: Dialect, problem: str) -> SourceUnreadable:
    """Return the three-part error for a file that is not the text that the settings say."""
    name = "UTF-8" if dialect.encoding == PLAIN.encoding else dialect.encoding
    return SourceUnreadable(
        problem=f"{path.name}: {problem}",
        expected=f"a CSV file in {name} with a header line",
        action="set project.encoding to what the file is written in (`homeostat init` guesses it), or mend the file",
    )
