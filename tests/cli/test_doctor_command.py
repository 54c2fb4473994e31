"""The doctor: nothing wrong with a whole project; everything that is made wrong is told, with what to do."""

import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from homeostat.cli.condition import look_at_access, look_at_certificate, look_at_state
from homeostat.cli.doctor import examine
from homeostat.cli.findings import Finding
from homeostat.cli.reachability import look_at_database
from homeostat.project import open_project
from homeostat.store.events import append_event
from homeostat.store.keys import create_key
from homeostat.store.leases import take_lease
from homeostat.store.tables import SCHEMA_VERSION, leases
from homeostat.store.tables import versions as schema_versions
from tests.cli.commands import homeostat

NOW = datetime.now(UTC)


def told(folder: Path, *, now: datetime | None = None) -> Mapping[str, Finding]:
    """Return what the doctor says of each thing; of several of one name the last."""
    return {finding.name: finding for finding in examine(folder, now=now or datetime.now(UTC))}


def settings(folder: Path, text: str) -> None:
    with (folder / "homeostat.toml").open("a") as file:
        file.write(text)


def contents(folder: Path) -> dict[Path, str]:
    """Return the digest of every file, those of SQLite's shared memory left out: reading changes them."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_whole_project_has_nothing_wrong_and_stays_as_it_is(clinic: Path) -> None:
    before = contents(clinic)
    done = homeostat("doctor", "--json", "--project", clinic)
    findings = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert {finding["state"] for finding in findings} <= {"ok", "warning"}
    assert {"homeostat", "libraries", "database", "blobs", "disk", "production", "waiting", "clock", "keys"} <= {
        finding["name"] for finding in findings
    }
    assert contents(clinic) == before


def test_for_a_person_each_finding_is_a_line_and_what_to_do_another(tmp_path: Path) -> None:
    done = homeostat("doctor", "--project", tmp_path)

    assert done.returncode == 1
    assert f"homeostat.toml         there is no homeostat.toml in {tmp_path}" in done.stdout
    assert "to do: run `homeostat init DATA --target COLUMN` there" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_where_no_database_is_none_is_made(project: Path) -> None:
    found = told(project)

    assert (found["database"].state, found["database"].action) == ("warning", "`homeostat train` makes it")
    assert not (project / ".homeostat").exists()


def test_settings_that_do_nothing_are_told_with_the_nearest_that_would(clinic: Path) -> None:
    text = (clinic / "homeostat.toml").read_text().replace("[retraining]", '[retraining]\nschedule = "every monday"')
    (clinic / "homeostat.toml").write_text(text)
    settings(clinic, '[notifications]\nkinds = ["promotd"]\n[serving]\ndurability = "relaxed"\n')
    found = told(clinic)

    assert found["notifications.kinds"].action == "did you mean 'promoted'?"
    assert found["retraining.schedule"].state == "wrong"
    assert "every monday" in found["retraining.schedule"].sentence
    assert found["serving.durability"].state == "warning"


def test_nobody_at_the_end_of_an_address_is_told(clinic: Path) -> None:
    settings(clinic, '[notifications]\nurl = "http://127.0.0.1:1/hook"\n')

    found = [(one.group, one.state) for one in examine(clinic, now=NOW) if one.name == "notifications"]
    assert found == [("reachable", "wrong"), ("state", "ok")]


def test_a_database_that_is_none_is_told(clinic: Path) -> None:
    (clinic / ".homeostat" / "homeostat.db").write_bytes(b"no database at all" * 100)
    found = told(clinic)

    assert (found["database"].state, "production" in found) == ("wrong", False)


@pytest.mark.parametrize(("version", "state"), [(SCHEMA_VERSION + 1, "wrong"), (SCHEMA_VERSION - 1, "warning")])
def test_a_database_of_another_version_is_told_and_left_as_it_is(clinic: Path, version: int, state: str) -> None:
    path = clinic / ".homeostat" / "homeostat.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_versions SET version = ? WHERE version = ?", (version, SCHEMA_VERSION))
    connection.close()
    found = told(clinic)

    assert (found["database"].state, "production" in found) == (state, False)
    with sqlite3.connect(path) as connection:
        assert connection.execute(f"SELECT max(version) FROM {schema_versions.name}").fetchone() == (version,)  # noqa: S608
    connection.close()


def test_a_database_that_others_may_read_is_told(clinic: Path) -> None:
    path = clinic / ".homeostat" / "homeostat.db"
    path.chmod(0o644)
    may_read = [one for one in look_at_database(path) if one.name == "permissions"]
    path.chmod(0o600)

    assert [one.action for one in may_read] == [f"chmod 600 {path}"]
    assert [one.name for one in look_at_database(path)] == ["database"]


def test_a_damaged_release_in_production_is_told(clinic: Path) -> None:
    graph = next((clinic / ".homeostat" / "blobs").rglob("model.onnx"))
    for path in graph.parent.parent.glob("*/model.onnx"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert told(clinic)["production"].state == "wrong"


def test_a_lease_that_was_left_over_and_a_loop_that_acts_are_told(clinic: Path) -> None:
    with open_project(clinic) as project:
        take_lease(project.database, now=NOW)
        acting = {one.name: one for one in look_at_state(project, now=NOW)}
        with project.database.write() as connection:
            connection.execute(update(leases).values(expires_at=NOW - timedelta(hours=1)))
        left = {one.name: one for one in look_at_state(project, now=NOW)}

    assert f":{os.getpid()} acts" in acting["loop"].sentence
    assert "left over" in left["lease"].sentence


def test_what_waits_for_a_loop_that_nobody_runs_is_told(clinic: Path) -> None:
    homeostat("promote", "2", "--reason", "a test", "--project", clinic)
    waiting = told(clinic)["waiting"]

    assert (waiting.state, waiting.action.startswith("start one")) == ("warning", True)
    assert "1 requests wait for a loop" in waiting.sentence


def test_a_clock_that_is_behind_the_database_is_told(clinic: Path) -> None:
    with open_project(clinic) as project, project.database.write() as connection:
        append_event(connection, "promoted", {}, now=NOW + timedelta(days=1))

    assert told(clinic, now=NOW)["clock"].state == "wrong"


def test_keys_that_expire_and_an_open_address_without_keys_are_told(clinic: Path) -> None:
    settings(clinic, '[serving]\nhost = "0.0.0.0"\n')
    with open_project(clinic) as project:
        without = {one.name: one for one in look_at_access(project, now=NOW)}
        with project.database.write() as connection:
            soon = NOW + timedelta(days=3)
            create_key(connection, "ward", frozenset({"read"}), expires_at=soon, rows_per_minute=None, now=NOW)
        expiring = {one.name: one for one in look_at_access(project, now=NOW)}

    assert without["address"].state == "wrong"
    assert "address" not in expiring
    assert (expiring["key"].state, expiring["keys"].state) == ("warning", "ok")


@pytest.mark.parametrize(("days", "state"), [(365, "ok"), (5, "warning")])
def test_until_when_a_certificate_holds_is_told(clinic: Path, days: int, state: str) -> None:
    names = ["-keyout", str(clinic / "server.key"), "-out", str(clinic / "server.pem"), "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, *names, "-days", str(days)], capture_output=True, check=True)
    settings(clinic, '[serving]\ncertfile = "server.pem"\nkeyfile = "server.key"\n')
    with open_project(clinic) as project:
        found = look_at_certificate(project, now=NOW)

    assert found.state == state
    assert f"{NOW + timedelta(days=days):%Y-%m-%d}" in found.sentence


def test_a_certificate_that_is_not_there_is_told(clinic: Path) -> None:
    settings(clinic, '[serving]\ncertfile = "server.pem"\n')

    assert told(clinic)["certificate"].state == "wrong"
