"""Judging arrivals on a watch: which rows of the log make the next block, and the record of what was told.

Not here: what an alert needs (`monitoring.arrivals`), or numbering the accepted rows (`monitoring.production`).
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select

from homeostat.data.snapshots import KIND as SNAPSHOTS
from homeostat.monitoring.alerts import raise_alert
from homeostat.monitoring.arrivals import BLOCK, Progress, judge_block
from homeostat.monitoring.indicators import Accepted, Baseline, Rejected
from homeostat.monitoring.observed import accept_again
from homeostat.monitoring.production import last_stamped, watched_range
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.records import Alert, Promotion, Release, Schema
from homeostat.settings import MonitoringSettings
from homeostat.store.blobs import BlobStore
from homeostat.store.database import Database
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import predictions, rejections

KIND = "arrivals"
# Rows of either kind read at once, and such blocks in one call: what a loop finds after a night is taken in pieces.
LARGEST = 10_000
BLOCKS_PER_CALL = 5


class Line(NamedTuple):
    """An arrival as the log has it: `seq` is its observed number if it was accepted, else that of its rejection."""

    received_at: datetime
    seq: int
    row: bytes
    violations: bytes | None


class Standing(msgspec.Struct, frozen=True):
    """Where the judgement of a watch stands: what it has seen and told, and what it measures rejections against.

    `seen` is the last accepted row (its observed number), `rejection` the last rejected one, `rejected_at` the latest
    moment of a rejected one.
    """

    seen: int
    rejection: int
    rejected_at: datetime
    n_arrived: int
    n_rejected: int
    n_blocks: int = 0
    told: tuple[tuple[str, str], ...] = ()


class Broken(msgspec.Struct, frozen=True):
    """What of a stored violation is needed here."""

    column: str
    rule: str


BROKEN = msgspec.json.Decoder(list[Broken])


def watch_arrivals(
    database: Database,
    release: Release,
    promotion: Promotion,
    settings: MonitoringSettings,
    *,
    lease: Lease,
    now: datetime,
    blobs: BlobStore | None = None,
) -> list[Alert]:
    """Judge what has arrived since the last call, if it is a block, and return the alerts, which it has put in the log.

    Accepted rows count once they are numbered for this watch. Everything that is there makes one block, so that a
    sorted batch is seen whole. Without `blobs`, no row counts as rejected before training.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was told until then stays told.
    """
    alerts: list[Alert] = []
    for _ in range(BLOCKS_PER_CALL):
        with database.read() as connection:
            found = find_standing(connection, promotion)
            standing = found or begin(connection, release, promotion, blobs)
            lines = next_block(connection, promotion, standing)
        if not lines and found is not None:
            break
        standing, told = judge_lines(lines, release, standing, alpha_life=settings.alpha_life)
        with database.write("check_arrivals") as connection:
            require_lease(connection, lease)
            record(connection, standing, told, epoch=promotion.epoch, now=now)
        alerts += told
    return alerts


def find_standing(connection: Connection, promotion: Promotion) -> Standing | None:
    """Return where the watch stands, None before its first call, or if another version has left it."""
    found = find_state(connection, epoch=promotion.epoch, kind=KIND)
    if found is not None:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(found[1], type=Standing)
    return None


def begin(connection: Connection, release: Release, promotion: Promotion, blobs: BlobStore | None) -> Standing:
    """Return the beginning of a watch: its own accepted rows, and what was rejected after the promotion."""
    watched = watched_range(connection, epoch=promotion.epoch)
    counted = None if blobs is None else count_rejected_before(str(release.lineage.get("snapshot", "")), blobs)
    n_arrived, n_rejected = counted or (release.profile.n_rows, 0)
    return Standing(
        seen=watched[0] - 1 if watched else last_stamped(connection),
        rejection=last_rejection(connection, until=promotion.decided_at),
        rejected_at=promotion.decided_at,
        n_arrived=n_arrived,
        n_rejected=n_rejected,
    )


def count_rejected_before(snapshot: str, blobs: BlobStore) -> tuple[int, int] | None:
    """Return how many rows the files of a release had, and how many the rules rejected; None if nothing tells.

    A snapshot without files of its own holds the one that it names. Labelled predictions are left out: they were
    accepted, and those that were not have no label.
    """
    asked: set[str] = set()
    while snapshot and snapshot not in asked and (folder := blobs.folder(SNAPSHOTS, snapshot)) is not None:
        asked.add(snapshot)
        try:
            sources = json.loads((folder / "lineage.json").read_bytes())["sources"]
            files = [source for source in sources if source["kind"] not in {"snapshot", "production"}]
            if files:
                return sum(source["rows"] for source in files), sum(source["rejected"] for source in files)
            snapshot = next((source["name"] for source in sources if source["kind"] == "snapshot"), "")
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return None


def last_rejection(connection: Connection, *, until: datetime) -> int:
    """Return the number of the last row that was rejected up to a moment, 0 if there is none."""
    query = select(rejections.c.seq).where(rejections.c.received_at <= until).order_by(rejections.c.seq.desc()).limit(1)
    return connection.scalar(query) or 0


def next_block(connection: Connection, promotion: Promotion, standing: Standing) -> list[Line]:
    """Return the lines of the next block in the order of their arrival, none if it is not complete."""
    watched = watched_range(connection, epoch=promotion.epoch)
    newest = connection.scalar(select(func.max(rejections.c.seq))) or 0
    # The retention may have deleted the end of the table: SQLite then gives its numbers again.
    rewound = newest < standing.rejection
    after = last_rejection(connection, until=standing.rejected_at) if rewound else standing.rejection
    if (watched[1] - standing.seen if watched else 0) + newest - after < BLOCK:
        return []
    accepted = read_accepted(connection, promotion, after=standing.seen)
    rejected = read_rejected(connection, after=after)
    lines = sorted(cut_alike(accepted, rejected), key=lambda line: line.received_at)
    return lines if len(lines) >= BLOCK else []


def read_accepted(connection: Connection, promotion: Promotion, *, after: int) -> list[Line]:
    """Return the first accepted rows of a watch after a number."""
    place = predictions.c.observed_seq
    query = select(predictions.c.received_at, place, predictions.c.row).where(
        predictions.c.epoch == promotion.epoch, place > after
    )
    return [Line(*row, None) for row in connection.execute(query.order_by(place).limit(LARGEST))]


def read_rejected(connection: Connection, *, after: int) -> list[Line]:
    """Return the first rejected rows after a number, up to a request of which accepted rows are not numbered yet.

    Judged without those, the request would seem to be all rejected.
    """
    waiting = set(connection.scalars(select(predictions.c.received_at).where(predictions.c.observed_seq.is_(None))))
    columns = (rejections.c.received_at, rejections.c.seq, rejections.c.row, rejections.c.violations)
    query = select(*columns).where(rejections.c.seq > after).order_by(rejections.c.seq).limit(LARGEST)
    lines = [Line(*row) for row in connection.execute(query)]
    return list(takewhile(lambda line: line.received_at not in waiting, lines))


def cut_alike(accepted: Sequence[Line], rejected: Sequence[Line]) -> list[Line]:
    """Return the lines of both kinds up to one moment, if there are more of one kind than were read.

    The other kind would otherwise reach further, and its share in the block would be too large.
    """
    ends = [lines[-1].received_at for lines in (accepted, rejected) if len(lines) == LARGEST]
    if not ends:
        return [*accepted, *rejected]
    return [*cut_after(accepted, min(ends)), *cut_after(rejected, min(ends))]


def cut_after(lines: Sequence[Line], end: datetime) -> Sequence[Line]:
    """Return the lines up to the last that is no later than a moment.

    Not up to the first that is later: one line from the future, of a clock that was wrong, would end every block before
    it began, and nothing would ever be judged again.
    """
    return lines[: max((place for place, line in enumerate(lines, start=1) if line.received_at <= end), default=0)]


def judge_lines(
    lines: Sequence[Line], release: Release, standing: Standing, *, alpha_life: float
) -> tuple[Standing, tuple[Alert, ...]]:
    """Return where the watch stands after these lines, and what they tell."""
    arrivals = [arrival for line in lines if (arrival := read_arrival(line, release.schema)) is not None]
    baseline = Baseline(release.schema, release.profile, standing.n_arrived, standing.n_rejected)
    so_far = Progress(standing.n_blocks, frozenset(standing.told))
    progress, alerts = judge_block(baseline, so_far, arrivals, alpha_life=alpha_life)
    refused = [line for line in lines if line.violations is not None]
    after = msgspec.structs.replace(
        standing,
        seen=max((line.seq for line in lines if line.violations is None), default=standing.seen),
        rejection=max((line.seq for line in refused), default=standing.rejection),
        rejected_at=max([standing.rejected_at, *(line.received_at for line in refused)]),
        n_blocks=progress.n_blocks,
        told=tuple(sorted(progress.told)),
    )
    return after, alerts


def read_arrival(line: Line, schema: Schema) -> Accepted | Rejected | None:
    """Return a line as an arrival; None for an accepted row that this schema does not accept: it was edited since."""
    if line.violations is None:
        row = accept_again(line.row, schema)
        return None if row is None else Accepted(row)
    try:
        sent, violations = msgspec.json.decode(line.row), BROKEN.decode(line.violations)
    except msgspec.DecodeError:  # written by another version: all that is known is that it was rejected
        return Rejected({}, frozenset())
    return Rejected(sent if isinstance(sent, dict) else {}, frozenset((v.column, v.rule) for v in violations))


def record(connection: Connection, standing: Standing, alerts: Sequence[Alert], *, epoch: int, now: datetime) -> None:
    """Store where the watch stands, and what it has told as events, in the caller's transaction."""
    store_state(connection, epoch=epoch, kind=KIND, last_seq=standing.seen, state=msgspec.json.encode(standing))
    for alert in alerts:
        raise_alert(connection, alert, epoch=epoch, now=now)
