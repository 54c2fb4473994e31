"""How a CSV file is written: its separator, its encoding and its numbers; opening its text, and reading its numbers.

Not here: guessing the dialect of a file (`data.detection`), or the table in it (`data.sources`).
"""

import gzip
import io
import re
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import polars as pl

from homeostat.records import Dialect

GZIP_MAGIC = b"\x1f\x8b"
# What stands between the thousands: a comma, a point, a quotation mark, a blank (also those that do not break lines).
THOUSANDS = (",", ".", "'", "\u2019", " ", "\u00a0", "\u202f")


PLAIN = Dialect()


def open_bytes(path: Path) -> BinaryIO:
    """Return the bytes of a file, unpacked if it is a gzip file whatever its name."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def open_text(path: Path, encoding: str, *, errors: str = "strict") -> TextIO:
    """Return the text of a file with its own line ends; a byte order mark is no part of it."""
    known = "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding
    return io.TextIOWrapper(open_bytes(path), encoding=known, errors=errors, newline="")


def pattern_of_numbers(dialect: Dialect) -> str:
    """Return the regular expression of a number: thousands marks may be left out, but stand nowhere else."""
    decimal = re.escape(dialect.decimal)
    whole = r"\d+"
    if dialect.thousands is not None:
        whole = rf"(?:\d{{1,3}}(?:{re.escape(dialect.thousands)}\d{{3}})+|\d+)"
    return rf"^(?:[+-]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?|(?i:[+-]?(?:nan|inf|infinity)))$"


def read_numbers(column: pl.Series, dialect: Dialect) -> pl.Series:
    """Return a column of text as float64, null for what is no number as the dialect writes them.

    A number of another dialect is none: 1.5 where a comma stands before the decimals may be a slip, or 15.
    """
    if dialect.has_plain_numbers:
        return column.cast(pl.Float64, strict=False)
    cell = pl.col("cell")
    plain = cell if dialect.thousands is None else cell.str.replace_all(dialect.thousands, "", literal=True)
    plain = plain.str.replace(dialect.decimal, ".", literal=True)
    fits = cell.str.contains(pattern_of_numbers(dialect))
    frame = pl.DataFrame({"cell": column})
    return frame.select(pl.when(fits).then(plain).cast(pl.Float64, strict=False)).to_series()
