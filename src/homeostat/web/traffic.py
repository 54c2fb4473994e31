"""What the log says of the last hour: rows per minute, and what was rejected and why, without walking through it.

Not here: writing the log (`monitoring.predictions`). Lines come in the order of time, so that the first of a moment is
found by halving: some 20 looks in a million. What is counted is a difference of numbers, exact while none is left out.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
from sqlalchemy import Connection, Table, func, select

from homeostat.monitoring.latencies import N_BUCKETS, upper_quantile
from homeostat.monitoring.worker_reports import WorkerReport, is_alive
from homeostat.store.tables import EPOCH, predictions, rejections

# The hour in bars of three minutes.
BAR, N_BARS = timedelta(minutes=3), 20
# Rejected rows whose reasons are counted, and how many reasons are named.
NEWEST, REASONS = 500, 8


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows answered in each bar, oldest first, the last one under way since `bar_s` seconds; the newest row's moment.

    `n_rejected` were rejected in the same time.
    """

    bars: tuple[int, ...]
    bar_s: float
    n_rejected: int
    latest_at: datetime | None

    @property
    def n_rows(self) -> int:
        """Rows answered in the hour."""
        return sum(self.bars)

    @property
    def per_minute(self) -> float:
        """Rows per minute of late."""
        return 60 * (self.bars[-2] + self.bars[-1]) / (BAR.total_seconds() + self.bar_s)

    @property
    def rejected_share(self) -> float:
        """The share of the rows of the hour that were rejected; 0 if there were none."""
        return self.n_rejected / max(self.n_rejected + self.n_rows, 1)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows were rejected, of how many of the newest, and the share of the most frequent reason in 0-1."""

    column: str
    rule: str
    n_rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What the serving processes say of the release in production; quantiles in seconds, upper ends of a bucket."""

    n_workers: int
    answered: int
    failed: int
    p50_s: float
    p99_s: float
    reported_at: datetime


class TrafficReader:
    """Reads the traffic of a project again and again; where a bar begins is looked for once."""

    def __init__(self) -> None:
        self._begins: dict[tuple[str, datetime], int] = {}
        self._reasons: tuple[int, tuple[Reason, ...]] = (0, ())

    def read(self, connection: Connection, *, now: datetime) -> Traffic:
        """Return the traffic of the last hour."""
        bar = EPOCH + BAR * ((now - EPOCH) // BAR)
        moments = [bar - BAR * back for back in range(N_BARS - 1, -1, -1)]
        self._begins = {key: seq for key, seq in self._begins.items() if key[1] >= moments[0]}
        last, last_refused = newest(connection, predictions), newest(connection, rejections)
        answered: list[int] = []
        for moment in moments:
            after = answered[-1] if answered else 0
            answered.append(self._begin(connection, predictions, moment, after=after, last=last))
        refused = self._begin(connection, rejections, moments[0], after=0, last=last_refused)
        latest = select(predictions.c.received_at).order_by(predictions.c.seq.desc()).limit(1)
        return Traffic(
            tuple(after - before for before, after in pairwise([*answered, last + 1])),
            (now - bar).total_seconds(),
            last_refused + 1 - refused,
            connection.scalar(latest),
        )

    def read_reasons(self, connection: Connection) -> tuple[Reason, ...]:
        """Return why the newest rejected rows were, the most frequent reason first."""
        last = newest(connection, rejections)
        if last != self._reasons[0]:
            query = select(rejections.c.violations).order_by(rejections.c.seq.desc()).limit(NEWEST)
            self._reasons = last, count_reasons(connection.scalars(query))
        return self._reasons[1] if last else ()

    def _begin(self, connection: Connection, table: Table, moment: datetime, *, after: int, last: int) -> int:
        """Return what `find_begin` does; what can change no more is remembered."""
        key = (table.name, moment)
        if key not in self._begins:
            found = find_begin(connection, table, moment, after=after, last=last)
            if found > last:
                return found  # a row of this moment may still come
            self._begins[key] = found
        return self._begins[key]


def newest(connection: Connection, table: Table) -> int:
    """Return the number of the last line of a table, 0 if it is empty."""
    return connection.scalar(select(func.max(table.c.seq))) or 0


def find_begin(connection: Connection, table: Table, moment: datetime, *, after: int, last: int) -> int:
    """Return the number of the first line from a moment on, one more than the last line's if there is none.

    `after` is a number that it is not below, 0 if none is known; `last` the number of the last line.
    """

    def moment_of(seq: int) -> datetime:
        at = select(table.c.received_at).where(table.c.seq <= seq).order_by(table.c.seq.desc()).limit(1)
        return connection.scalar(at) or EPOCH

    if after > last or moment_of(last) < moment:
        return last + 1
    if after:
        return after + bisect_left(range(after, last + 1), moment, key=moment_of)
    reach = 64
    while reach < last and moment_of(last - reach) >= moment:
        reach *= 8
    first = max(last - reach, 0) + 1
    return first + bisect_left(range(first, last + 1), moment, key=moment_of)


def count_reasons(rejected: Iterable[bytes]) -> tuple[Reason, ...]:
    """Return the reasons in some lines of the log, the most frequent first; a row counts once for each."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in rejected:
        counts.update({(str(one["column"]), str(one["rule"])) for one in msgspec.json.decode(line)})
    top = max(counts.values(), default=1)
    return tuple(Reason(*reason, n_rows, n_rows / top) for reason, n_rows in counts.most_common(REASONS))


def sum_latency(reports: Sequence[WorkerReport], *, epoch: int) -> Latency | None:
    """Return what all processes together say of one promotion; None before the first answer."""
    ours = [one for one in reports if one.epoch == epoch]
    counts = np.array([one.latency for one in ours], dtype=np.int64).reshape(-1, N_BUCKETS).sum(axis=0)
    if not counts.sum():
        return None
    return Latency(
        sum(one.ended_at is None and is_alive(one.worker) for one in ours),
        sum(one.answered for one in ours),
        sum(one.failed for one in ours),
        upper_quantile(counts, 0.5),
        upper_quantile(counts, 0.99),
        max(one.reported_at for one in ours),
    )
