"""The durable log: what is acknowledged is on disk, and a disk that fails ends the log."""

import asyncio
import resource
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from homeostat.errors import DeadlineExceeded, HomeostatError, IdempotencyReused, LogBusy, LogFailed
from homeostat.monitoring.entries import (
    Entries,
    Line,
    label_from_text,
    label_to_text,
    new_prediction_ids,
    to_microseconds,
)
from homeostat.monitoring.idempotency import Answered, Claim
from homeostat.monitoring.predictions import MAX_PENDING_ROWS, PredictionLog, count_log
from homeostat.records import Row
from homeostat.store.database import Database
from homeostat.store.tables import EPOCH, predictions, rejections
from tests.production_log import line

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  timezones= sets it


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def millisecond(now: datetime) -> int:
    return (now - EPOCH) // timedelta(milliseconds=1)


def predicted(row: Row | None = None) -> Line:
    return line(row or {"Age": 50.0, "Insulin": None})


def one(row: Row | None = None) -> Entries:
    return Entries([predicted(row)])


def claimed(key: str, *, body: str = "b" * 64, made_at: datetime = NOW, answer: bytes = b"first") -> Entries:
    claim = Claim("somebody", key, body, made_at - timedelta(hours=1), made_at)
    return Entries([predicted()], claimed=(claim, Answered(200, {"content-type": "text/plain"}, answer)))


def use_log(database: Database, use: Callable[[PredictionLog], Awaitable[None]]) -> list[float]:
    commits: list[float] = []

    async def opened() -> None:
        async with PredictionLog(database, on_commit=commits.append, deadline_s=60) as log:
            await use(log)

    asyncio.run(opened())
    return commits


def limit_pages(database: Database, pages: int) -> None:
    """Bound the file; SQLite takes the size that it has already for the least."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


@contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """Let the file grow by no page."""
    limit_pages(database, 1)
    yield
    limit_pages(database, 1_000_000)


@contextmanager
def failing_disk(_: Database) -> Iterator[None]:
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
    row = {"Age": 50.0, "Glucose": 0.0, "Insulin": None, "City": "Köln"}
    sent = predicted(row)

    async def use(log: PredictionLog) -> None:
        await log.append(Entries([sent]))
        with Database(str(database.engine.url)) as other, other.read() as connection:
            kept = connection.execute(select(predictions)).one()
        assert (kept.id, kept.received_at, kept.release, kept.probability) == (sent[0], NOW, sent[2], sent[4])
        assert (msgspec.json.decode(kept.row), label_from_text(kept.label)) == (row, 0)

    use_log(database, use)


def test_concurrent_requests_share_commits_and_lose_nothing(database: Database) -> None:
    sent = [predicted() for _ in range(300)]

    async def use(log: PredictionLog) -> None:
        await asyncio.gather(*(log.append(Entries([p])) for p in sent))

    commits = use_log(database, use)

    assert stored_ids(database) == [p[0] for p in sent]
    assert len(commits) < 30


def test_a_rejected_row_is_kept_as_it_was_sent_with_its_violations(database: Database) -> None:
    violations = b'[{"column":"Age","value":250,"rule":"range","expected":"0 to 120 years"}]'

    async def use(log: PredictionLog) -> None:
        await log.append(Entries([], [(0, b'{"Age":250}', violations)]))

    use_log(database, use)

    with database.read() as connection:
        line = connection.execute(select(rejections)).one()
    assert (line.received_at, line.row, line.violations) == (EPOCH, b'{"Age":250}', violations)


def test_closing_writes_what_still_waits(database: Database) -> None:
    sent = predicted()

    async def use(log: PredictionLog) -> None:
        waiting = asyncio.ensure_future(log.append(Entries([sent])))
        await asyncio.sleep(0)
        await log.close()
        await waiting

    use_log(database, use)

    assert stored_ids(database) == [sent[0]]


def test_a_sender_that_gives_up_disturbs_nobody(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        waiting = [asyncio.ensure_future(log.append(one())) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[3].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(outcome) for outcome in done].count(asyncio.CancelledError) == 1
        assert log.pending_rows == 0

    use_log(database, use)


def test_an_io_error_fails_every_sender_that_waits(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with failing_disk(database):
            done = await asyncio.gather(*(log.append(one()) for _ in range(20)), return_exceptions=True)

        assert {type(outcome) for outcome in done} == {LogFailed}
        assert log.failed.is_set()

    use_log(database, use)


def test_after_an_io_error_the_log_never_writes_again(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with failing_disk(database), pytest.raises(LogFailed):
            await log.append(one())
        with pytest.raises(LogFailed, match="starting it again"):
            await log.append(one())

    commits = use_log(database, use)

    assert commits == []


def test_a_full_disk_is_refused_and_the_log_goes_on(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with full_disk(database), pytest.raises(LogBusy, match="full"):
            await log.append(one({"City": "x" * 100_000}))
        await log.append(one())

    use_log(database, use)

    assert len(stored_ids(database)) == 1


def test_more_rows_than_may_wait_are_turned_away(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        with pytest.raises(LogBusy):
            await log.append(Entries([predicted()] * (MAX_PENDING_ROWS + 1)))

    use_log(database, use)

    assert stored_ids(database) == []


def test_a_key_that_comes_again_gets_the_first_answer_and_leaves_no_row(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        assert await log.append(claimed("k")) is None
        again = await log.append(claimed("k", answer=b"second"))
        assert again == Answered(200, {"content-type": "text/plain"}, b"first")

    use_log(database, use)

    assert len(stored_ids(database)) == 1


def test_of_equal_keys_that_come_at_once_one_is_the_first(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        answers = await asyncio.gather(*(log.append(claimed("k", answer=b"%d" % number)) for number in range(20)))
        assert answers.count(None) == 1
        assert len({answer.content for answer in answers if answer}) == 1

    use_log(database, use)

    assert len(stored_ids(database)) == 1


def test_a_key_with_another_body_is_refused_and_its_neighbours_are_kept(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        await log.append(claimed("k"))
        sent = [log.append(one()), log.append(claimed("k", body="c" * 64)), log.append(one())]
        _, refused, _ = await asyncio.gather(*sent, return_exceptions=True)
        assert isinstance(refused, IdempotencyReused)

    use_log(database, use)

    assert len(stored_ids(database)) == 3


def test_a_key_is_forgotten_after_its_time(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        await log.append(claimed("k"))
        late = claimed("k", body="c" * 64, made_at=NOW + timedelta(hours=2))
        assert await log.append(late) is None

    use_log(database, use)

    assert len(stored_ids(database)) == 2


def test_rows_that_nobody_waits_for_are_written_soon_and_together(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        for _ in range(100):
            await log.post(one())
        await log.close()

    assert len(use_log(database, use)) < 10
    assert len(stored_ids(database)) == 100


@pytest.mark.parametrize("break_database", [failing_disk, full_disk])
def test_no_error_repeats_a_row_or_a_statement(
    database: Database, break_database: Callable[[Database], AbstractContextManager[None]]
) -> None:
    async def use(log: PredictionLog) -> None:
        with break_database(database), pytest.raises(HomeostatError, match="the database") as refused:
            await log.append(one({"City": "x" * 100_000}))
        assert "xxx" not in str(refused.value)
        assert "INSERT" not in str(refused.value)

    use_log(database, use)


def test_after_a_refusal_that_nobody_waited_for_the_next_sender_is_told_until_rows_are_taken_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    large = one({"City": "x" * 100_000})

    async def use(log: PredictionLog) -> None:
        with full_disk(database):
            await log.post(large)
            with pytest.raises(LogBusy, match="full"):
                await log.append(large)
            with pytest.raises(LogBusy, match="full"):
                await log.post(large)
        await log.post(one())
        await log.post(one())

    use_log(database, use)

    assert len(stored_ids(database)) == 2
    assert "1 answered rows are lost: the database took no row" in caplog.text


def test_rows_that_come_faster_than_the_disk_takes_them_are_waited_for_and_not_refused(database: Database) -> None:
    many = MAX_PENDING_ROWS // 5

    async def use(log: PredictionLog) -> None:
        for _ in range(8):
            await log.post(Entries([predicted() for _ in range(many)]))
            assert log.pending_rows <= 2 * many

    use_log(database, use)

    assert len(stored_ids(database)) == 8 * many


def test_a_commit_that_takes_too_long_is_not_waited_for(database: Database) -> None:
    async def wait() -> None:
        async with PredictionLog(database, on_commit=lambda _: None, deadline_s=0.1) as log:
            with database.write(), pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
                await log.append(one())

    asyncio.run(wait())

    assert len(stored_ids(database)) == 1


def test_a_closed_log_takes_no_row(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        await log.close()
        with pytest.raises(LogBusy):
            await log.append(one())

    use_log(database, use)


def test_the_counts_are_those_of_what_was_appended(database: Database) -> None:
    async def use(log: PredictionLog) -> None:
        await log.append(Entries([predicted(), predicted()], [(0, b"{}", b"[]")]))

    use_log(database, use)

    with database.read() as connection:
        counts = count_log(connection)

    assert (counts.predictions, counts.rejections, counts.labels, counts.latest_at) == (2, 1, 0, NOW)


@given(moments)
def test_an_id_is_a_uuid_of_version_7_that_carries_its_millisecond(now: datetime) -> None:
    found = uuid.UUID(new_prediction_ids(1, to_microseconds(now))[0])

    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == millisecond(now)


@given(st.lists(moments, min_size=2))
def test_ids_sort_by_their_millisecond(several: list[datetime]) -> None:
    ids = {new_prediction_ids(1, to_microseconds(now))[0]: millisecond(now) for now in several}

    ordered = [ids[one] for one in sorted(ids)]

    assert ordered == sorted(ordered)


def test_ten_thousand_ids_of_one_millisecond_differ() -> None:
    assert len(set(new_prediction_ids(10_000, to_microseconds(NOW)))) == 10_000


@given(st.integers(-(2**63), 2**63 - 1) | st.text())
def test_a_label_keeps_its_type_in_the_database(label: int | str) -> None:
    assert label_from_text(label_to_text(label)) == label
