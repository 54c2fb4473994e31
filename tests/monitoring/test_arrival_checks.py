"""What arrives is judged once, told once, and never misread, whatever was killed, deleted, edited or dated wrongly."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import delete, func, insert, select

from homeostat.data.columns import stack_rows
from homeostat.errors import LeaseHeld
from homeostat.monitoring import arrival_checks
from homeostat.monitoring.arrival_checks import (
    KIND,
    LARGEST,
    Standing,
    count_rejected_before,
    watch_arrivals,
)
from homeostat.monitoring.entries import Entries, to_microseconds
from homeostat.monitoring.predictions import write_entries
from homeostat.monitoring.production import stamp_rows
from homeostat.monitoring.retention import Periods, clear_expired
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.records import Alert, Feature, Golden, Json, Promotion, Release, Row, Schema, Target
from homeostat.settings import MonitoringSettings
from homeostat.store.blobs import FolderBlobs
from homeostat.store.database import Database
from homeostat.store.events import find_break, read_events
from homeostat.store.tables import predictions, rejections
from homeostat.validation.checks import check_row
from homeostat.validation.profiles import build_profile
from homeostat.validation.schema import freeze_schema
from tests.production_log import NOW, lease_lost, line, own_lease

TARGET = Target("outcome", 0, 1)
SCHEMA = freeze_schema([Feature("x", "numeric", low=0, high=100), Feature("city", "categorical")], TARGET)
SETTINGS = MonitoringSettings()
LATER = NOW + timedelta(hours=1)
DAY = timedelta(days=1)
TOLD = ("rejected", "x range")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def draw(n_rows: int, *, factor: float = 1.0, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [{"x": float(x) * factor, "city": "AB"[i % 2]} for i, x in enumerate(rng.uniform(40, 60, size=n_rows))]


def release_of(schema: Schema = SCHEMA, *, lineage: Json | None = None) -> Release:
    """Return a release whose baseline is 300 quiet rows; a watch needs no graph."""
    profile = build_profile(stack_rows(draw(300, seed=9), schema), schema)
    return Release("a" * 64, schema, b"", profile, Golden({}, np.empty(0, dtype=np.float32)), {}, lineage or {})


def arrive(database: Database, rows: Sequence[Row], *, moment: datetime = LATER) -> None:
    """Write rows into the log as the service does, all in one request: accepted and rejected ones by the rules."""
    accepted, rejected = [], []
    for row in rows:
        found = check_row(row, SCHEMA).violations
        violations = json.dumps([{"column": v.column, "value": v.value, "rule": v.rule} for v in found]).encode()
        if found:
            rejected.append((to_microseconds(moment), json.dumps(row).encode(), violations))
        else:
            accepted.append(line(row, now=moment))
    with database.write() as connection:
        write_entries(connection, [Entries(accepted, rejected)])


def promotion_of(epoch: int = 1) -> Promotion:
    return Promotion(epoch, "a" * 64, None, NOW, "test", "why")


def look(database: Database, *, epoch: int = 1, release: Release | None = None) -> list[Alert]:
    """Do what a loop does each time it observes."""
    lease = own_lease(database)
    stamp_rows(database, lease=lease, epoch=epoch)
    return watch_arrivals(database, release or release_of(), promotion_of(epoch), SETTINGS, lease=lease, now=NOW)


def told(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    return [(alert.kind, alert.subject) for alert in alerts]


def events(database: Database) -> list[Json]:
    with database.read() as connection:
        assert find_break(connection) is None
        return [event.payload for event in read_events(connection, kind="alert")]


def standing(database: Database, *, epoch: int = 1) -> Standing:
    with database.read() as connection:
        found = find_state(connection, epoch=epoch, kind=KIND)
    assert found is not None
    return msgspec.json.decode(found[1], type=Standing)


def test_what_another_version_has_left_begins_anew(database: Database) -> None:
    with database.write() as connection:
        store_state(connection, epoch=1, kind=KIND, last_seq=0, state=b"of another version")
    arrive(database, draw(50, factor=10))

    assert told(look(database)) == [TOLD]


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_change_of_unit_that_the_rules_reject_is_told_after_50_rejected_rows_only(database: Database) -> None:
    arrive(database, draw(50, factor=10))

    (alert,) = look(database)

    assert (alert.kind, alert.subject) == TOLD
    assert alert.sentence.startswith("x: 50 of the last 50 rows hold an impossible value (possible: 0 to 100")
    assert alert.sentence.endswith("a change of unit, as between units that differ by 10?")


def test_a_change_that_the_rules_accept_is_told_of_the_accepted_rows(database: Database) -> None:
    arrive(database, draw(50, factor=0.1))

    assert told(look(database)) == [("below", "x")]


def test_accepted_and_rejected_rows_make_a_block_together(database: Database) -> None:
    arrive(database, [*draw(25), *draw(24, factor=10)])
    before = look(database)
    arrive(database, draw(1))

    assert (before, told(look(database))) == ([], [TOLD])


def test_an_alert_is_an_event_with_counts_and_shares_in_the_watch_of_its_epoch(database: Database) -> None:
    arrive(database, draw(50, factor=10))

    (alert,) = look(database, epoch=3)

    (event,) = events(database)
    assert event == {
        "kind": alert.kind,
        "subject": alert.subject,
        "sentence": alert.sentence,
        "figures": alert.figures,
        "epoch": 3,
    }
    assert set(event["figures"]) == {"hits", "rows", "share", "share_then", "p_value", "median_then", "median"}


def test_each_alert_is_told_once_on_a_watch_and_again_on_the_next(database: Database) -> None:
    found = []
    for epoch in (1, 1, 1, 2, 2):
        arrive(database, draw(60, factor=10))
        found.append(told(look(database, epoch=epoch)))

    # All rejected rows lie after the one promotion that both epochs have here: the second watch begins with them.
    assert found == [[TOLD], [], [], [TOLD], []]
    assert len(events(database)) == 2


def test_traffic_as_it_always_was_raises_nothing(database: Database) -> None:
    for seed in range(10):
        arrive(database, [*draw(57, seed=seed), *draw(3, factor=10, seed=seed)])
        look(database)

    assert events(database) == []
    assert standing(database).n_blocks == 10


# --- what is read -------------------------------------------------------------------------------------------------


def test_every_arrival_is_judged_once(database: Database) -> None:
    for n_rows in (30, 30, 10, 45, 200):
        arrive(database, [*draw(n_rows), *draw(2, factor=10)])
        look(database)

    assert (standing(database).seen, standing(database).rejection) == (315, 10)


def test_nothing_is_written_while_a_block_is_not_complete(database: Database) -> None:
    arrive(database, draw(60))
    look(database)
    before = standing(database)
    arrive(database, draw(30))

    look(database)

    assert standing(database) == before


def test_rows_that_were_rejected_before_the_promotion_do_not_count(database: Database) -> None:
    arrive(database, draw(500, factor=10), moment=NOW - DAY)

    assert look(database) == []
    assert standing(database).rejection == 500


def test_a_watch_begins_at_its_own_accepted_rows(database: Database) -> None:
    arrive(database, draw(80, factor=0.1))
    look(database, epoch=1)
    arrive(database, draw(60))

    assert look(database, epoch=2) == []
    assert (standing(database, epoch=2).seen, standing(database, epoch=2).n_blocks) == (140, 1)


def test_a_request_is_not_judged_by_its_rejected_rows_before_its_accepted_ones_are_numbered(database: Database) -> None:
    lease = own_lease(database)
    arrive(database, [*draw(900), *draw(60, factor=10)])

    early = watch_arrivals(database, release_of(), promotion_of(), SETTINGS, lease=lease, now=NOW)

    assert (early, look(database)) == ([], [])
    assert (standing(database).seen, standing(database).rejection, standing(database).n_blocks) == (900, 60, 1)


def test_a_backlog_is_taken_in_pieces_that_reach_equally_far_in_both_tables(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival_checks, "LARGEST", 100)
    for minute in range(300):
        # 10 % are rejected: all of these beside the first 100 accepted rows would be half of a block.
        arrive(database, [*draw(9, seed=minute), *draw(1, factor=10)], moment=LATER + timedelta(minutes=minute))

    for _ in range(7):
        look(database)

    assert events(database) == []
    assert (standing(database).seen, standing(database).rejection) == (2_700, 300)


def test_a_large_batch_is_one_block(database: Database) -> None:
    arrive(database, sorted(draw(3_000), key=lambda row: float(row["x"] or 0)))

    assert look(database) == []
    assert (standing(database).n_blocks, standing(database).seen) == (1, 3_000)
    assert LARGEST >= 10_000


# --- what happens meanwhile ---------------------------------------------------------------------------------------


def test_a_loop_that_lost_its_lease_tells_and_stores_nothing(database: Database) -> None:
    arrive(database, draw(50, factor=10))
    with lease_lost(database) as lease, pytest.raises(LeaseHeld):
        watch_arrivals(database, release_of(), promotion_of(), SETTINGS, lease=lease, now=NOW)

    with database.read() as connection:
        assert find_state(connection, epoch=1, kind=KIND) is None
    assert events(database) == []


def test_what_a_loop_that_lost_its_lease_saw_is_told_by_the_next(database: Database) -> None:
    arrive(database, draw(50))
    look(database)
    arrive(database, draw(50, factor=10))
    with lease_lost(database) as lease, pytest.raises(LeaseHeld):
        watch_arrivals(database, release_of(), promotion_of(), SETTINGS, lease=lease, now=NOW)
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM leases")

    assert told(look(database)) == [TOLD]
    assert len(events(database)) == 1


def test_rejected_rows_that_the_retention_deleted_do_not_matter(database: Database) -> None:
    arrive(database, draw(40, factor=10))
    look(database)
    with database.write() as connection:
        connection.execute(delete(rejections).where(rejections.c.seq <= 30))
    arrive(database, draw(50, factor=10))

    assert told(look(database)) == [TOLD]
    assert standing(database).rejection == 90


def test_numbers_that_are_given_again_after_the_retention_deleted_them_are_judged(database: Database) -> None:
    arrive(database, draw(20, factor=10))
    arrive(database, draw(500))
    look(database)
    delete_all = Periods(predictions=1000 * DAY, rejections=timedelta(0), answers=DAY)
    clear_expired(database, delete_all, lease=own_lease(database), now=LATER + DAY)
    arrive(database, draw(19, factor=10), moment=LATER + 2 * DAY)
    arrive(database, draw(31), moment=LATER + 2 * DAY)

    assert told(look(database)) == [TOLD]
    assert standing(database).rejection == 19


def test_accepted_rows_that_were_deleted_do_not_matter(database: Database) -> None:
    arrive(database, draw(130))
    look(database)
    arrive(database, draw(60))
    stamp_rows(database, lease=own_lease(database), epoch=1)
    with database.write() as connection:
        connection.execute(delete(predictions).where(predictions.c.observed_seq <= 150))
    arrive(database, draw(60, factor=0.1))

    assert told(look(database)) == [("below", "x")]
    assert standing(database).seen == 250


@pytest.mark.parametrize("jump", [timedelta(days=-3650), timedelta(hours=-2), timedelta(days=3650)])
def test_a_clock_that_jumps_neither_stops_nor_repeats_anything(database: Database, jump: timedelta) -> None:
    arrive(database, draw(60))
    look(database)
    arrive(database, [*draw(60), *draw(2, factor=10)], moment=LATER + jump)
    look(database)
    arrive(database, [*draw(10), *draw(50, factor=10)], moment=LATER + timedelta(minutes=1))

    assert told(look(database)) == [TOLD]
    assert (standing(database).seen, standing(database).rejection) == (130, 52)


@pytest.mark.parametrize("jump", [timedelta(days=-3650), timedelta(days=3650)])
def test_one_row_of_a_wrong_clock_does_not_stop_a_backlog(
    database: Database, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    monkeypatch.setattr(arrival_checks, "LARGEST", 100)
    arrive(database, draw(1), moment=LATER + jump)
    for minute in range(30):
        arrive(database, [*draw(9, seed=minute), *draw(1, factor=10)], moment=LATER + timedelta(minutes=minute))

    look(database)

    assert (standing(database).seen, standing(database).rejection) == (271, 30)


def test_rows_that_an_edited_schema_no_longer_accepts_are_left_out(database: Database) -> None:
    narrow = freeze_schema([Feature("x", "numeric", low=50, high=100), Feature("city", "categorical")], TARGET)
    release = release_of()
    arrive(database, [*draw(100), *draw(50, factor=10)])

    edited = Release(release.digest, narrow, b"", release.profile, release.golden, {}, {})

    assert told(look(database, release=edited)) == [TOLD]
    assert standing(database).seen == 100


def test_rejections_that_cannot_be_read_count_as_rejected(database: Database) -> None:
    with database.write() as connection:
        for number in range(60):
            row, violations = (b"", b"") if number % 2 else (b"[1]", b'[{"column": "", "rule": "answer", "value": 1}]')
            connection.execute(insert(rejections).values(received_at=LATER, row=row, violations=violations))

    assert told(look(database)) == [("rejected", "any rule")]


WATCHER = """
import sys
from homeostat.store.database import Database
from tests.monitoring.test_arrival_checks import draw, arrive, look
with Database(sys.argv[1]) as database:
    for seed in range(1000):
        arrive(database, draw(60, seed=seed))
        look(database)
"""


def test_a_watch_that_is_killed_goes_on_without_repeating_or_leaving_out_a_row(database: Database) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(database.engine.url)], cwd=Path(__file__).parents[2]
    ) as watcher:
        while count(database) < 600 and watcher.poll() is None:
            time.sleep(0.01)
        watcher.send_signal(signal.SIGKILL)
    arrive(database, draw(50, factor=10))

    assert told(look(database)) == [TOLD]
    arrive(database, draw(100, factor=10))
    look(database)
    assert [(event["kind"], event["subject"]) for event in events(database)] == [TOLD]
    assert (standing(database).seen, standing(database).rejection) == (count(database), 150)


def count(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(predictions)) or 0


# --- what was rejected before training ----------------------------------------------------------------------------


def publish(blobs: FolderBlobs, digest: str, sources: list[Json]) -> None:
    blobs.publish("snapshots", digest, {"lineage.json": json.dumps({"sources": sources}).encode()})


def test_the_rows_rejected_before_training_are_those_of_the_files(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    files = [{"kind": "csv", "rows": 100, "rejected": 7}, {"kind": "sql", "rows": 50, "rejected": 3}]
    publish(blobs, "one", [*files, {"kind": "production", "rows": 900, "rejected": 0}])
    publish(blobs, "two", [{"kind": "snapshot", "name": "one", "rows": 140}])
    publish(blobs, "three", [{"kind": "snapshot", "name": "two", "rows": 140}])

    assert [count_rejected_before(digest, blobs) for digest in ("one", "two", "three")] == [(150, 10)] * 3


def test_where_no_lineage_tells_nothing_is_known_of_rows_rejected_before(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    publish(blobs, "circle", [{"kind": "snapshot", "name": "circle"}])
    publish(blobs, "alone", [{"kind": "production", "rows": 900, "rejected": 0}])
    publish(blobs, "strange", [{"rows": 900}])

    assert [count_rejected_before(name, blobs) for name in ("", "circle", "alone", "strange", "none")] == [None] * 5


def test_rules_that_rejected_as_many_rows_of_the_files_are_no_news(database: Database, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    publish(blobs, "d" * 64, [{"kind": "csv", "rows": 600, "rejected": 300}])
    arrive(database, [*draw(60), *draw(60, factor=10)])
    lease = own_lease(database)
    stamp_rows(database, lease=lease, epoch=1)
    release = release_of(lineage={"snapshot": "d" * 64})

    found = watch_arrivals(database, release, promotion_of(), SETTINGS, lease=lease, now=NOW, blobs=blobs)

    assert found == []
    assert (standing(database).n_arrived, standing(database).n_rejected) == (600, 300)
