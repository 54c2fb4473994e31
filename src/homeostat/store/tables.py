"""Every table of the database: with the blobs, all the state there is.

Not here: the queries, which live beside the concept that owns the table. Moments are microseconds since 1970 UTC
(`Instant`), JSON is text.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text, types

SCHEMA_VERSION = 6
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(types.TypeDecorator[datetime]):
    """An aware moment, stored as whole microseconds since 1970 UTC: exact, and ordered alike in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002  the signature is SQLAlchemy's
        """Return `value` as microseconds; a naive datetime is a programming error."""
        if value is None:
            return None
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:  # noqa: ARG002  the signature is SQLAlchemy's
        """Return the stored microseconds as an aware datetime."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


# SQLite counts rows by itself only in a column declared INTEGER; PostgreSQL wants BIGINT for the same job.
Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

versions = Table(
    "schema_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Instant, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("snapshot", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("run_id", String(64)),
    Column("family", String(40), nullable=False),
    Column("metrics", Text, nullable=False),
)

# The promotion log. Appending epoch n + 1 is the compare-and-swap: the primary key lets exactly one writer succeed.
promotions = Table(
    "promotions",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("release", String(64), nullable=False),
    Column("previous", String(64)),
    Column("decided_at", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("gate", Text, nullable=False),
)

# `observed_seq` and `epoch` are stamped by the one loop when it observes the row (monitoring.production).
predictions = Table(
    "predictions",
    metadata,
    Column("seq", Serial, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("received_at", Instant, nullable=False),
    Column("release", String(64), nullable=False),
    Column("row", LargeBinary, nullable=False),
    Column("probability", Float, nullable=False),
    Column("label", Text, nullable=False),
    Column("observed_seq", BigInteger),
    Column("epoch", Integer),
)
# Partial, as all of these: a new row, which has no number yet, need not enter it while its sender waits.
Index(
    "predictions_observed",
    predictions.c.observed_seq,
    unique=True,
    sqlite_where=predictions.c.observed_seq.is_not(None),
)
Index("predictions_unobserved", predictions.c.seq, sqlite_where=predictions.c.observed_seq.is_(None))
Index(
    "predictions_watched",
    predictions.c.epoch,
    predictions.c.observed_seq,
    sqlite_where=predictions.c.epoch.is_not(None),
)

labels = Table(
    "labels",
    metadata,
    Column("prediction", String(40), primary_key=True),
    Column("label", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("source", String(80), nullable=False),
)

rejections = Table(
    "rejections",
    metadata,
    Column("seq", Serial, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("row", LargeBinary, nullable=False),
    Column("violations", LargeBinary, nullable=False),
)

# One line: what the retention has deleted, where others must know of it. `last_seq` is the highest observed number of
# the deleted predictions, `labels` how many labels went with them; `untold` counts what no event has told yet, as JSON.
retention = Table(
    "retention",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("ran_at", Instant),
    Column("last_seq", BigInteger, nullable=False),
    Column("labels", BigInteger, nullable=False),
    Column("untold", Text, nullable=False),
)

# What an Idempotency-Key was answered with. `body` is the SHA-256 of the request: the same key with another is refused.
# `headers` is JSON.
answers = Table(
    "answers",
    metadata,
    Column("owner", String(80), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("body", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)

# `hash` is the SHA-256 of the whole token: 256 random bits need no slow hash. `scopes` is JSON.
keys = Table(
    "keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("rows_per_minute", Integer),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

# Browsers that have logged in with a key. `hash` is the SHA-256 of the token in their cookie.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("key", String(16), nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# `fired` adds up which rules fired: 1 the book's, 2 the guarded one.
drift_checks = Table(
    "drift_checks",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("first_seq", BigInteger, nullable=False, unique=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("checked_at", Instant, nullable=False),
    Column("release", String(64), nullable=False),
    Column("score", Float, nullable=False),
    Column("fired", Integer, nullable=False),
    Column("report", Text, nullable=False),
)

Index("drift_checks_watched", drift_checks.c.epoch, drift_checks.c.last_seq)
Index("drift_checks_fired", drift_checks.c.epoch, drift_checks.c.fired, drift_checks.c.last_seq)

# What a running judgement of the watch `epoch` has come to, stored in the transaction that moves its cursor: a killed
# loop goes on bit for bit. `kind` names whose state it is, `last_seq` the last line that it has seen.
watch_states = Table(
    "watch_states",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(40), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

# What the outcomes said of one window of predictions, once they were old enough to have theirs.
outcome_checks = Table(
    "outcome_checks",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("first_seq", BigInteger, nullable=False, unique=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("checked_at", Instant, nullable=False),
    Column("release", String(64), nullable=False),
    Column("report", Text, nullable=False),
)

Index("outcome_checks_watched", outcome_checks.c.epoch, outcome_checks.c.last_seq)

# One turn of the loop. `step` names the next step to run, None once the cycle is over; `record` holds what the steps
# so far have left, by step name.
cycles = Table(
    "cycles",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("trigger", String(40), nullable=False),
    Column("reason", Text, nullable=False),
    Column("step", String(40)),
    Column("outcome", String(40)),
    Column("record", Text, nullable=False),
)


# What a person or a program has asked of the loop: retrain, promote, approve or rollback. `outcome` is None until the
# loop has carried it out or refused it; `sentence` then says what became of it.
requests = Table(
    "requests",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("release", String(64)),
    Column("reason", Text, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("decided_at", Instant),
    Column("outcome", String(40)),
    Column("sentence", Text),
)

# Releases that were rolled back. `labels` is how many labels had ever arrived by then: new ones lift the bar.
barred = Table(
    "barred",
    metadata,
    Column("release", String(64), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("labels", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

# What each serving process says of itself every few seconds, one line per release that it has answered with. `latency`
# is JSON: how many requests took how long. `ended_at` is set by a process that ends in order.
worker_reports = Table(
    "worker_reports",
    metadata,
    Column("worker", String(120), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Instant, nullable=False),
    Column("reported_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("answered", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("latency", Text, nullable=False),
)

# How far each receiver of notifications has come in the event log. `problem` is why the last attempt failed.
deliveries = Table(
    "deliveries",
    metadata,
    Column("target", String(64), primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Instant),
    Column("problem", Text),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", String(120), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)
# The log is long, and most questions are about few of its lines: the newest of a kind, the alerts of a watch.
Index("events_by_kind", events.c.kind, events.c.seq)

# One line: the last line of the log, written with it. A log that was cut off at its end is shorter than this says.
event_head = Table(
    "event_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
)
