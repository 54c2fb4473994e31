"""The traffic of the last hour, counted without walking through the log, against counting every row."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event

from homeostat.monitoring.latencies import N_BUCKETS
from homeostat.monitoring.worker_reports import WorkerReport, name_worker
from homeostat.store.database import Database, insert_lines
from homeostat.store.tables import EPOCH, predictions, rejections
from homeostat.web.traffic import BAR, N_BARS, TrafficReader, count_reasons, find_begin, sum_latency

NOW = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
HOUR = BAR * N_BARS
one_database = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}", durability="relaxed") as opened:
        yield opened


def fill(database: Database, ages_s: list[int]) -> None:
    """Put rows of these ages into an empty log, the oldest first."""
    moments = [(NOW - EPOCH) // timedelta(microseconds=1) - age * 1_000_000 for age in sorted(ages_s, reverse=True)]
    columns = ("id", "received_at", "release", "row", "probability", "label")
    with database.write() as connection:
        connection.execute(delete(predictions))
        connection.execute(delete(rejections))
        insert_lines(
            connection, predictions, columns, [(f"{n}", at, "a", b"{}", 0.5, "1") for n, at in enumerate(moments)]
        )
        insert_lines(connection, rejections, ("received_at", "row", "violations"), [(at, b"", b"[]") for at in moments])


@one_database
@given(ages_s=st.lists(st.integers(0, 2 * 3600), max_size=300))
def test_every_bar_holds_as_many_rows_as_came_in_its_time(database: Database, ages_s: list[int]) -> None:
    fill(database, ages_s)
    bar = EPOCH + BAR * ((NOW - EPOCH) // BAR)
    begins = [(NOW - (bar - BAR * back)).total_seconds() for back in range(N_BARS - 1, -1, -1)]

    with database.read() as connection:
        traffic = TrafficReader().read(connection, now=NOW)

    ends = [*begins[1:], -1]
    assert list(traffic.bars) == [
        sum(end < age <= begin for age in ages_s) for begin, end in zip(begins, ends, strict=True)
    ]
    assert traffic.n_rejected == traffic.n_rows


def test_a_reader_that_goes_on_counts_what_has_come_since(database: Database) -> None:
    fill(database, [3000, 500, 500, 2])
    reader = TrafficReader()
    with database.read() as connection:
        assert reader.read(connection, now=NOW).n_rows == 4
    with database.write() as connection:
        at = (NOW - EPOCH) // timedelta(microseconds=1)
        insert_lines(
            connection,
            predictions,
            ("id", "received_at", "release", "row", "probability", "label"),
            [("new", at, "a", b"{}", 0.5, "1")],
        )

    with database.read() as connection:
        again = reader.read(connection, now=NOW + timedelta(seconds=1))

    assert (again.n_rows, again.bars[-1]) == (5, 2)


def test_a_long_log_is_not_walked_through(database: Database) -> None:
    fill(database, [3 * n for n in range(60_000)])
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *told: statements.append(str(told[2])))

    with database.read() as connection:
        begin = find_begin(connection, predictions, NOW - timedelta(hours=1), after=0, last=60_000)

    assert begin == 60_000 - 1_200
    assert len(statements) < 25


def test_a_row_counts_once_for_each_of_its_reasons() -> None:
    age, both = b'{"column": "Age", "rule": "range"}', b'{"column": "BMI", "rule": "range"}'

    reasons = count_reasons([b"[" + age + b"," + both + b"]", b"[" + age + b"," + age + b"]"])

    assert [(one.column, one.n_rows, one.share) for one in reasons] == [("Age", 2, 1.0), ("BMI", 1, 0.5)]


def test_the_latency_is_that_of_every_process_together() -> None:
    def said(worker: str, slow: int, *, epoch: int = 3) -> WorkerReport:
        latency = [0] * N_BUCKETS
        latency[0], latency[-2] = 98, slow
        return WorkerReport(worker, epoch, NOW, NOW, None, 98 + slow, 1, latency)

    latency = sum_latency([said(name_worker(), 2), said("elsewhere:1:1", 4), said("x:1:1", 90, epoch=2)], epoch=3)

    assert latency is not None
    assert (latency.n_workers, latency.answered, latency.failed) == (2, 202, 2)
    assert latency.p50_s == 1e-4
    assert latency.p99_s > 1
    assert sum_latency([], epoch=1) is None
