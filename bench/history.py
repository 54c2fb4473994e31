"""A turn of the loop on a watch that has seen much: what it costs after 10 thousand rows, and after 10 million.

Not here: the lines of the report (`bench.monitoring`). The history is a real database in which every row is numbered
and every window checked, as the loop leaves them; only that one row and one report are repeated.
"""

import csv
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, func, insert, literal, select, update

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.deployment.registry import require_production
from homeostat.loop import begin_by_hand, observe, tick
from homeostat.monitoring.entries import PREDICTION_COLUMNS, label_to_text, new_prediction_ids, to_microseconds
from homeostat.monitoring.production import last_stamped
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.store.database import insert_lines
from homeostat.store.events import chain_digest
from homeostat.store.leases import take_lease
from homeostat.store.tables import drift_checks, events, predictions, watch_states

TARGET = "outcome"
FEATURES = ("a", "b", "c", "d")
N_TRAINING = 1_000
# A short training: what is measured is the watch. No retraining, whatever the windows say by chance; no outcomes, of
# which there are none; and no wait for the disk, which is the same after any history.
SETTINGS = """
[training]
trials = 1
repeats = 1

[monitoring]
boundary = 0.9
maturity_s = 1e9

[serving]
durability = "process-safe"

[store]
keep_predictions_days = 36500
"""
# What the loop does once a second: with a window that is complete, and without one.
TURNS = ("window", "idle")
N_TURNS = 25
# Rows and checks written in one transaction.
BLOCK = 500_000


# --- a project with a history -------------------------------------------------------------------------------------


def train_small(folder: Path) -> None:
    """Make a project of four features with one release in production."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(N_TRAINING, len(FEATURES))).round(3)
    outcomes = (table[:, 0] + rng.normal(size=N_TRAINING) > 0).astype(int)
    data = folder / "table.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*FEATURES, TARGET])
        writer.writerows([*row, outcome] for row, outcome in zip(table.tolist(), outcomes.tolist(), strict=True))
    proposal = propose_project(data, TARGET)
    write_project(folder / "homeostat.toml", render_settings("bench", str(data), proposal) + SETTINGS)
    with open_project(folder) as project:
        begin_by_hand(project, reason="bench")
        ended = [step.outcome for step in tick(project)]
    if ended[-1] != "promoted":
        sys.exit(f"The training of the scratch project ended with {ended[-1]!r}.")


def send_window(project: Project, rng: np.random.Generator) -> None:
    """Put a window of new rows into the log, as the service does."""
    table = rng.normal(size=(project.settings.monitoring.window, len(FEATURES))).clip(-2, 2).round(3)
    rows = [json.dumps(dict(zip(FEATURES, row, strict=True))).encode() for row in table.tolist()]
    now = to_microseconds(datetime.now(UTC))
    with project.database.write() as connection:
        digest = require_production(connection).release
        ids = new_prediction_ids(len(rows), now)
        lines = [(id_, now, digest, row, 0.5, label_to_text(0)) for id_, row in zip(ids, rows, strict=True)]
        insert_lines(connection, predictions, PREDICTION_COLUMNS, lines)


def grow_history(project: Project, n_rows: int) -> None:
    """Add rows and checks to a watch that has checked one window at least, until it has seen `n_rows`."""
    with project.database.read() as connection:
        first = last_stamped(connection) + 1
    window = project.settings.monitoring.window
    n_rows -= (n_rows - first + 1) % window
    for start in range(first, n_rows + 1, BLOCK):
        end = min(start + BLOCK - 1, n_rows)
        with project.database.write() as connection:
            repeat_row(connection, start, end)
            repeat_check(connection, range(start, end + 1, window), window)
            see_rows(connection, end)
    project.database.checkpoint()


def see_rows(connection: Connection, last: int) -> None:
    """Let whatever is judged row by row have seen the rows up to a number; the arrivals keep theirs in their state."""
    connection.execute(update(watch_states).values(last_seq=last))
    of_arrivals = watch_states.c.kind == "arrivals"
    state = connection.scalar(select(watch_states.c.state).where(of_arrivals))
    if state is None:
        sys.exit("The arrivals have no state: nothing has looked at them yet.")
    seen = json.dumps({**json.loads(state), "seen": last}).encode()
    connection.execute(update(watch_states).where(of_arrivals).values(state=seen))


def repeat_row(connection: Connection, first: int, last: int) -> None:
    """Write the newest row again under the observed numbers from `first` to `last`."""
    newest = connection.execute(select(predictions).order_by(predictions.c.seq.desc()).limit(1)).one()
    numbers = select(literal(first).label("n")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < last))
    values = dict(newest._mapping)  # noqa: SLF001  SQLAlchemy's name for the line as a mapping
    del values["seq"]
    changed = {"id": func.printf("%036x", numbers.c.n), "observed_seq": numbers.c.n}
    cells = [changed.get(name, literal(value, predictions.c[name].type)) for name, value in values.items()]
    connection.execute(insert(predictions).from_select(list(values), select(*cells)))


def repeat_check(connection: Connection, firsts: Sequence[int], window: int) -> None:
    """Write the newest check and its event again for each window, by the observed number that it begins with."""
    check = connection.execute(select(drift_checks).order_by(drift_checks.c.id.desc()).limit(1)).one()
    values = {name: value for name, value in check._mapping.items() if name != "id"}  # noqa: SLF001  as above
    ranges = [{"first_seq": first, "last_seq": first + window - 1} for first in firsts]
    connection.execute(insert(drift_checks), [values | range_ for range_ in ranges])
    told = connection.execute(select(events).where(events.c.kind == "drift_checked").limit(1)).one()
    last = connection.execute(select(events).order_by(events.c.seq.desc()).limit(1)).one()
    payloads = [json.loads(told.payload) | {"window": list(range_.values())} for range_ in ranges]
    connection.execute(insert(events), list(chain_events(payloads, told, seq=last.seq, digest=last.digest)))


def chain_events(payloads: Sequence[Json], like: Row[Any], *, seq: int, digest: str) -> Iterator[Json]:
    """Yield lines of the event log that go on where it ends, of the kind and moment of another line."""
    for payload in payloads:
        previous, text = digest, json.dumps(payload, sort_keys=True)
        seq, digest = seq + 1, chain_digest(seq + 1, like.at, like.kind, text, previous)
        yield {
            "seq": seq,
            "at": like.at,
            "kind": like.kind,
            "payload": text,
            "previous": previous,
            "digest": digest,
        }


# --- what a turn takes --------------------------------------------------------------------------------------------


def measure_history(folder: Path, sizes: Sequence[int]) -> Json:
    """Return the median milliseconds of a turn after each number of rows."""
    train_small(folder)
    rng = np.random.default_rng(1)
    found: Json = {}
    with open_project(folder) as project:
        turn(project, rng)
        for n_rows in sorted(sizes):
            print(f"a history of {n_rows:,} rows ...", file=sys.stderr)
            grow_history(project, n_rows)
            turn(project, rng)  # a warm-up
            taken = [turn(project, rng) for _ in range(N_TURNS)]
            found[str(n_rows)] = {name: statistics.median(one[name] for one in taken) for name in TURNS}
            found[str(n_rows)]["bytes"] = measure_size(folder)
    return found


def turn(project: Project, rng: np.random.Generator) -> dict[str, float]:
    """Return the milliseconds of a turn that finds a new window complete, and of one that finds nothing new."""
    lease = take_lease(project.database, now=datetime.now(UTC))
    send_window(project, rng)
    taken = {}
    for name in TURNS:
        started = time.perf_counter()
        observe(project, lease, now=datetime.now(UTC))
        taken[name] = 1000 * (time.perf_counter() - started)
    return taken


def measure_size(folder: Path) -> int:
    """Return the bytes of the database file."""
    return (folder / ".homeostat" / "homeostat.db").stat().st_size
