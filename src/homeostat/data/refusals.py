"""What every source requires of a table, and the three-part refusal of what is none.

Not here: reading a table (`data.sources`, `data.csv_files`).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from homeostat.errors import SourceUnreadable


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
