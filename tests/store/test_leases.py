"""Exactly one loop acts: a lease is held, runs out, is taken over, and its stale holder writes nothing."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from homeostat.errors import LeaseHeld
from homeostat.store.database import Database
from homeostat.store.leases import (
    LIFETIME,
    Lease,
    find_last_renewal,
    find_lease,
    give_lease_back,
    require_lease,
    take_lease,
    this_process,
)
from homeostat.store.tables import EPOCH, leases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + LIFETIME + timedelta(microseconds=1)

# Takes the lease, says so, and holds it until its input ends.
HOLDER = """
import sys
from datetime import datetime
from homeostat.store.database import Database
from homeostat.store.leases import take_lease
with Database(sys.argv[1]) as database:
    print(take_lease(database, now=datetime.fromisoformat(sys.argv[2])).holder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_holder(url: str) -> Iterator[str]:
    """Hold the lease, taken at NOW, in another process; yield the holder's name."""
    command = [sys.executable, "-c", HOLDER, url, NOW.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def held_elsewhere(database: Database, *, expires_at: datetime) -> None:
    """Let a process of another machine hold the lease: nobody here can see whether it lives."""
    with database.write() as connection:
        values = {"name": "loop", "holder": "elsewhere:1", "fence": 7, "expires_at": expires_at}
        connection.execute(insert(leases).values(values))


def lose_lease(database: Database) -> None:
    """Let another machine have taken the lease meanwhile."""
    with database.write() as connection:
        connection.execute(leases.update().values(holder="elsewhere:1", fence=leases.c.fence + 1))


def write_as(database: Database, lease: Lease) -> None:
    with database.write() as connection:
        connection.execute(insert(leases).values(name="other", holder="", fence=1, expires_at=NOW))
        require_lease(connection, lease)


def test_the_first_to_ask_takes_the_lease(database: Database) -> None:
    lease = take_lease(database, now=NOW)

    assert lease == Lease("loop", this_process(), 1)
    with database.read() as connection:
        assert find_lease(connection) == lease


def test_its_holder_takes_it_again_and_for_longer_without_a_new_fence(database: Database) -> None:
    first = take_lease(database, now=NOW)

    assert take_lease(database, now=NOW + timedelta(seconds=10)) == first
    with database.read() as connection:
        assert connection.scalar(select(leases.c.expires_at)) == NOW + timedelta(seconds=10) + LIFETIME


def test_a_second_process_is_refused_and_told_who_holds_it_until_when(url: str, database: Database) -> None:
    with other_holder(url) as holder, pytest.raises(LeaseHeld) as refused:
        take_lease(database, now=NOW)

    assert refused.value.problem == f"the loop of this project is run by {holder} until 12:01:00 UTC"
    assert refused.value.expected == "one loop at a time"


def test_a_live_holder_that_has_slept_past_its_lease_loses_it(url: str, database: Database) -> None:
    with other_holder(url) as holder:
        lease = take_lease(database, now=LATER)

    assert lease.holder != holder
    assert lease.fence == 2


def test_the_lease_of_a_process_that_was_killed_is_taken_over_at_once(url: str, database: Database) -> None:
    with other_holder(url):
        pass

    assert take_lease(database, now=NOW) == Lease("loop", this_process(), 2)


def test_the_lease_of_another_machine_is_taken_over_only_when_it_has_run_out(database: Database) -> None:
    held_elsewhere(database, expires_at=NOW + LIFETIME)
    with pytest.raises(LeaseHeld):
        take_lease(database, now=NOW)

    assert take_lease(database, now=LATER) == Lease("loop", this_process(), 8)


@pytest.mark.parametrize("ahead", [LIFETIME + timedelta(hours=1), timedelta(days=1), timedelta(days=366)])
def test_the_lease_of_a_holder_whose_clock_was_ahead_ends_a_lifetime_after_somebody_asks(
    database: Database, ahead: timedelta
) -> None:
    held_elsewhere(database, expires_at=NOW + ahead)
    with pytest.raises(LeaseHeld, match="until 12:01:00 UTC"):
        take_lease(database, now=NOW)

    assert take_lease(database, now=LATER) == Lease("loop", this_process(), 8)


def test_a_holder_whose_clock_is_ahead_keeps_its_lease_as_long_as_it_renews_it(database: Database) -> None:
    ahead = timedelta(days=1)
    lease = take_lease(database, now=NOW + ahead, holder="elsewhere:1")
    for second in range(0, 300, 30):
        with pytest.raises(LeaseHeld):
            take_lease(database, now=NOW + timedelta(seconds=second))

        assert take_lease(database, now=NOW + ahead + timedelta(seconds=second), holder="elsewhere:1") == lease


@pytest.mark.parametrize("jump", [timedelta(days=366), timedelta(days=-1), timedelta(0)])
def test_a_holder_keeps_its_lease_whatever_its_own_clock_does(database: Database, jump: timedelta) -> None:
    lease = take_lease(database, now=NOW)

    assert take_lease(database, now=NOW + jump) == lease
    write_as(database, lease)


def test_a_clock_that_was_turned_back_keeps_nobody_out_for_longer_than_a_lifetime(database: Database) -> None:
    take_lease(database, now=NOW, holder="elsewhere:1")
    yesterday = NOW - timedelta(days=1)
    with pytest.raises(LeaseHeld):
        take_lease(database, now=yesterday)

    assert take_lease(database, now=yesterday + LIFETIME).fence == 2


def test_a_holder_writes_as_long_as_nobody_has_taken_its_lease(database: Database) -> None:
    write_as(database, take_lease(database, now=NOW))

    with database.read() as connection:
        assert connection.scalar(select(leases.c.name).where(leases.c.name == "other")) == "other"


def test_a_stale_holder_is_refused_inside_its_own_transaction_and_writes_nothing(database: Database) -> None:
    stale = take_lease(database, now=NOW)
    lose_lease(database)

    with pytest.raises(LeaseHeld) as refused:
        write_as(database, stale)

    assert refused.value.problem == "the lease was lost (fence 1, now 2)"
    with database.read() as connection:
        assert connection.scalars(select(leases.c.name)).all() == ["loop"]


def test_a_lease_that_was_given_back_is_held_by_nobody_and_can_be_taken_at_once(url: str, database: Database) -> None:
    give_lease_back(database, take_lease(database, now=NOW))

    with database.read() as connection:
        assert find_lease(connection) is None
    with other_holder(url) as holder, database.read() as connection:
        assert find_lease(connection) == Lease("loop", holder, 2)


def test_the_fence_goes_on_counting_after_a_lease_was_given_back(database: Database) -> None:
    fences = []
    for _ in range(3):
        lease = take_lease(database, now=NOW)
        fences.append(lease.fence)
        give_lease_back(database, lease)

    assert fences == [1, 2, 3]


def test_a_stale_holder_cannot_give_back_the_lease_of_its_successor(database: Database) -> None:
    stale = take_lease(database, now=NOW)
    lose_lease(database)
    give_lease_back(database, stale)

    with database.read() as connection:
        assert find_lease(connection) == Lease("loop", "elsewhere:1", 2)


def test_leases_of_different_names_do_not_know_of_each_other(database: Database) -> None:
    held_elsewhere(database, expires_at=NOW + LIFETIME)

    assert take_lease(database, name="backup", now=NOW) == Lease("backup", this_process(), 1)


def test_before_anybody_asked_nobody_holds_the_lease(database: Database) -> None:
    with database.read() as connection:
        assert find_lease(connection) is None


def test_the_last_renewal_is_known_while_the_lease_is_held_and_after_it_was_given_back(database: Database) -> None:
    take_lease(database, now=NOW)
    give_lease_back(database, take_lease(database, now=LATER))

    with database.read() as connection:
        assert find_last_renewal(connection) == LATER


def test_nobody_was_seen_before_the_first_lease(database: Database) -> None:
    with database.read() as connection:
        assert find_last_renewal(connection) is None


def test_a_lease_that_an_earlier_version_gave_back_tells_of_nobody(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(leases).values(name="loop", holder="", fence=3, expires_at=EPOCH))

    with database.read() as connection:
        assert find_last_renewal(connection) is None
