"""`homeostat notify` shows whether a receiver would take a notification, and how far it has come."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.store.database import Database
from homeostat.store.events import append_event
from tests.cli.commands import homeostat, parts
from tests.notifications.receiver import SECRET, Answer, Received, is_signed, receiving


@pytest.fixture
def receiver() -> Iterator[Received]:
    with receiving(Received()) as listening:
        yield listening


@pytest.fixture
def told(project: Path, receiver: Received, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose events are told, its secret in the variable."""
    with (project / "homeostat.toml").open("a") as file:
        file.write(f'\n[notifications]\nurl = "{receiver.url}"\n')
    monkeypatch.setenv("HOMEOSTAT_NOTIFICATIONS__SECRET", SECRET)
    return project


def happen(project: Path, kind: str) -> None:
    with Database(f"sqlite:///{project / '.homeostat' / 'homeostat.db'}") as database, database.write() as connection:
        append_event(connection, kind, {}, now=datetime.now(UTC))


def test_a_trial_is_sent_as_any_notification_is(told: Path, receiver: Received) -> None:
    done = homeostat("notify", "--project", told)

    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "The receiver took the trial (signed)."
    assert done.stdout.splitlines()[1].startswith("It is new")
    assert receiver.kinds() == ["trial"]
    assert is_signed(receiver.headers[0], receiver.bodies[0])


def test_the_status_says_how_far_the_receiver_has_come(told: Path) -> None:
    shown, state = homeostat("status", "--project", told), homeostat("status", "--json", "--project", told)

    notifications = json.loads(state.stdout)["notifications"]
    assert notifications["sentence"].startswith("It is new: it is told what happens once")
    assert notifications["sentence"] in shown.stdout


def test_a_receiver_that_does_not_take_it_ends_the_command_with_code_1(told: Path, receiver: Received) -> None:
    receiver.script = [Answer(401)]

    done = homeostat("notify", "--project", told, "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout) == {"taken": False, "problem": "it answered 401", "signed": True, "place": None}
    assert SECRET not in done.stdout + done.stderr


def test_what_still_waits_is_shown_with_the_reason(told: Path, receiver: Received) -> None:
    homeostat("tick", "--project", told)
    happen(told, "promoted")
    receiver.script = [Answer(503, {"retry-after": "600"})]
    homeostat("tick", "--project", told)
    happen(told, "gate")

    place = json.loads(homeostat("notify", "--project", told, "--json").stdout)["place"]

    assert (place["up_to"], place["waiting"], place["problem"]) == (0, 2, "it answered 503")
    assert datetime.fromisoformat(place["next_at"]) > datetime.now(UTC)


def test_without_an_address_the_command_says_where_it_goes(project: Path) -> None:
    problem, expected, action = parts(homeostat("notify", "--project", project))

    assert (problem, expected) == ("nobody is told of events", "an address in notifications.url")
    assert "HOMEOSTAT_NOTIFICATIONS__SECRET" in action


def test_a_loop_tells_what_happens_and_ends_in_order_while_the_receiver_hangs(told: Path, receiver: Received) -> None:
    command = [sys.executable, "-m", "homeostat", "loop", "--project", str(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()  # it has looked round: its receiver has a place
        happen(told, "promoted")
        wait_for(receiver, 1)
        receiver.script = [Answer(delay_s=60)]
        happen(told, "rolled_back")
        wait_for(receiver, 2)
        loop.send_signal(signal.SIGTERM)
        started = time.monotonic()

        assert loop.wait(30) == 0
        assert time.monotonic() - started < 15
    assert receiver.kinds() == ["promoted", "rolled_back"]


def wait_for(received: Received, n_messages: int) -> None:
    deadline = time.monotonic() + 30
    while len(received.bodies) < n_messages and time.monotonic() < deadline:
        time.sleep(0.02)
