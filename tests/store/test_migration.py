"""A database of an older schema version: opened, brought up to date, and used as a new one is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import count_labels_ever, last_stamped, stamp_rows
from homeostat.monitoring.retention import Periods, clear_expired
from homeostat.records import Feature, Target
from homeostat.store.database import Database
from homeostat.store.events import find_breaks, find_head
from homeostat.store.keys import create_key, list_keys
from homeostat.store.tables import SCHEMA_VERSION, events, metadata, predictions, versions
from homeostat.validation.schema import freeze_schema
from tests.production_log import NOW, answer, label, own_lease

# What version 1 had, as SQLite kept it; every other table is as it was.
PREDICTIONS_1 = """
CREATE TABLE predictions (
    seq INTEGER NOT NULL, id VARCHAR(40) NOT NULL, received_at BIGINT NOT NULL, release VARCHAR(64) NOT NULL,
    "row" BLOB NOT NULL, probability FLOAT NOT NULL, label TEXT NOT NULL, observed_seq BIGINT, epoch INTEGER,
    PRIMARY KEY (seq), UNIQUE (id), UNIQUE (observed_seq)
);
CREATE INDEX predictions_unobserved ON predictions (seq) WHERE observed_seq IS NULL;
CREATE INDEX predictions_watched ON predictions (epoch, observed_seq) WHERE epoch IS NOT NULL;
INSERT INTO predictions VALUES (1, 'old-1', 0, 'a', '{"Age": 50.0}', 0.5, '0', 1, 1);
INSERT INTO predictions VALUES (2, 'old-2', 0, 'a', '{"Age": 51.0}', 0.5, '0', NULL, NULL);
INSERT INTO labels VALUES ('old-1', '1', 0, 'test');
INSERT INTO events VALUES (1, 0, 'promoted', '{}', '', '');
INSERT INTO schema_versions VALUES (1, 0);
"""
ADDED_SINCE = {"retention", "answers", "keys", "event_head"}
SCHEMA = freeze_schema([Feature("Age", "numeric")], Target("Outcome", 0, 1))
SHORT = Periods(timedelta(days=1), timedelta(days=1), timedelta(days=1))


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A database that version 1 made: two rows, the first of them observed and labelled."""
    path = tmp_path / "homeostat.db"
    unchanged = [table for name, table in metadata.tables.items() if name not in {*ADDED_SINCE, "predictions"}]
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine, tables=unchanged)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(PREDICTIONS_1)
    with Database(f"sqlite:///{path}") as opened:
        yield opened


def test_an_old_database_gets_the_tables_that_it_lacks(old: Database) -> None:
    with old.read() as connection:
        assert set(inspect(connection).get_table_names()) == set(metadata.tables)
        assert list(connection.scalars(select(versions.c.version))) == [1, SCHEMA_VERSION]


def test_rows_of_an_old_database_are_numbered_on_with_new_ones(old: Database) -> None:
    answer(old, [{"Age": 52.0}])

    assert stamp_rows(old, lease=own_lease(old), epoch=1) == 2
    with old.read() as connection:
        assert read_rows(connection, SCHEMA, first=1, last=3)["Age"].tolist() == [50, 51, 52]


def test_no_number_is_given_twice_in_an_old_database(old: Database) -> None:
    line = {"received_at": NOW, "release": "a", "row": b"{}", "probability": 0.5, "label": "0"}

    with pytest.raises(IntegrityError), old.write() as connection:
        connection.execute(insert(predictions).values(id="again", observed_seq=1, **line))


def test_old_rows_are_deleted_after_their_period_and_their_numbers_not_used_again(old: Database) -> None:
    label(old, [("old-2", 1)])
    stamp_rows(old, lease=own_lease(old), epoch=1)

    clear_expired(old, SHORT, lease=own_lease(old), now=NOW)

    with old.read() as connection:
        assert connection.execute(select(predictions)).all() == []
        assert (last_stamped(connection), count_labels_ever(connection)) == (2, 2)


def test_keys_are_made_in_an_old_database(old: Database) -> None:
    with old.write() as connection:
        create_key(connection, "test", frozenset({"admin"}), now=NOW)

    with old.read() as connection:
        assert [key.name for key in list_keys(connection)] == ["test"]


def test_the_last_line_of_an_old_log_is_noted_so_that_a_cut_is_found(old: Database) -> None:
    with old.write() as connection:
        assert find_head(connection) is not None
        connection.execute(delete(events))

        assert [finding.sentence for finding in find_breaks(connection)] == ["line 1 was cut off at the end"]
