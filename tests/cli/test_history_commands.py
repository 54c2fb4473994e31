"""`homeostat history` and `verify` through the real command: who was live when, and what is not as it was written."""

import json
import re
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.cli.history import parse_moment
from homeostat.deployment.registry import list_promotions
from homeostat.deployment.restoring import restore
from homeostat.errors import InputError
from homeostat.project import open_project
from tests.cli.commands import homeostat
from tests.retraining.clinic import NOW, put_in_production

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def rolled_back(clinic: Path) -> Path:
    """The clinic after its second release was promoted and rolled back."""
    with open_project(clinic) as project:
        put_in_production(project, penalty=0.5)
        with project.database.read() as connection:
            first = list_promotions(connection)[0].release
        restore(
            project.database,
            first,
            expected_epoch=2,
            alarm="hand",
            reason="it was [worse]",
            actor="cli:ann",
            labels_ever=0,
            now=LATER,
        )
    return clinic


def tamper(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / ".homeostat" / "homeostat.db")) as connection, connection:
        connection.execute(statement)


def test_the_history_shows_a_rollback_with_who_and_why(rolled_back: Path) -> None:
    last = homeostat("history", "--project", rolled_back).stdout.strip().splitlines()[-1].split()

    assert last[0] == "3"
    assert " ".join(last[-7:]) == "rolled back to cli:ann it was [worse]"


def test_the_release_of_a_moment_is_told_with_who_why_and_the_line(rolled_back: Path) -> None:
    done = homeostat("history", "--at", "2026-03-01T14:00:00+01:00", "--project", rolled_back)

    first, second = done.stdout.splitlines()
    assert first.startswith("At 2026-03-01 13:00:00 UTC release 1 (")
    assert first.endswith("was in production: epoch 3, rolled back to 2026-03-01 13:00:00 UTC by cli:ann, until now.")
    assert second == "Why: it was [worse] (line 5 of the event log)"


def test_before_the_first_promotion_it_was_nothing_yet(clinic: Path) -> None:
    done = homeostat("history", "--at", "2026-02-28", "--json", "--project", clinic)

    assert done.returncode == 0
    assert json.loads(done.stdout)["production"] is None


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1700000000", "0001-01-01T00:00+23:00", "2999-01-01", ""])
def test_what_is_no_moment_of_the_past_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--at .*{re.escape(text)}") as refused:
        parse_moment(text)

    assert refused.value.expected
    assert refused.value.action


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-03-01T21:00", 12), ("2026-03-01T21:00Z", 21), ("2026-03-01T21:00+01:00", 20)]
)
def test_without_an_offset_a_time_is_that_of_the_machines_zone(
    text: str, hour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()

    found = parse_moment(text)

    monkeypatch.undo()
    time.tzset()
    assert found == datetime(2026, 3, 1, hour, tzinfo=UTC)


def test_a_project_that_nobody_touched_is_whole(rolled_back: Path) -> None:
    done = homeostat("verify", "--project", rolled_back)

    events, promotions, *releases = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert events.startswith("The event log is whole: 5 lines, the last ")
    assert promotions == "The promotion log agrees with it."
    assert ["every byte verified" in line for line in releases] == [True, True]


def test_all_that_is_wrong_is_told_at_once_with_exit_code_1(rolled_back: Path) -> None:
    tamper(rolled_back, "UPDATE events SET payload = '{}' WHERE seq = 1")
    tamper(rolled_back, "DELETE FROM events WHERE seq = 5")
    tamper(rolled_back, "UPDATE promotions SET actor = 'somebody' WHERE epoch = 2")
    (graph := next(rolled_back.glob(".homeostat/blobs/**/model.onnx"))).write_bytes(graph.read_bytes()[:-1] + b"?")

    done = homeostat("verify", "--project", rolled_back)

    assert done.returncode == 1
    assert [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")] == [
        "line 1 was edited, or moved from another place",
        "line 5 was cut off at the end",
        "line 4 says of epoch 2 that actor is 't', the promotion log 'somebody'",
        "the promotion of epoch 3 is in no line of the event log",
    ]
    assert done.stdout.count("is not whole") == 2
    assert json.loads(homeostat("verify", "--json", "--project", rolled_back).stdout)["whole"] is False
