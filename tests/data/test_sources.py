"""Sources hand over what stands there, and refuse what is no table with the reason."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
from sqlalchemy import insert

from homeostat.data.csv_files import CsvSource
from homeostat.data.sources import (
    ParquetSource,
    Source,
    SqlSource,
    open_source,
)
from homeostat.errors import HomeostatError, SourceUnreadable
from homeostat.monitoring.labels import LabelItem, record_labels
from homeostat.monitoring.production import LabelledProduction
from homeostat.records import Feature, Schema, Target
from homeostat.store.database import Database
from homeostat.store.tables import predictions
from tests.conformance.source import TABLE, SourceConformance

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = Target("outcome", 0, 1)
SCHEMA = Schema((Feature("age", "numeric"), Feature("city", "categorical")), TARGET, digest="d")

WriteCsv = Callable[[str | bytes], CsvSource]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Write a file and return the source that reads it."""

    def write(content: str | bytes) -> CsvSource:
        path = tmp_path / "table [1]*.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return CsvSource(path)

    return write


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Return a SQLite file with the suite's table and an empty one."""
    path = tmp_path / "clinic.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE patients (age REAL, city TEXT, outcome INTEGER)")
    connection.execute("CREATE TABLE nobody (age REAL, city TEXT, outcome INTEGER)")
    connection.executemany("INSERT INTO patients VALUES (?, ?, ?)", list(zip(*TABLE.values(), strict=True)))
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


class TestCsv(SourceConformance):
    @pytest.fixture
    def source(self, write_csv: WriteCsv) -> Source:
        return write_csv('age,city,outcome\n50,"Köln, Süd",1\n,,0\n 31.5 ,"the ""old"" town",1\n')

    @pytest.fixture
    def empty_source(self, write_csv: WriteCsv) -> Source:
        return write_csv("age,city,outcome\n")


class TestParquet(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        pl.DataFrame(TABLE).write_parquet(tmp_path / "table [1]*.parquet")
        return ParquetSource(tmp_path / "table [1]*.parquet")

    @pytest.fixture
    def empty_source(self, tmp_path: Path) -> Source:
        pl.DataFrame(TABLE).clear().write_parquet(tmp_path / "table.parquet")
        return ParquetSource(tmp_path / "table.parquet")


class TestSql(SourceConformance):
    @pytest.fixture
    def source(self, clinic: Path) -> Source:
        return SqlSource(f"sqlite:///{clinic}", "SELECT * FROM patients")

    @pytest.fixture
    def empty_source(self, clinic: Path) -> Source:
        return SqlSource(f"sqlite:///{clinic}", "SELECT * FROM nobody")


class TestProduction(SourceConformance):
    @pytest.fixture
    def source(self, database: Database) -> Source:
        rows = [{"age": age, "city": city} for age, city in zip(TABLE["age"], TABLE["city"], strict=True)]
        stored = {"received_at": NOW, "release": "r", "probability": 0.5, "label": "0"}
        with database.write() as connection:
            for number, row in enumerate(rows):
                place = {"id": f"p{number}", "observed_seq": number + 1, "epoch": 1}
                connection.execute(insert(predictions).values(row=msgspec.json.encode(row), **place, **stored))
        items = [LabelItem(f"p{number}", int(str(label))) for number, label in enumerate(TABLE["outcome"])]
        record_labels(database, items, target=TARGET, source="test", now=NOW)
        return LabelledProduction(database, SCHEMA)

    @pytest.fixture
    def empty_source(self, database: Database) -> Source:
        return LabelledProduction(database, SCHEMA)


# --- CSV ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["\ufeffa,b\n1,2\n", "a,b\r\n1,2\r\n", "a,b\n1,2", "a,b\n\n1,2\n\n\n", '"a","b"\n"1","2"\n']
)
def test_byte_order_marks_line_endings_blank_lines_and_quotes_are_no_content(write_csv: WriteCsv, content: str) -> None:
    table = write_csv(content).read()

    assert (table.columns, table.rows()) == (["a", "b"], [("1", "2")])


def test_a_name_is_whatever_stands_between_the_commas_of_the_header(write_csv: WriteCsv) -> None:
    names = write_csv('"a ""b"", c", d ,"e\nf","",[g]\n1,2,3,4,5\n').read().columns

    assert names == ['a "b", c', " d ", "e\nf", "", "[g]"]


def test_a_line_without_any_value_is_a_row_and_a_blank_line_is_none(write_csv: WriteCsv) -> None:
    assert write_csv("a,b\n,\n\n1,\n").read().rows() == [(None, None), ("1", None)]


def test_in_a_file_of_one_column_a_blank_line_is_a_missing_value(write_csv: WriteCsv) -> None:
    assert write_csv("a\n1\n\n3\n").read().rows() == [("1",), (None,), ("3",)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file is empty"),
        ("\na,b\n1,2\n", "the first line is blank"),
        ("a,b\n", "there is a header but no row"),
        ("a,b\n\n\n", "there is a header but no row"),
        ("a,b,a\n1,2,3\n", "column 'a' stands twice in the header"),
        ("a,b\n1,2\n\n3\n", "row 2 has 1 of 2 cells"),
        ("a,b\n1,2\n3,4,5\n", "row 2 has 3 of 2 cells"),
        ("a,b\n1,2\n3,é\n".encode("latin-1"), "utf-8"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"1,\xe9\n", "utf-8"),
        ("a,b\n1,\n2," + "x" * 200_000 + "\n", "row 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_the_reason(
    write_csv: WriteCsv, content: str | bytes, problem: str
) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        write_csv(content).read()

    assert refused.value.problem.startswith("table [1]*.csv: ")
    assert problem in refused.value.problem


@pytest.mark.parametrize("path", ["/no/such/table.csv", "/tmp", "/proc/self/mem"])  # noqa: S108  any folder will do
@pytest.mark.parametrize("source", [CsvSource, ParquetSource])
def test_what_is_no_readable_file_is_refused(source: type[CsvSource | ParquetSource], path: str) -> None:
    with pytest.raises(SourceUnreadable):
        source(Path(path)).read()


def test_the_lineage_of_a_file_names_its_bytes(write_csv: WriteCsv) -> None:
    before = write_csv("a,b\n1,2\n").describe()

    assert write_csv("a,b\n1,2\n").describe() == before
    assert write_csv("a,b\n1,3\n").describe()["sha256"] != before["sha256"]


# --- Parquet and SQL ----------------------------------------------------------------------------------------------


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 and nothing more")

    with pytest.raises(SourceUnreadable, match=r"table\.parquet"):
        ParquetSource(tmp_path / "table.parquet").read()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT * FROM strangers", "no such table: strangers"),
        ("SELECT age, city AS age FROM patients", "column 'age' stands twice"),
        ("SELEC", "syntax error"),
        ("CREATE TABLE more (a)", "the statement gives no rows"),
    ],
)
def test_a_query_that_gives_no_table_is_refused_with_the_reason(clinic: Path, query: str, problem: str) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        SqlSource(f"sqlite:///{clinic}", query).read()

    assert problem in refused.value.problem


@pytest.mark.parametrize("url", ["sqlite:////no/such.db", "nonsense", "nonsense://host/db", "mssql://host/db"])
def test_a_database_that_cannot_be_opened_is_refused(url: str) -> None:
    with pytest.raises(SourceUnreadable):
        SqlSource(url, "SELECT 1").read()


def test_a_missing_database_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        SqlSource(f"sqlite:///{tmp_path / 'typo.db'}", "SELECT 1").read()

    assert list(tmp_path.iterdir()) == []


def test_a_password_is_in_no_name_no_lineage_and_no_message() -> None:
    source = SqlSource("mssql://user:s3cret@host/clinic", "SELECT 1")
    with pytest.raises(SourceUnreadable) as refused:
        source.read()

    assert "s3cret" not in f"{source.name} {source.describe()} {refused.value}"


def test_numbers_and_text_in_one_column_of_a_query_are_text(clinic: Path) -> None:
    table = SqlSource(f"sqlite:///{clinic}", "SELECT 1 AS a UNION ALL SELECT 'x'").read()

    assert sorted(table["a"].to_list()) == ["1", "x"]


# --- opening ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "source"),
    [
        ("a.csv", CsvSource(Path("/project/a.csv"))),
        ("/data/a.txt", CsvSource(Path("/data/a.txt"))),
        ("a.parquet", ParquetSource(Path("/project/a.parquet"))),
        ("a.pq", ParquetSource(Path("/project/a.pq"))),
        ("sqlite:///a.db", SqlSource("sqlite:////project/a.db", "SELECT 1")),
        ("sqlite:////data/a.db", SqlSource("sqlite:////data/a.db", "SELECT 1")),
        ("postgresql://host/a", SqlSource("postgresql://host/a", "SELECT 1")),
    ],
)
def test_a_location_opens_the_source_it_names_beginning_at_the_project_folder(location: str, source: Source) -> None:
    assert open_source(location, folder=Path("/project"), query="SELECT 1") == source


def test_a_database_without_a_query_is_refused_without_telling_its_address() -> None:
    with pytest.raises(SourceUnreadable) as refused:
        open_source("postgresql://user:s3cret@host/clinic", folder=Path("/project"))

    assert "query" in refused.value.expected
    assert "s3cret" not in str(refused.value)


def test_every_refusal_of_a_source_has_three_parts(write_csv: WriteCsv) -> None:
    with pytest.raises(HomeostatError) as refused:
        write_csv("a,a\n1,2\n").read()

    error = refused.value
    assert error.problem == "table [1]*.csv: column 'a' stands twice in the header"
    assert (error.expected, error.action) == ("each column name once", "check the file or the query")
