"""Opening the database, and the only two ways to use it: a read transaction and a write transaction.

Not here: any table or query. The differences between database engines end in this file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import Connection, Dialect, Engine, Table, column, create_engine, event, func, insert, inspect, select
from sqlalchemy import table as named_table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection  # all of the pool are in use

from homeostat.errors import DatabaseTooNew
from homeostat.store.events import FIRST_WITH_HEAD, keep_head
from homeostat.store.failpoints import failpoint
from homeostat.store.tables import SCHEMA_VERSION, metadata, versions
from homeostat.store.turns import TurnRefused, hold_turn

Durability = Literal["power-safe", "process-safe", "relaxed"]

# FULL, not NORMAL: under NORMAL a power cut loses every commit since the last checkpoint (3,240 of 3,240 rows in a
# simulated cut); FULL lost none. https://www.sqlite.org/pragma.html#pragma_synchronous
SYNCHRONOUS: dict[Durability, str] = {"power-safe": "FULL", "process-safe": "NORMAL", "relaxed": "NORMAL"}
BUSY_TIMEOUT_MS = 30_000
# Below every limit on bound parameters.
LINES_PER_STATEMENT = 100
# The log file is cut back to this size when its pages are in the database: a long reader may have let it grow.
WAL_LIMIT_BYTES = 32 * 2**20
# Free pages are used for new rows. Only those beyond a tenth of the file go back to the disk, or the retention of each
# hour would shrink a file that the next hour lets grow again.
SPARE_SHARE = 0.1
INCREMENTAL = 2  # https://www.sqlite.org/pragma.html#pragma_auto_vacuum
# Nothing was written and the file is whole: the caller may try again. Any other error means that nobody knows what the
# disk holds; after a failed sync the next one may claim success for bytes that are gone (fsyncgate).
# https://www.sqlite.org/rescode.html
REFUSALS = frozenset({"SQLITE_BUSY", "SQLITE_FULL"})


class Database:
    """An open database. Close it, or use it as a context manager.

    Parameters
    ----------
    url
        An SQLAlchemy URL, such as `sqlite:////var/lib/homeostat/homeostat.db`. The folder must exist.
    durability
        What a commit survives: a power cut (`power-safe`) or the death of the process (`process-safe`, `relaxed`;
        the last is about when the prediction log answers, not about a commit).
    busy_timeout_ms
        How long a write waits for the one before it; then it is refused (`is_refusal`).

    Raises
    ------
    DatabaseTooNew
        The database was written by a newer Homeostat.
    """

    def __init__(
        self, url: str, *, durability: Durability = "power-safe", busy_timeout_ms: int = BUSY_TIMEOUT_MS
    ) -> None:
        # Errors are answered to senders and written to logs: they must not repeat anybody's row.
        self.engine: Engine = create_engine(url, hide_parameters=True)
        self._busy_timeout_ms = busy_timeout_ms
        self._lock_file = lock_file(url)
        self._prepare_sqlite(SYNCHRONOUS[durability])
        self._writer = self.engine.execution_options(homeostat_write=True)
        self._migrate()

    def _prepare_sqlite(self, synchronous: str) -> None:
        @event.listens_for(self.engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            # SQLAlchemy begins the transactions itself (below): the driver must not begin any of its own.
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")  # first: the next may have to wait
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                # Only in a new file: in any other it either does nothing or waits for whoever writes.
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            for pragma in (
                "journal_mode=WAL",
                f"journal_size_limit={WAL_LIMIT_BYTES}",
                f"synchronous={synchronous}",
                "foreign_keys=ON",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(self.engine, "begin")
        def begin(connection: Connection) -> None:
            # IMMEDIATE: a deferred transaction that turns into a writer fails at once if another wrote meanwhile.
            write = connection.get_execution_options().get("homeostat_write", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def _migrate(self) -> None:
        with self.read() as connection:
            known = inspect(connection).has_table(versions.name)
            found = connection.scalar(select(func.max(versions.c.version))) if known else None
        if found is not None and found > SCHEMA_VERSION:
            self.close()
            raise DatabaseTooNew(
                problem=f"the database has schema version {found}",
                expected=f"version {SCHEMA_VERSION} or older, which this Homeostat can read",
                action="upgrade Homeostat, or restore a backup made before the upgrade",
            )
        if found is None or found < SCHEMA_VERSION:
            with self.write("migrate") as connection:
                # So far a version only adds tables and indexes: what is there already is left as it is, old
                # constraints included.
                metadata.create_all(connection)
                for index in chain.from_iterable(table.indexes for table in metadata.tables.values()):
                    index.create(connection, checkfirst=True)
                if (found or 0) < FIRST_WITH_HEAD:
                    keep_head(connection)
                if (connection.scalar(select(func.max(versions.c.version))) or 0) < SCHEMA_VERSION:
                    connection.execute(insert(versions).values(version=SCHEMA_VERSION, applied_at=datetime.now(UTC)))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a short transaction that sees one state of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, name: str = "write") -> Iterator[Connection]:
        """Open the one write transaction: committed when the block ends, undone if it raises.

        `name` says what is written: a test can make the process fail at `NAME.before_commit` and `NAME.after_commit`.

        A write inside a write is refused after the timeout, as one beside it is that does not end.
        """
        with self._writer.connect() as connection, self._turn(), connection.begin():
            yield connection
            failpoint(f"{name}.before_commit")
        failpoint(f"{name}.after_commit")

    def _turn(self) -> AbstractContextManager[None]:
        if self._lock_file is None:
            return nullcontext()
        return hold_turn(self._lock_file, timeout_s=self._busy_timeout_ms / 1000)

    def give_back(self, n_pages: int) -> bool:
        """Return up to so many free pages of the file to the disk, and whether there were any to return.

        A file of the time before this was done has no map of its pages: it keeps them, and uses them for new rows.
        """
        with self.write("vacuum") as connection:
            free, pages, mode = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("freelist_count", "page_count", "auto_vacuum")
            )
            surplus = min(n_pages, int(free - SPARE_SHARE * pages)) if mode == INCREMENTAL else 0
            for _ in range(surplus):
                # One at a time: Python's driver makes one step of this statement, and a step is a page.
                connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        return surplus > 0

    def checkpoint(self) -> None:
        """Copy what the write-ahead log holds into the file as far as no reader is in the way."""
        # PASSIVE: the others wait for readers, and the writers would wait for them.
        with closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def insert_lines(
    connection: Connection, table: Table, columns: Sequence[str], lines: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many lines of a table inside the caller's write transaction, without a look at each of them.

    Parameters
    ----------
    connection
        A write transaction.
    table
        Where the lines go.
    columns
        The names of the columns that a line holds; the others take the database's default.
    lines
        Values as the database keeps them (a moment is whole microseconds), in the order of `columns`. They pass through
        no type of SQLAlchemy: 1,000 predictions took 13 ms as dictionaries and 6 ms as tuples.
    """
    # Statements of many lines, not one statement for many: the driver gives the interpreter away and takes it back
    # around each execution, and the thread that answers requests pays for it.
    for start in range(0, len(lines), LINES_PER_STATEMENT):
        part = lines[start : start + LINES_PER_STATEMENT]
        statement = insert_statement(connection.dialect, table, tuple(columns), len(part))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


@lru_cache(maxsize=512)
def insert_statement(dialect: Dialect, table: Table, columns: tuple[str, ...], n_lines: int) -> str:
    """Return the statement that inserts some lines given by position, as the driver of a dialect takes it."""
    # psycopg names its parameters by default, and takes them by position as well.
    kind: Callable[..., Dialect] = type(dialect)
    by_position = dialect if dialect.positional else kind(paramstyle="format")
    # Not the table itself: SQLAlchemy would put the columns in the table's order.
    chosen = named_table(table.name, *(column(name, table.c[name].type) for name in columns))
    start, values, line = str(insert(chosen).compile(dialect=by_position)).partition(" VALUES ")
    return start + values + ", ".join([line] * n_lines)


def is_refusal(error: SQLAlchemyError) -> bool:
    """Return whether the database took nothing and is whole, so that the same may be tried again."""
    if isinstance(error, TurnRefused | NoConnection):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlite_errorname", None) in REFUSALS


def resolve_url(url: str, folder: Path) -> str:
    """Return a SQLite URL with its path made absolute from a folder; other URLs unchanged."""
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/"):
        return prefix + str((folder / url.removeprefix(prefix)).resolve())
    return url


def lock_file(url: str) -> Path | None:
    """Return the file beside a SQLite file that its writers lock, None for a database that needs none.

    Never the SQLite file itself: closing any descriptor of it would drop the locks that SQLite holds there.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith((":", "file:")):
        return None
    return Path(f"{Path(parsed.database).resolve()}.lock")


def make_parent(url: str) -> None:
    """Create the folder of a SQLite file; other databases need none."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
