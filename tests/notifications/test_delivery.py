"""Each event reaches the receiver at least once, in order, under one id, whatever the receiver or the sender meets."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from homeostat.errors import LeaseHeld, SettingsInvalid
from homeostat.notifications.delivery import (
    LEASE,
    Attempt,
    Receiver,
    deliver_next,
    find_receiver,
    notifying,
    open_client,
)
from homeostat.notifications.messages import MAX_REFUSALS
from homeostat.notifications.outbox import FAILED, Cursor, begin_at_end, find_cursor
from homeostat.settings import Settings, parse_settings
from homeostat.store.database import Database
from homeostat.store.events import append_event, read_events
from homeostat.store.leases import take_lease
from homeostat.store.tables import deliveries, leases
from tests.conftest import Count, Tell
from tests.notifications.receiver import SECRET, Answer, Received, is_signed, receiving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = timedelta(minutes=6)
HTTP = open_client()  # one for all tests: it reads the certificates of the machine


def settings_for(received: Received, *, kinds: Sequence[str] = ()) -> Settings:
    return parse_settings(
        {
            "project": {"name": "clinic", "data": ["a.csv"], "target": "y"},
            "features": {"age": {}},
            "notifications": {"url": received.url, "secret": SECRET, "kinds": list(kinds)},
        }
    )


def known(database: Database, received: Received, *, kinds: Sequence[str] = ()) -> Receiver:
    """Return a receiver that has its place in the log."""
    found = find_receiver(settings_for(received, kinds=kinds))
    assert found is not None
    with database.write() as connection:
        begin_at_end(connection, found.target)
    return found


def happen(database: Database, *kinds: str) -> None:
    for kind in kinds:
        with database.write() as connection:
            append_event(connection, kind, {"about": kind}, now=NOW)


def deliver(database: Database, receiver: Receiver, *, now: datetime = NOW) -> list[Attempt]:
    """Make every attempt that is due."""
    return list(iter(lambda: deliver_next(database, receiver, HTTP, now=now), None))


def cursor_of(database: Database, receiver: Receiver) -> Cursor:
    with database.read() as connection:
        found = find_cursor(connection, receiver.target)
    assert found is not None
    return found


def kinds_of(database: Database) -> list[str]:
    with database.read() as connection:
        return [event.kind for event in read_events(connection)]


# --- what is sent -------------------------------------------------------------------------------------------------


def test_every_event_is_sent_once_in_order_and_signed(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate", "promoted", "cycle_promoted")

    deliver(database, told)

    assert receiver.kinds() == ["gate", "promoted", "cycle_promoted"]
    assert all(is_signed(*message) for message in zip(receiver.headers, receiver.bodies, strict=True))
    assert deliver(database, told) == []


def test_a_new_receiver_is_told_what_happens_not_what_has_happened(database: Database, receiver: Received) -> None:
    happen(database, "promoted", "gate")
    told = known(database, receiver)
    happen(database, "rolled_back")

    deliver(database, told)

    assert receiver.kinds() == ["rolled_back"]


def test_a_receiver_is_told_the_kinds_that_it_wants(database: Database, receiver: Received) -> None:
    told = known(database, receiver, kinds=("promoted", "rolled_back"))
    happen(database, "gate", "promoted", "decision", "rolled_back")

    deliver(database, told)

    assert receiver.kinds() == ["promoted", "rolled_back"]


# --- a receiver in trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 404])
def test_what_was_not_taken_is_sent_again_under_the_same_id_before_anything_else(
    database: Database, receiver: Received, status: int
) -> None:
    told = known(database, receiver)
    happen(database, "gate", "promoted")
    receiver.script = [Answer(status)]

    deliver(database, told)
    deliver(database, told, now=NOW + LATER)

    assert receiver.kinds() == ["gate", "gate", "promoted"]
    assert receiver.headers[0]["webhook-id"] == receiver.headers[1]["webhook-id"]


def test_before_its_time_nothing_is_tried_again(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate")
    receiver.script = [Answer(500)]

    deliver(database, told)

    assert deliver(database, told, now=NOW + timedelta(milliseconds=500)) == []
    assert cursor_of(database, told).problem == "it answered 500"


def test_a_receiver_that_asks_for_time_gets_it(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate")
    receiver.script = [Answer(429, {"retry-after": "1200"})]

    deliver(database, told)

    assert cursor_of(database, told).next_at == NOW + timedelta(minutes=20)


def test_a_receiver_that_is_not_there_is_told_everything_once_it_is_back(database: Database) -> None:
    with receiving(Received()) as elsewhere:
        told = known(database, elsewhere)
    happen(database, "gate", "promoted", "cycle_promoted")
    (missed,) = deliver(database, told)

    with receiving(elsewhere):
        deliver(database, told, now=NOW + LATER)

    assert "could not be reached" in str(missed.problem)
    assert elsewhere.kinds() == ["gate", "promoted", "cycle_promoted"]


def test_an_outage_of_any_length_loses_nothing(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate", "promoted")
    receiver.script = [Answer(503)] * (2 * MAX_REFUSALS)
    with database.write() as connection:
        connection.execute(update(deliveries).values(attempts=MAX_REFUSALS))

    for day in range(5):
        deliver(database, told, now=NOW + timedelta(days=day))
    receiver.script = []
    deliver(database, told, now=NOW + timedelta(days=9))

    assert receiver.kinds() == ["gate"] * 6 + ["promoted"]


def test_a_message_that_is_refused_for_a_day_is_left_out_and_the_log_says_so(
    database: Database, receiver: Received
) -> None:
    told = known(database, receiver)
    happen(database, "gate", "promoted")
    receiver.script = [Answer(422)]
    with database.write() as connection:
        connection.execute(update(deliveries).values(attempts=MAX_REFUSALS))

    deliver(database, told)

    assert receiver.kinds() == ["gate", "promoted"]
    assert kinds_of(database) == ["gate", "promoted", FAILED]
    with database.read() as connection:
        (failed,) = read_events(connection, kind=FAILED)
    assert failed.payload == {"event": 1, "kind": "gate", "attempts": MAX_REFUSALS + 1, "problem": "it answered 422"}


def test_that_a_message_was_left_out_is_itself_never_sent(database: Database, receiver: Received) -> None:
    told = known(database, receiver, kinds=(FAILED,))
    happen(database, FAILED)

    assert deliver(database, told) == []


def test_a_redirect_is_not_followed(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate")
    with receiving(Received()) as elsewhere:
        receiver.script = [Answer(307, {"location": elsewhere.url})]
        deliver(database, told)

        assert elsewhere.bodies == []


# --- settings -----------------------------------------------------------------------------------------------------


def test_without_an_address_nobody_is_told(receiver: Received) -> None:
    settings = settings_for(receiver)
    silent = settings.model_copy(update={"notifications": settings.notifications.model_copy(update={"url": None})})

    assert find_receiver(silent) is None


@pytest.mark.parametrize("url", ["https://", "http://[::1", "https://a b:x/"])
def test_an_address_that_cannot_be_read_is_refused_without_being_repeated(receiver: Received, url: str) -> None:
    settings = settings_for(receiver)
    broken = settings.model_copy(update={"notifications": settings.notifications.model_copy(update={"url": url})})

    with pytest.raises(SettingsInvalid, match=r"notifications\.url"):
        find_receiver(broken)


def test_the_secret_is_shown_nowhere(database: Database, receiver: Received) -> None:
    settings = settings_for(receiver)
    told = known(database, receiver)
    with pytest.raises(SettingsInvalid) as refused:
        parse_settings({**settings.model_dump(mode="json"), "notifications": {"secret": "too short"}})

    assert SECRET not in repr(settings) + str(settings) + repr(told)
    assert receiver.url not in repr(told)
    assert "too short" not in str(refused.value)


# --- several processes --------------------------------------------------------------------------------------------


def held_elsewhere(database: Database, *, until: datetime) -> None:
    """Let a process of another machine hold the lease of notifications."""
    take_lease(database, name=LEASE, now=NOW)
    with database.write() as connection:
        connection.execute(
            update(leases).where(leases.c.name == LEASE).values(holder="elsewhere:1", fence=9, expires_at=until)
        )


def test_while_another_process_tells_the_receiver_this_one_does_not(database: Database, receiver: Received) -> None:
    told = known(database, receiver)
    happen(database, "gate")
    held_elsewhere(database, until=NOW + timedelta(seconds=30))

    assert deliver(database, told) == []
    assert len(deliver(database, told, now=NOW + LATER)) == 1


def test_a_process_that_was_overtaken_while_the_receiver_answered_does_not_move_the_cursor(
    database: Database, receiver: Received
) -> None:
    told = known(database, receiver)
    happen(database, "gate")
    receiver.script = [Answer(delay_s=0.5)]
    overtake = threading.Timer(0.2, held_elsewhere, (database,), {"until": NOW + timedelta(seconds=30)})
    overtake.start()

    with pytest.raises(LeaseHeld):
        deliver(database, told)

    overtake.join()
    assert cursor_of(database, told).last_seq == 0


# --- beside the loop ----------------------------------------------------------------------------------------------


@contextmanager
def telling(database: Database, received: Received, *, patience_s: float = 5.0) -> Iterator[list[str]]:
    said: list[str] = []
    with notifying(database, settings_for(received), say=said.append, patience_s=patience_s):
        yield said


def wait_for(received: Received, n_messages: int, *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while len(received.bodies) < n_messages and time.monotonic() < deadline:
        time.sleep(0.02)


def test_events_are_told_while_the_loop_is_busy(database: Database, receiver: Received) -> None:
    with telling(database, receiver):
        happen(database, "retrain_decided")
        wait_for(receiver, 1)

        assert receiver.kinds() == ["retrain_decided"]
    assert is_signed(receiver.headers[0], receiver.bodies[0])
    assert abs(int(receiver.headers[0]["webhook-timestamp"]) - time.time()) < 60


def test_what_happens_last_is_told_before_the_command_ends(database: Database, receiver: Received) -> None:
    with telling(database, receiver):
        happen(database, "gate", "promoted", "cycle_promoted")

    assert receiver.kinds() == ["gate", "promoted", "cycle_promoted"]


def test_a_receiver_that_does_not_answer_keeps_no_command_from_ending(database: Database, receiver: Received) -> None:
    receiver.script = [Answer(delay_s=4)]

    with telling(database, receiver, patience_s=0.5):
        happen(database, "gate")
        wait_for(receiver, 1)
        asked = time.monotonic()

    assert time.monotonic() - asked < 3
    wait_for_threads()


def test_a_receiver_that_is_down_for_a_while_gets_everything_soon_after_it_is_back(
    database: Database, count: Count, tell: Tell
) -> None:
    with receiving(Received()) as returning:
        known(database, returning)
    away_s = count(short=2, soak=60)
    with telling(database, returning):
        for number in range(20):
            happen(database, f"event_{number}")
            time.sleep(away_s / 20)
        with receiving(returning):
            back = time.monotonic()
            wait_for(returning, 20, timeout_s=away_s + 20)
            waited_s = time.monotonic() - back
            tell(f"receiver down for {away_s} s: 20 events told {waited_s:.0f} s after it was back")

            assert returning.kinds() == [f"event_{number}" for number in range(20)]
            assert waited_s < away_s + 10


def wait_for_threads() -> None:
    """Wait until no thread uses the database any more."""
    for thread in threading.enumerate():
        if thread.name == LEASE:
            thread.join(20)


def test_trouble_is_said_once_and_so_is_its_end(database: Database, receiver: Received) -> None:
    receiver.script = [Answer(500), Answer(500)]

    with telling(database, receiver) as said:
        happen(database, "gate")
        wait_for(receiver, 3)

    assert [sentence.split(": ")[-1] for sentence in said] == [
        "it answered 500. It is tried again.",
        "The receiver of notifications was told of event 1 (gate).",
    ]


# --- killed -------------------------------------------------------------------------------------------------------

# Tells a receiver what the log holds, as the loop does, until its input ends.
SENDER = """
import sys, tomllib
from homeostat.notifications.delivery import notifying
from homeostat.settings import parse_settings
from homeostat.store.database import Database
with Database(sys.argv[1]) as database:
    settings = parse_settings(tomllib.loads(sys.argv[2]))
    with notifying(database, settings, say=print, patience_s=20):
        sys.stdin.read()
"""
SETTINGS = """
[project]
name = "clinic"
data = ["a.csv"]
target = "y"
[features.age]
[notifications]
url = "{url}"
secret = "{secret}"
"""
PLACES = ("notify.before_post", "notify.after_post", "notify.before_commit", "notify.after_commit")


def run_sender(database: Database, received: Received, *, failpoint: str = "") -> int:
    """Run a sender with nothing more to do than what the log holds, and return how it ended."""
    text = SETTINGS.format(url=received.url, secret=SECRET)
    command = [sys.executable, "-c", SENDER, str(database.engine.url), text]
    environment = {**os.environ, "HOMEOSTAT_FAILPOINT": failpoint}
    return subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize("place", PLACES)
def test_a_sender_that_is_killed_anywhere_loses_nothing(database: Database, receiver: Received, place: str) -> None:
    known(database, receiver)
    happen(database, "gate", "promoted", "cycle_promoted")

    killed = run_sender(database, receiver, failpoint=f"{place}=kill@2")
    completed = run_sender(database, receiver)

    again = place in {"notify.after_post", "notify.before_commit"}
    assert (killed, completed) == (-signal.SIGKILL, 0)
    assert receiver.kinds() == ["gate", *["promoted"] * (1 + again), "cycle_promoted"]
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 3


def test_a_disk_that_fails_for_a_moment_only_delays_them(database: Database, receiver: Received) -> None:
    known(database, receiver)
    happen(database, "gate", "promoted")

    assert run_sender(database, receiver, failpoint="notify.before_commit=eio") == 0
    run_sender(database, receiver)

    assert receiver.kinds() == ["gate", "gate", "promoted"]


def test_a_tick_tells_what_it_has_decided(tmp_path: Path, receiver: Received) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "homeostat.toml").write_text(SETTINGS.format(url=receiver.url, secret=SECRET))
    tick = [sys.executable, "-m", "homeostat", "tick", "--project", str(folder)]
    assert subprocess.run(tick, check=False, capture_output=True).returncode == 0
    with Database(f"sqlite:///{folder / '.homeostat' / 'homeostat.db'}") as opened:
        happen(opened, "requested")

    done = subprocess.run(tick, check=False, capture_output=True, text=True)

    assert receiver.kinds() == ["requested"]
    assert SECRET not in done.stdout + done.stderr
