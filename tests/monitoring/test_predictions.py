"""The durable log: what is acknowledged is on disk, and a disk that fails ends the log."""

import asyncio
import resource
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from homeostat.errors import LogBusy, LogFailed
from homeostat.monitoring.predictions import (
    MAX_PENDING_ROWS,
    PredictionLog,
    Rejection,
    Values,
    count_log,
    label_from_text,
    label_to_text,
    new_prediction_id,
    prediction_values,
    rejection_values,
)
from homeostat.records import Prediction, Row
from homeostat.store.database import Database
from homeostat.store.tables import EPOCH, predictions, rejections

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  timezones= sets it


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def millisecond(now: datetime) -> int:
    return (now - EPOCH) // timedelta(milliseconds=1)


def predict(row: Row | None = None) -> Prediction:
    return Prediction(new_prediction_id(NOW), NOW, "a" * 64, row or {"Age": 50.0, "Insulin": None}, 0.25, 0)


def predicted(row: Row | None = None) -> Values:
    return prediction_values(predict(row))


def use_log(database: Database, use: Callable[[PredictionLog], Awaitable[None]]) -> list[float]:
    commits: list[float] = []

    async def opened() -> None:
        async with PredictionLog(database, on_commit=commits.append) as log:
            await use(log)

    asyncio.run(opened())
    return commits


@contextmanager
def failing_disk() -> Iterator[None]:
    """Let every write of this process beyond the first byte of a file fail with an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stored_ids(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(predictions.c.id).order_by(predictions.c.seq)))


def test_a_row_is_in_the_file_when_append_returns(database: Database) -> None:
    prediction = predict({"Age": 50.0, "Glucose": 0.0, "Insulin": None, "City": "Köln"})

    async def use(log: PredictionLog) -> None:
        await log.append([prediction_values(prediction)])
        with Database(str(database.engine.url)) as other, other.read() as connection:
            line = connection.execute(select(predictions)).one()
        kept = Prediction(line.id, line.received_at, line.release, msgspec.json.decode(line.row), line.probability, 0)
        assert (kept, label_from_text(line.label)) == (prediction, 0)

    use_log(database, use)


def test_concurrent_requests_share_commits_and_lose_nothing(database: Database) -> None:
    sent = [predicted() for _ in range(300)]

    async def use(log: PredictionLog) -> None:
        await asyncio.gather(*(log.append([p]) for p in sent))

    commits = use_log(database, use)

    assert stored_ids(database) == [p["id"] for p in sent]
    assert len(commits) < 30


def test_a_rejected_row_is_kept_as_it_was_sent_with_its_violations(database: Database) -> None:
    violation = {"column": "Age", "value": 250, "rule": "range", "expected": "0 to 120 years"}

    use_log(database, lambda log: log.append([], [rejection_values(Rejection(NOW, b'{"Age":250}', [violation]))]))

    with database.read() as connection:
        line = connection.execute(select(rejections)).one()
    assert line.row == b'{"Age":250}'
    assert line.violations == b'[{"column":"Age","value":250,"rule":"range","expected":"0 to 120 years"}]'


def test_closing_writes_what_still_waits(database: Database) -> None:
    sent = predicted()

    async def use(log: PredictionLog) -> None:
        waiting = asyncio.ensure_future(log.append([sent]))
        await asyncio.sleep(0)
        await log.close()
        await waiting

    use_log(database, use)

    assert stored_ids(database) == [sent["id"]]


def test_a_sender_that_gives_up_disturbs_nobody(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        waiting = [asyncio.ensure_future(log.append([predicted()])) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[3].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(one) for one in done].count(asyncio.CancelledError) == 1
        assert log.pending_rows == 0

    use_log(database, use)


def test_an_io_error_fails_every_sender_that_waits(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with failing_disk():
            done = await asyncio.gather(*(log.append([predicted()]) for _ in range(20)), return_exceptions=True)

        assert {type(one) for one in done} == {LogFailed}
        assert log.failed.is_set()

    use_log(database, use)


def test_after_an_io_error_the_log_never_writes_again(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with failing_disk(), pytest.raises(LogFailed):
            await log.append([predicted()])
        with pytest.raises(LogFailed, match="starting it again"):
            await log.append([predicted()])

    commits = use_log(database, use)

    assert commits == []


def test_a_full_disk_is_refused_and_the_log_goes_on(database: Database) -> None:
    def limit_pages(pages: int) -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    async def use(log: PredictionLog) -> None:
        limit_pages(1)  # SQLite takes the size that the file has already
        with pytest.raises(LogBusy, match="full"):
            await log.append([predicted({"City": "x" * 100_000})])
        limit_pages(1_000_000)
        await log.append([predicted()])

    use_log(database, use)

    assert len(stored_ids(database)) == 1


def test_more_rows_than_may_wait_are_turned_away(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with pytest.raises(LogBusy):
            await log.append([predicted()] * (MAX_PENDING_ROWS + 1))

    use_log(database, use)

    assert stored_ids(database) == []


def test_a_closed_log_takes_no_row(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        await log.close()
        with pytest.raises(LogBusy):
            await log.append([predicted()])

    use_log(database, use)


def test_the_counts_are_those_of_what_was_appended(database: Database) -> None:
    use_log(database, lambda log: log.append([predicted(), predicted()], [rejection_values(Rejection(NOW, b"{}", []))]))

    with database.read() as connection:
        counts = count_log(connection)

    assert (counts.predictions, counts.rejections, counts.labels, counts.latest_at) == (2, 1, 0, NOW)


@given(moments)
def test_an_id_is_a_uuid_of_version_7_that_carries_its_millisecond(now: datetime) -> None:
    found = uuid.UUID(new_prediction_id(now))

    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == millisecond(now)


@given(st.lists(moments, min_size=2))
def test_ids_sort_by_their_millisecond(several: list[datetime]) -> None:
    ids = {new_prediction_id(now): millisecond(now) for now in several}

    ordered = [ids[one] for one in sorted(ids)]

    assert ordered == sorted(ordered)


def test_ten_thousand_ids_of_one_millisecond_differ() -> None:
    assert len({new_prediction_id(NOW) for _ in range(10_000)}) == 10_000


@given(st.integers(-(2**63), 2**63 - 1) | st.text())
def test_a_label_keeps_its_type_in_the_database(label: int | str) -> None:
    assert label_from_text(label_to_text(label)) == label
