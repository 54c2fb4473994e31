"""The lease that lets exactly one loop act, and its fencing number.

Not here: what the holder does. Every write of the holder checks the fence in its own transaction, so that a holder
that slept while another took the lease writes nothing.
"""

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from homeostat.errors import LeaseHeld
from homeostat.store.database import Database
from homeostat.store.tables import EPOCH, leases

LOOP = "loop"
NOBODY = ""
LIFETIME = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was taken; `fence` rises with every change of holder."""

    name: str
    holder: str
    fence: int


def this_process() -> str:
    """Return the name under which this process takes leases: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def take_lease(database: Database, *, name: str = LOOP, now: datetime, holder: str | None = None) -> Lease:
    """Take the lease, or take it again if `holder`, this process by default, holds it.

    A lease is free if it has run out, or if its holder was a process of this machine that is gone.

    Raises
    ------
    LeaseHeld
        Another process holds it.
    """
    holder = this_process() if holder is None else holder
    with database.write("take_lease") as connection:
        row = connection.execute(select(leases).where(leases.c.name == name)).first()
        refused = row is not None and is_in_force(row.holder, row.expires_at, asker=holder, now=now)
        fence = 1 if row is None else row.fence + (row.holder != holder)
        values = {"holder": holder, "fence": fence, "expires_at": now + LIFETIME}
        if row is None:
            connection.execute(insert(leases).values(name=name, **values))
        elif not refused:
            connection.execute(update(leases).where(leases.c.name == name).values(**values))
        elif row.expires_at > now + LIFETIME:
            # By a clock that is ahead of this one: a holder that lives renews it, and the lease of one that does not
            # must not stand for a year. So it lasts as long as one that was taken at this moment.
            connection.execute(update(leases).where(leases.c.name == name).values(expires_at=now + LIFETIME))
    if row is not None and refused:
        raise LeaseHeld(
            problem=f"the loop of this project is run by {row.holder} until "
            f"{min(row.expires_at, now + LIFETIME):%H:%M:%S} UTC",
            expected="one loop at a time",
            action="let that one work, stop it, or wait until its lease runs out",
        )
    return Lease(name, holder, fence)


def is_in_force(holder: str, expires_at: datetime, *, asker: str, now: datetime) -> bool:
    """Return whether a lease keeps `asker` out."""
    return holder not in {asker, NOBODY} and expires_at > now and not is_gone(holder)


def find_lease(connection: Connection, *, name: str = LOOP) -> Lease | None:
    """Return the lease as it stands, run out or not; None if nobody has taken it since it was given back."""
    held = (leases.c.name == name) & (leases.c.holder != NOBODY)
    row = connection.execute(select(leases).where(held)).first()
    return Lease(row.name, row.holder, row.fence) if row else None


def find_last_renewal(connection: Connection, *, name: str = LOOP) -> datetime | None:
    """Return when the lease was last taken or renewed, whether it is held now or not; None if it never was."""
    expires_at = connection.scalar(select(leases.c.expires_at).where(leases.c.name == name))
    # EPOCH: what an earlier version left behind when it gave the lease back.
    return None if expires_at in {None, EPOCH} else expires_at - LIFETIME


def is_gone(holder: str) -> bool:
    """Return whether the holder was a process of this machine that no longer exists."""
    host, _, process = holder.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def require_lease(connection: Connection, lease: Lease) -> None:
    """Raise LeaseHeld, inside the holder's own transaction, if somebody else has taken the lease meanwhile."""
    fence = connection.scalar(select(leases.c.fence).where(leases.c.name == lease.name))
    if fence != lease.fence:
        raise lease_lost(lease, fence)


def lease_lost(lease: Lease, fence: int | None) -> LeaseHeld:
    """Return the three-part error for a lease that another loop has taken meanwhile."""
    return LeaseHeld(
        problem=f"the lease was lost (fence {lease.fence}, now {fence})",
        expected="to hold the lease from the beginning of a step to its end",
        action="nothing: the other loop goes on with the work",
    )


def give_lease_back(database: Database, lease: Lease) -> None:
    """Free the lease if it is still held, so that the next process need not wait; the fence goes on counting.

    What stays tells when the loop was last seen (`find_last_renewal`).
    """
    with database.write("give_lease_back") as connection:
        held = (leases.c.name == lease.name) & (leases.c.fence == lease.fence)
        connection.execute(update(leases).where(held).values(holder=NOBODY))
