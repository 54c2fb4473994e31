"""A table written in any dialect is read to the same cells, and the dialect is found again from the file alone."""

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from homeostat.data.columns import unstack_rows
from homeostat.data.csv_files import CsvSource
from homeostat.data.detection import detect_dialect, suit_dialect
from homeostat.data.dialects import PLAIN, THOUSANDS, read_numbers
from homeostat.data.sources import as_cells
from homeostat.errors import SourceUnreadable
from homeostat.records import Dialect

GERMAN = Dialect(";", ",", ".", "cp1252")
dialects = st.builds(
    Dialect,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from([None, *THOUSANDS]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"]),
).filter(lambda dialect: dialect.thousands != dialect.decimal)
numbers = st.none() | st.integers(-(10**9), 10**9).map(lambda cents: cents / 100)
words = st.none() | st.text(st.sampled_from("abcäöü ,;\t|\"'\n.1"), min_size=1, max_size=12).map(str.strip)


def spell(number: float | None, dialect: Dialect) -> str:
    """Return a number as a dialect writes it."""
    if number is None:
        return ""
    text = f"{number:_.2f}".replace(".", dialect.decimal)
    return text.replace("_", dialect.thousands or "")


def write_table(path: Path, rows: list[tuple[str, ...]], dialect: Dialect) -> None:
    """Write a table as a spreadsheet would."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=dialect.separator).writerows(rows)
    content = text.getvalue().replace("\u2019", "'") if dialect.encoding == "latin-1" else text.getvalue()
    path.write_bytes(content.encode(dialect.encoding, errors="replace"))


@settings(deadline=None)
@given(dialect=dialects, rows=st.lists(st.tuples(numbers, words), min_size=1, max_size=8))
def test_a_table_written_in_any_dialect_is_read_to_the_same_cells(
    dialect: Dialect, rows: list[tuple[float | None, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(dialect.thousands is None or (dialect.thousands or "").encode(dialect.encoding, errors="ignore"))
    path = tmp_path_factory.getbasetemp() / "written.csv"
    write_table(path, [("sum", "word"), *((spell(number, dialect), word or "") for number, word in rows)], dialect)

    cells = as_cells(CsvSource(path, dialect).read(), {"sum": "numeric", "word": "categorical"}, dialect)

    assert unstack_rows(cells) == [{"sum": number, "word": word or None} for number, word in rows]


@settings(deadline=None)
@given(dialect=dialects, rows=st.lists(st.tuples(numbers, words), max_size=8))
def test_the_dialect_is_found_from_a_file_that_shows_it(
    dialect: Dialect, rows: list[tuple[float | None, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(dialect.thousands not in {"\u2019", "\u00a0", "\u202f"} or dialect.encoding.startswith("utf"))
    path = tmp_path_factory.getbasetemp() / "found.csv"
    shown = [(spell(1234567.5, dialect), "é"), *((spell(number, dialect), word or "") for number, word in rows)]
    write_table(path, [("sum", "word"), *shown], dialect)

    found = detect_dialect(path).dialect

    encoding = {"utf-8-sig": "utf-8", "latin-1": "cp1252"}.get(dialect.encoding, dialect.encoding)
    assert found == Dialect(dialect.separator, dialect.decimal, dialect.thousands, encoding)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,5", 1.5),
        ("-0,25", -0.25),
        ("1.234,5", 1234.5),
        ("1234,5", 1234.5),
        ("1.234", 1234.0),
        ("12.345.678", 12345678.0),
        (",5", 0.5),
        ("1,5e3", 1500.0),
        ("1.5", None),
        ("1.23.456", None),
        ("1,234,567", None),
        ("1234.567", None),
        ("12 mg", None),
        ("-", None),
    ],
)
def test_a_number_of_another_dialect_is_no_number(text: str, number: float | None) -> None:
    assert read_numbers(pl.Series([text]), GERMAN).to_list() == [number]


# Cells of one column -> the mark before the decimals, the mark between the thousands.
SHOWN: list[tuple[list[str], str, str | None]] = [
    (["1.5", "2"], ".", None),
    (["1,5", "2"], ",", None),
    (["0,125", "12,345"], ",", None),
    (["1234,567"], ",", None),
    (["1.234,5", "7,25"], ",", "."),
    (["1,234.5", "7.25"], ".", ","),
    (["1,234,567", "12"], ".", ","),
    (["1.234.567", "12.000"], ",", "."),
    (["12.000", "1.234.567"], ",", "."),
    (["1'234.50"], ".", "'"),
    (["1 234,50"], ",", " "),
    (["1\u202f234,50"], ",", "\u202f"),
    (["1.234", "5.678"], ".", None),
    (["1,234", "5,678"], ".", None),
    (["31.12.2024", "1.1.2025"], ".", None),
    (["words, and more", "1,x"], ".", None),
]


@pytest.mark.parametrize(("cells", "decimal", "thousands"), SHOWN)
def test_a_mark_between_digits_counts_only_if_it_can_be_read_in_one_way(
    tmp_path: Path, cells: list[str], decimal: str, thousands: str | None
) -> None:
    path = tmp_path / "t.csv"
    write_table(path, [("a", "b"), *((cell, "x") for cell in cells)], Dialect(";"))
    found = detect_dialect(path).dialect

    assert (found.separator, found.decimal, found.thousands) == (";", decimal, thousands)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
def test_the_encoding_is_found_and_the_text_read_with_its_accents(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    write_table(path, [("größe", "ort"), *(("1", "Köln") for _ in range(20))], Dialect(encoding=encoding))
    found = detect_dialect(path).dialect

    assert found.encoding == encoding
    assert CsvSource(path, found).read().rows()[0] == ("1", "Köln")
    assert CsvSource(path, found).read().columns == ["größe", "ort"]


def test_an_accent_at_the_end_of_a_long_file_tells_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 400_000 + b"1,\xe9\n")

    assert detect_dialect(path).dialect.encoding == "cp1252"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_packed_file_is_read_as_the_file_in_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress("a;b\n1;2\n\n3;\n".encode(encoding)))
    found = detect_dialect(path).dialect

    assert found == Dialect(";", encoding=encoding)
    assert CsvSource(path, found).read().rows() == [("1", "2"), ("3", None)]


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 5000)[:60])

    with pytest.raises(SourceUnreadable):
        CsvSource(path).read()


@pytest.mark.parametrize(
    ("content", "read_as"),
    [
        ("age;city\n1,5;Ulm\n", GERMAN),  # of the project's own kind: never guessed at
        ("age,city\n1.5,Ulm\n", PLAIN),
        ("nothing,of,this\n1,2,3\n", GERMAN),  # the refusal names the columns
    ],
)
def test_a_file_named_by_hand_is_read_as_the_project_is_unless_its_columns_show_only_otherwise(
    tmp_path: Path, content: str, read_as: Dialect
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)

    assert suit_dialect(path, GERMAN, ["age", "city"]) == read_as


def test_a_file_that_is_no_text_in_the_usual_encoding_is_read_as_it_seems_to_be(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("age,city\n1,Ulm\n")

    assert suit_dialect(path, Dialect(encoding="utf-16"), ["age"]) == PLAIN
