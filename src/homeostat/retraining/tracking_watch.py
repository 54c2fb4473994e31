"""When the loop looks after the experiment manager between cycles: about once a minute, if there is a reason to.

Not here: what is told (`retraining.telling`), or what a moved alias asks for (`retraining.alias_requests`). A look
takes a process that loads MLflow, over a second: an embedded store is looked into only if its file has changed.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import make_url

from homeostat.errors import HomeostatError, LeaseHeld
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.alias_requests import find_move, follow_alias
from homeostat.retraining.attempt import run_part
from homeostat.retraining.telling import list_untold, note_failure
from homeostat.store.leases import Lease, lease_lost, require_lease, take_lease

EVERY = timedelta(seconds=60)
# How often the lease is renewed while the child works.
RENEW_S = 10.0
# Beside the states of watches: this one belongs to none.
NO_WATCH, KIND = 0, "tracking"


@dataclass(frozen=True, slots=True)
class Looked:
    """The last look: up to which cycle all is told, when it was, the embedded store's files then, what failed."""

    told: int
    at: str
    store: Sequence[Sequence[int]] | None = None
    problem: str | None = None


def keep_in_step(project: Project, lease: Lease, *, now: datetime) -> None:
    """Tell the experiment manager what it has missed, and hear what its alias asks for, if it is time.

    What fails there is told once, and tried again with the next look.
    """
    if not project.is_tracked:
        return
    with project.database.read() as connection:
        found = find_state(connection, epoch=NO_WATCH, kind=KIND)
        last = None if found is None else Looked(found[0], **json.loads(found[1]))
        move = find_move(connection)
    if last is None:
        remember(project, lease, Looked(0, now.isoformat()))  # the first look comes once there was time for a cycle
    elif last.problem is None and move is not None and move.is_answered:
        # Not where the last look failed: every turn of the loop would wait for what is away, perhaps for days.
        remember(project, lease, look_now(project, lease, last, now=now))
    elif is_time(last, now=now):
        due = may_have_changed(project, last)
        looked = look_now(project, lease, last, now=now) if due else replace(last, at=now.isoformat())
        remember(project, lease, looked)


def is_time(last: Looked, *, now: datetime) -> bool:
    """Return whether the last look is long enough ago; a clock that was set back must not stop them for a year."""
    return not timedelta() <= now - datetime.fromisoformat(last.at) < EVERY


def may_have_changed(project: Project, last: Looked) -> bool:
    """Return whether something may have changed since the last look, here or there."""
    files = embedded_files(project)
    if files is None or last.problem is not None or files != last.store:
        return True
    with project.database.read() as connection:
        return bool(list_untold(connection, after=last.told))


def look_now(project: Project, lease: Lease, last: Looked, *, now: datetime) -> Looked:
    """Tell what is untold, look at the alias, and return what is to be remembered."""
    with project.database.read() as connection:
        untold = list_untold(connection, after=last.told)

    def run(part: str, request: Json) -> Json:
        return run_part(part, project, request, while_waiting=Renewal(project, lease))

    told, part = last.told, "tell"
    try:
        if untold:
            run("tell", {"cycles": untold})
            told = max(one["number"] for one in untold)
        part = "alias"
        follow_alias(project, lease, run, now=now)
    except LeaseHeld:
        raise
    except HomeostatError as error:
        problem = error.problem
        if last.problem is None:  # once: it may be away for days
            problem = note_failure(project, lease, error, part=part, cycle=None, now=now)
        return Looked(told, now.isoformat(), None, problem)
    return Looked(told, now.isoformat(), embedded_files(project))


def tell_now(project: Project) -> None:
    """Tell the experiment manager what it has missed, without waiting for a loop; nothing while another loop acts."""
    now = datetime.now(UTC)
    if not project.is_tracked:
        return
    with project.database.read() as connection:
        found = find_state(connection, epoch=NO_WATCH, kind=KIND)
        told = 0 if found is None else found[0]
        if not list_untold(connection, after=told):
            return
    try:
        lease = take_lease(project.database, now=now)
    except LeaseHeld:
        return
    remember(project, lease, look_now(project, lease, Looked(told, now.isoformat()), now=now))


def remember(project: Project, lease: Lease, looked: Looked) -> None:
    """Keep what a look has come to."""
    state = asdict(looked)
    told = state.pop("told")
    with project.database.write("keep_in_step") as connection:
        require_lease(connection, lease)
        store_state(connection, epoch=NO_WATCH, kind=KIND, last_seq=told, state=json.dumps(state).encode())


def embedded_files(project: Project) -> Sequence[Sequence[int]] | None:
    """Return when the files of an embedded store were changed and how large they are, None for another store."""
    location = make_url(project.tracking_url)
    if location.get_backend_name() != "sqlite":
        return None
    paths = (Path(f"{location.database}{ending}") for ending in ("", "-wal"))
    return [[path.stat().st_mtime_ns, path.stat().st_size] for path in paths if path.exists()]


class Renewal:
    """Renews the lease while a child works; LeaseHeld if another loop took it meanwhile."""

    def __init__(self, project: Project, lease: Lease) -> None:
        self._project, self._lease, self._renewed = project, lease, time.monotonic()

    def __call__(self) -> None:
        """Renew the lease if it is time."""
        if time.monotonic() - self._renewed < RENEW_S:
            return
        renewed = take_lease(self._project.database, now=datetime.now(UTC))
        if renewed.fence != self._lease.fence:
            raise lease_lost(self._lease, renewed.fence)
        self._renewed = time.monotonic()
