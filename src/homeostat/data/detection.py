"""Guessing how a CSV file is written, each guess with its reason: from its bytes, its lines and its numbers.

Not here: reading it (`data.sources`). A guess that could be wrong by a factor of a thousand is not made: a mark between
digits counts only if some number in the file can be read in one way alone.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from homeostat.data.dialects import PLAIN, THOUSANDS, open_bytes, open_text
from homeostat.records import Dialect

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# As many characters at the beginning tell the separator and the numbers; the encoding is asked of every byte.
SAMPLE_CHARACTERS = 1 << 19
CHUNK_BYTES = 1 << 20
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
COMMA = replace(PLAIN, decimal=",")
NUMBER = re.compile(r"[+-]?[\d.,'\u2019\u00a0\u202f ]*\d[\d.,'\u2019\u00a0\u202f ]*")


@dataclass(frozen=True, slots=True)
class Detected:
    """A guessed dialect, and for each setting that is not the default the reason."""

    dialect: Dialect
    reasons: dict[str, str]


def detect_dialect(path: Path) -> Detected:
    """Return how a file seems to be written; OSError, EOFError or UnicodeError if its text cannot be read."""
    encoding, why = detect_encoding(path)
    rows_by = split_sample(path, encoding)
    separator = choose_separator(rows_by)
    cells = [cell.strip() for row in rows_by[separator][1:] for cell in row]
    decimal, thousands, seen = detect_numbers(cells)
    reasons = {"encoding": why} if encoding != PLAIN.encoding else {}
    if separator != PLAIN.separator:
        reasons["separator"] = f"{NAMES[separator]} stand between the names of the header"
    if decimal != PLAIN.decimal:
        reasons["decimal"] = f"numbers such as {seen}"
    if thousands is not None:
        reasons["thousands"] = f"numbers such as {seen}"
    return Detected(Dialect(separator, decimal, thousands, encoding), reasons)


def suit_dialect(path: Path, usual: Dialect, needed: Sequence[str]) -> Dialect:
    """Return the dialect to read a file in: the usual one, unless the needed columns show only in the guessed one."""
    if shows(path, usual, needed):
        return usual
    try:
        found = detect_dialect(path).dialect
    except (OSError, EOFError, UnicodeError):
        return usual  # reading it will say what is wrong
    return found if shows(path, found, needed) else usual


def shows(path: Path, dialect: Dialect, needed: Sequence[str]) -> bool:
    """Return whether the first line of a file, read in a dialect, names the needed columns."""
    try:
        with open_text(path, dialect.encoding) as file:
            return set(needed) <= set(next(csv.reader(file, delimiter=dialect.separator), []))
    except (OSError, EOFError, UnicodeError, csv.Error):
        return False


def detect_encoding(path: Path) -> tuple[str, str]:
    """Return the encoding of a file and the reason: its byte order mark, UTF-8 if it is that, else a Western one."""
    with open_bytes(path) as file:
        start = file.read(4096)
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return encoding, "the file begins with its byte order mark"
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        # Half the bytes of Western text in UTF-16 are zero; text in any other encoding holds none.
        if len(start) > 1 and start[first::2].count(0) * 2 > len(start[first::2]):
            return encoding, "every other byte is zero, as in UTF-16"
    if decodes(path, "utf-8"):
        return "utf-8", ""
    if decodes(path, "cp1252"):
        return "cp1252", "the file is not UTF-8; this is the usual other encoding: look at a word with an accent"
    return "latin-1", "the file is neither UTF-8 nor cp1252: look at a word with an accent"


def decodes(path: Path, encoding: str) -> bool:
    """Return whether every byte of a file is text in an encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(path) as file:
        try:
            while chunk := file.read(CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def split_sample(path: Path, encoding: str) -> dict[str, list[list[str]]]:
    """Return the beginning of a file split by each separator; the last row, which may be cut, is left out."""
    with open_text(path, encoding) as file:
        text = file.read(SAMPLE_CHARACTERS)
        is_whole = not file.read(1)
    found = {separator: list(read_rows(text, separator)) for separator in SEPARATORS}
    return found if is_whole else {separator: rows[:-1] or rows for separator, rows in found.items()}


def read_rows(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows of a text that are not blank, up to one that cannot be read."""
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            if row:
                yield row
    except csv.Error:
        return


def choose_separator(rows_by: dict[str, list[list[str]]]) -> str:
    """Return the separator that the header has and that gives the most rows as many cells; the widest of these."""

    def fit(separator: str) -> tuple[float, int]:
        rows = rows_by[separator]
        width = len(rows[0]) if rows else 1
        return (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, 0)

    return max(SEPARATORS, key=fit)


def detect_numbers(cells: Sequence[str]) -> tuple[str, str | None, str]:
    """Return the mark before the decimals, the one between the thousands, and a number that shows it.

    Only numbers that can be read in one way count: 1,5 and 0,125 have a decimal comma, 1,234.5 and 1,234,567 have
    thousands; 1,234 may be either, and is read as the others of the file are.
    """
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell)]
    commas, points = ([number for number in numbers if is_decimal(number, mark)] for mark in ",.")
    grouped = find_grouped(numbers, COMMA)
    # 1.234.567, and no point that stands before decimals: a comma would stand there. Wherever in the file it comes.
    twice = next((n for n in numbers if n.count(".") > 1 and is_grouped(n.lstrip("+-"), ".")), None)
    if twice is not None and not commas and not points:
        return ",", ".", twice
    if len(commas) > len(points):
        return ",", grouped[0] if grouped else None, grouped[1] if grouped else commas[0]
    grouped = None if commas else find_grouped(numbers, PLAIN)
    return ".", grouped[0] if grouped else None, grouped[1] if grouped else ""


def is_decimal(number: str, mark: str) -> bool:
    """Return whether the mark in a number can only stand before decimals."""
    whole, found, decimals = number.lstrip("+-").rpartition(mark)
    if not found or mark in whole or not decimals.isdecimal():
        return False
    if not whole.isdecimal():  # 1.234,5 and 1 234,5; ",5" too
        return not whole or any(is_grouped(whole, other) for other in THOUSANDS if other != mark)
    return len(decimals) != 3 or whole == "0" or len(whole) > 3  # noqa: PLR2004  thousands come in threes


def find_grouped(numbers: Sequence[str], dialect: Dialect) -> tuple[str, str] | None:
    """Return the mark between the thousands and a number that has it; None if no number proves one."""
    for mark, number in itertools.product(THOUSANDS, numbers):
        if mark == dialect.decimal:
            continue
        whole, _, _ = number.lstrip("+-").partition(dialect.decimal)
        # One group alone proves a blank or a quotation mark, or a point where decimals have a comma; else two must.
        proves = mark not in ",." or dialect.decimal == "," or whole != number.lstrip("+-") or whole.count(mark) > 1
        if proves and is_grouped(whole, mark):
            return mark, number
    return None


def is_grouped(whole: str, mark: str) -> bool:
    """Return whether the digits of a whole number stand in groups of three."""
    return re.fullmatch(rf"\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+", whole) is not None
