"""What the board says in each state of a project, and what its forms do, over HTTP."""

import html
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from homeostat import loop
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import register_release, require_production
from homeostat.monitoring.drift import detect_drift, report_to_json
from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.observed import read_rows
from homeostat.project import Project, open_project
from homeostat.retraining.cycles import close_cycle, find_open_cycle, open_cycle
from homeostat.retraining.requests import ask, find_request
from homeostat.store.database import insert_lines
from homeostat.store.events import append_event
from homeostat.store.keys import create_key
from homeostat.store.leases import take_lease
from homeostat.store.tables import predictions
from homeostat.validation.profiles import count_rows
from homeostat.web.board import MOST_PICTURES, BoardReader
from homeostat.web.board_parts import render_parts
from homeostat.web.ring import STAGES, STEPS
from tests.conftest import make_project

COLUMNS = ("id", "received_at", "release", "row", "probability", "label", "observed_seq", "epoch")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def parts_of(project: Project, *, now: datetime = NOW) -> dict[str, str]:
    """Return the parts of the board of a project."""
    with project.database.read() as connection:
        board = BoardReader(project).read(connection, now=now)
    return {name: str(part.html) for name, part in render_parts(board).items()}


@pytest.fixture
def fresh(tmp_path: Path, pima_path: Path) -> Iterator[Project]:
    """A project in which nothing is trained yet."""
    with open_project(make_project(tmp_path, pima_path)) as opened:
        yield opened


def test_a_fresh_project_is_told_what_to_do_next(fresh: Project) -> None:
    parts = parts_of(fresh)

    assert "Nothing is trained yet" in parts["standing"]
    assert "<code>homeostat train</code>" in parts["standing"]
    assert "No release yet" in parts["production"]
    assert "No row has been answered yet" in parts["traffic"]


def test_every_step_of_the_loop_has_its_place_on_the_ring() -> None:
    assert STEPS.keys() == loop.STEPS.keys()
    assert {stage for stages, _ in STEPS.values() for stage in stages} <= set(STAGES)


def test_an_open_cycle_is_told_with_its_step_and_its_reason(project: Project) -> None:
    with project.database.write() as connection:
        open_cycle(connection, trigger="drift", reason="the world has moved", step="search", now=NOW)

    parts = parts_of(project)

    assert "Training: searching for a model" in parts["standing"]
    assert "since 12:00 UTC: the world has moved" in parts["standing"]
    assert "The loop, now at: training" in parts["ring"]


def test_a_wish_to_retrain_that_waits_is_told_with_what_it_waits_for(project: Project) -> None:
    waits = {"action": "wait", "trigger": "drift", "obstacle": "labels", "sentence": "waiting for labels"}
    with project.database.write() as connection:
        append_event(connection, "decision", waits, now=datetime.now(UTC))

    parts = parts_of(project)

    assert "A retraining waits" in parts["standing"]
    assert "The loop, now at: retraining" in parts["ring"]
    assert "Waiting for labels." in parts["story"]


def test_a_release_that_is_held_asks_for_its_approval(project: Project, client: httpx.Client) -> None:
    digest = "d" * 64
    with project.database.write() as connection:
        register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)
        record = {"fit": {"release": digest}}
        open_cycle(connection, trigger="drift", reason="r", step="approve", now=NOW, record=record)
        cycle = find_open_cycle(connection)
        assert cycle is not None
        close_cycle(connection, cycle, outcome="held", sentence="it waits", now=NOW)

    assert "data-held" in parts_of(project)["standing"]
    taken = client.post("/ask/approve", data={"reason": ""})
    assert taken.status_code == 303
    with project.database.read() as connection:
        assert find_request(connection, 1).release == digest


def test_a_loop_that_has_not_turned_for_long_is_told(project: Project) -> None:
    now = datetime.now(UTC)

    take_lease(project.database, now=now)

    assert "has last turned at" not in parts_of(project, now=now)["standing"]
    assert "has last turned at" in parts_of(project, now=now + timedelta(hours=1))["standing"]


def test_of_many_features_those_that_moved_most_are_drawn_and_the_others_counted(
    project: Project, row: dict[str, object]
) -> None:
    with project.database.write() as connection:
        release = require_production(connection).release
        rows = [(f"{n}", 1, release, json.dumps(row).encode(), 0.5, "1", n, 1) for n in range(1, 201)]
        insert_lines(connection, predictions, COLUMNS, rows)
        opened = open_release(find_release(release, project.blobs))
        current = count_rows(read_rows(connection, opened.schema, first=1, last=200), opened.schema, opened.profile)
        report = report_to_json(detect_drift(opened.profile, current, alpha=0.05, boundary=0.3))
        report["features"] *= 4
        append_check(connection, report, epoch=1, window=(1, 200), release=release, now=NOW)

    drift = parts_of(project)["drift"]

    assert drift.count("<figure") == MOST_PICTURES
    assert "12 of 32 features, those that moved most." in drift


def test_what_strangers_have_written_stays_text(project: Project) -> None:
    hostile = "<script>alert(1)</script>`x`"
    now = datetime.now(UTC)
    with project.database.write() as connection:
        ask(connection, "retrain", reason=hostile, actor=hostile, now=now)
        alert = {"kind": "unseen", "subject": hostile, "sentence": hostile, "figures": {}, "epoch": 1}
        append_event(connection, "alert", alert, now=now)

    parts = parts_of(project, now=now)

    told = [name for name, html in parts.items() if "alert(1)" in html]
    assert told == ["standing", "story", "alerts"]
    assert not any("<script" in html for html in parts.values())


def test_the_form_of_a_session_needs_its_token(client: httpx.Client, project: Project) -> None:
    with project.database.write() as connection:
        _, token = create_key(connection, "Ada", frozenset({"admin"}), now=datetime.now(UTC))
    time.sleep(0.6)
    client.headers["accept"] = "text/html"
    client.post("/login", data={"key": token})
    csrf = client.get("/").text.partition('name="csrf" value="')[2].partition('"')[0]

    refused = client.post("/ask/retrain", data={"csrf": "0" * 64})
    client.get("/")
    taken = client.post("/ask/retrain", data={"csrf": csrf, "reason": "spring"})
    shown = client.get(taken.headers["location"]).text

    assert (refused.status_code, taken.status_code, taken.headers["location"]) == (403, 303, "/?asked#asked")
    assert "Request 1, retrain" in shown  # also where the page was read a moment before
    with project.database.read() as connection:
        request = find_request(connection, 1)
    assert (request.kind, request.reason, request.actor) == ("retrain", "spring", f"key:{token[3:15]} Ada")


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"kind": "rollback", "reason": " "}, 400, "the body asks for nothing"),
        ({"kind": "rollback", "reason": "bad"}, 409, "there is nothing to go back to"),
        ({"kind": "promote", "reason": "good", "release": "77"}, 404, "no releases are called"),
        ({"kind": "approve", "reason": ""}, 409, "no release waits for approval"),
        ({"kind": "erase", "reason": "all"}, 422, "kind"),
    ],
)
def test_what_is_refused_at_once_is_shown_with_its_reasons(
    client: httpx.Client, form: dict[str, str], status: int, words: str
) -> None:
    kind = form.pop("kind")

    answer = client.post(f"/ask/{kind}", data=form, headers={"Accept": "text/html"})

    assert answer.status_code == status
    assert words in html.unescape(answer.text)


def test_the_board_stays_cheap_however_long_the_log_is(project: Project) -> None:
    reader, statements = BoardReader(project), list[str]()
    with project.database.read() as connection:
        reader.read(connection, now=NOW)
    event.listen(project.database.engine, "before_cursor_execute", lambda *told: statements.append(str(told[2])))

    with project.database.read() as connection:
        reader.read(connection, now=NOW)

    assert len(statements) < 60
    assert not any("count(" in statement.lower() for statement in statements)
