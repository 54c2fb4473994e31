"""`homeostat promote`, `approve` and `rollback` through the real command: asked, carried out, refused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.cli.project import describe_what_waits
from homeostat.deployment.registry import current_promotion
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.retraining.asking import place
from homeostat.retraining.requests import list_pending
from homeostat.store.leases import give_lease_back, take_lease
from tests.cli.commands import Done, homeostat, parts
from tests.retraining.clinic import put_in_production


@pytest.fixture
def went_on(clinic: Path) -> Path:
    """The clinic after the second release was promoted."""
    with open_project(clinic) as project:
        put_in_production(project, penalty=0.5)
    return clinic


@pytest.fixture
def loop(clinic: Path) -> Iterator[None]:
    """A real loop of the clinic, for as long as the test runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat", "loop", "--project", str(clinic)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has the lease, and has looked around
    yield
    process.terminate()
    process.communicate()


def in_production(folder: Path) -> tuple[int, str]:
    """Return the epoch, and who moved production last."""
    with open_project(folder) as project, project.database.read() as connection:
        current = current_promotion(connection)
    assert current is not None
    return current.epoch, current.actor


def last_line(done: Done) -> str:
    return done.stdout.splitlines()[-1]


def test_without_now_a_request_waits_and_the_command_says_for_whom(clinic: Path) -> None:
    done = homeostat("promote", "2", "--reason", "it was better", "--project", clinic)

    with open_project(clinic) as project, project.database.read() as connection:
        (request,) = list_pending(connection)
    assert (done.returncode, request.reason, request.actor[:4]) == (0, "it was better", "cli:")
    first, second = done.stdout.splitlines()
    assert first == f"Request 1: promote release {str(request.release)[:12]}."
    assert second.startswith("It is not carried out yet. No loop is running (no loop has run here yet)")


def test_the_status_names_what_waits_for_a_loop(clinic: Path) -> None:
    with open_project(clinic) as project, project.database.write() as connection:
        place(connection, "promote", name="2", reason="r", actor="cli:ann", now=datetime.now(UTC))

    assert "request 1, promote, for a loop" in homeostat("status", "--project", clinic).stdout


def test_what_waits_for_a_person_is_named_with_the_command_for_it() -> None:
    held: Json = {"cycle": None, "held": {"release": "a" * 64, "number": 3}, "requests": []}

    assert describe_what_waits(held) == [f"release 3 ({'a' * 12}) for approval: homeostat approve"]


def test_with_now_a_promotion_is_carried_out_here(clinic: Path) -> None:
    done = homeostat("promote", "2", "--reason", "it was better", "--now", "--project", clinic)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "is in production" in last_line(done)
    assert (in_production(clinic)[0], in_production(clinic)[1][:4]) == (2, "cli:")


def test_with_now_a_rollback_is_carried_out_here_and_told_as_json(went_on: Path) -> None:
    done = homeostat("rollback", "--now", "--json", "--project", went_on)

    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (told["kind"], told["outcome"], told["reason"]) == ("rollback", "rolled_back", "asked for by hand")
    assert told["steps"][-1] == told["sentence"]
    assert in_production(went_on)[0] == 3


def test_a_running_loop_is_told_of_and_followed(clinic: Path, loop: None) -> None:
    assert loop is None
    done = homeostat("promote", "2", "--reason", "r", "--now", "--project", clinic)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "it does the work, this follows" in done.stdout
    assert in_production(clinic)[0] == 2


def test_a_loop_that_holds_the_lease_is_named_as_the_one_that_will_do_it(clinic: Path) -> None:
    with open_project(clinic) as project:
        lease = take_lease(project.database, now=datetime.now(UTC))
        done = homeostat("promote", "2", "--reason", "r", "--project", clinic)
        give_lease_back(project.database, lease)

    assert last_line(done) == (
        f"It is not carried out yet. A loop is running ({lease.holder}): it does so with its next turn."
    )


def test_what_makes_no_sense_is_refused_at_once_in_three_parts(clinic: Path) -> None:
    done = homeostat("rollback", "--now", "--project", clinic)

    assert done.returncode == 1
    assert parts(done)[0].startswith("there is nothing to go back to from release ")
