"""Running the real loop over a recorded history, in a scratch project, under a clock that the rows turn.

Not here: reading the history (`simulation.history`), what a line says (`simulation.replay_lines`), or what became of it
(`simulation.replay_report`). Between two turns of the loop nothing can happen, so rows go into the log in blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import take_rows, unstack_rows
from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.deployment.registry import require_production
from homeostat.errors import HomeostatError, LeaseHeld, StorageFailed
from homeostat.loop import advance, give_back
from homeostat.monitoring.entries import PREDICTION_COLUMNS, REJECTION_COLUMNS, Line, label_to_text
from homeostat.project import Project
from homeostat.records import CheckedTable, Floats, Json, Promotion, Violation
from homeostat.retraining.cycles import newest_cycles
from homeostat.retraining.requests import ask
from homeostat.simulation.history import NEVER, NO_LABEL, History, Micros, as_datetime
from homeostat.simulation.replay_lines import Place, tell_events, tell_rejected
from homeostat.store.database import insert_lines
from homeostat.store.events import read_events
from homeostat.store.tables import labels, predictions, rejections
from homeostat.training.scoring import POSITIVE_FROM, Graph
from homeostat.validation.checks import check_table
from homeostat.validation.schema import class_label

Approvals: TypeAlias = Literal["grant", "refuse"]
Tell: TypeAlias = Callable[[Json], None]
LABEL_COLUMNS = ("prediction", "label", "received_at", "source")
DAY_US = 86_400 * 10**6
# A window has so many turns of the loop, at the least.
TURNS_PER_WINDOW = 4
# Steps after which a turn is over, idle or not: a loop that finds no rest must not keep the clock still.
MOST_STEPS = 100
ACTOR = "replay"
REJECTED = -1


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay left.

    Arrays of shape (n_rows,): `answered` holds the probability that each row was answered with, NaN if it was rejected,
    `without` that of the first release, and `answered_by` the place of the release in `releases`, -1 if rejected.
    """

    lines: Sequence[Json]
    answered: Floats
    without: Floats
    answered_by: NDArray[np.int64]
    releases: Sequence[str]


@dataclass(slots=True)
class Run:
    """A replay under way: where it stands, and what it has told.

    `counted` holds how many rows are accepted up to each, itself included; `watch_begins` how many were when the
    release in production was promoted.
    """

    project: Project
    history: History
    checked: CheckedTable
    counted: NDArray[np.int64]
    violations: Mapping[int, Sequence[Violation]]
    approvals: Approvals
    promotion: Promotion
    graph: Graph
    arrivals: "Arrivals"
    cursor: int
    answered: Floats
    answered_by: NDArray[np.int64]
    lines: list[Json] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    watch_begins: int = 0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The outcomes in the order in which they become known: each after which row, at which moment, of which row."""

    after: NDArray[np.int64]
    at: Micros
    row: NDArray[np.int64]


def replay(
    project: Project, history: History, *, approvals: Approvals, tell: Tell, progress: Callable[[int], None]
) -> Replayed:
    """Live through a history in a scratch project that has a release in production.

    Parameters
    ----------
    project
        The scratch project; its log is empty.
    approvals
        What a person would say of a release that waits for approval: `grant` says yes at once, `refuse` nothing.
    tell
        Told each line as soon as it is known.
    progress
        Told how many rows have been lived through, now and then.
    """
    run = begin(project, history, approvals)
    try:
        start = 0
        for stop in turns(run):
            lines = answer_rows(run, start, stop)
            lines += take_turn(run, stop)
            run.lines += lines
            for line in lines:
                tell(line)
            progress(stop)
            start = stop
    finally:
        give_back(project)
    without = np.full(len(history), np.nan)
    if run.checked.accepted.any():
        without[run.checked.accepted] = open_graph(project, run.releases[0]).score(run.checked.columns)
    return Replayed(run.lines, run.answered, without, run.answered_by, run.releases)


def begin(project: Project, history: History, approvals: Approvals) -> Run:
    """Return a run that has seen no row."""
    with project.database.read() as connection:
        promotion = require_production(connection)
        cursor = max((event.seq for event in read_events(connection)), default=0)
    checked = check_table(history.cells, project.schema)
    run = Run(
        project,
        history,
        checked,
        np.cumsum(checked.accepted),
        {row: list(found) for row, found in groupby(checked.violations, key=lambda violation: violation.row or 0)},
        approvals,
        promotion,
        open_graph(project, promotion.release),
        order_arrivals(history),
        cursor,
        np.full(len(history), np.nan),
        np.full(len(history), REJECTED),
    )
    run.releases.append(promotion.release)
    return run


def open_graph(project: Project, digest: str) -> Graph:
    """Return the graph of a release."""
    release = recall_release(find_release(digest, project.blobs))
    return Graph(release.graph, release.schema)


def order_arrivals(history: History) -> Arrivals:
    """Return the outcomes in the order in which they become known; one that the clock never reaches is left out."""
    rows = np.flatnonzero((history.labels != NO_LABEL) & (history.available != NEVER))
    after = np.maximum(rows, np.searchsorted(history.clock, history.available[rows], side="left"))
    reached = after < len(history)
    rows, after = rows[reached], after[reached]
    order = np.lexsort((rows, history.available[rows], after))
    return Arrivals(after[order], history.available[rows][order], rows[order])


# --- turns --------------------------------------------------------------------------------------------------------


def turns(run: Run) -> Iterator[int]:
    """Yield after how many rows the loop turns: at each window's end, often in between, and on each new day."""
    window, n_rows = run.project.settings.monitoring.window, len(run.history)
    counted, days = run.counted, run.history.clock // DAY_US
    new_days = np.flatnonzero(np.diff(days, prepend=days[:1])) + 1
    at = 0
    while at < n_rows:
        seen = (int(counted[at - 1]) if at else 0) - run.watch_begins
        complete = int(np.searchsorted(counted, run.watch_begins + (seen // window + 1) * window)) + 1
        next_day = np.searchsorted(new_days, at, side="right")
        day = int(new_days[next_day]) if next_day < len(new_days) else n_rows
        at = min(complete, at + max(1, window // TURNS_PER_WINDOW), day, n_rows)
        yield at


def take_turn(run: Run, stop: int) -> list[Json]:
    """Turn the loop until it is idle, follow production, and return the lines of what has happened."""
    now = as_datetime(int(run.history.clock[stop - 1]))
    for _ in range(MOST_STEPS):
        try:
            done = advance(run.project, now=now)
        except (LeaseHeld, StorageFailed):
            raise
        except HomeostatError:
            if not has_failed(run.project, now):
                raise
            continue
        if done.outcome == "held" and run.approvals == "grant":
            approve(run, stop)
        elif done.idle:
            break
    with run.project.database.read() as connection:
        events = list(read_events(connection, after=run.cursor))
        place = Place(run.history.ids[stop - 1], now)
        lines = list(tell_events(connection, events, place, trigger=run.project.settings.monitoring.trigger))
        promotion = require_production(connection)
    run.cursor = events[-1].seq if events else run.cursor
    if promotion.epoch != run.promotion.epoch:
        follow(run, promotion, stop)
    return lines


def has_failed(project: Project, now: datetime) -> bool:
    """Return whether the last cycle was closed as failed just now: an event tells why, and the loop goes on."""
    with project.database.read() as connection:
        last = newest_cycles(connection, limit=1)
    return any(cycle.outcome == "failed" and cycle.finished_at == now for cycle in last)


def approve(run: Run, stop: int) -> None:
    """Approve the release that the last cycle holds, as a person would."""
    now = as_datetime(int(run.history.clock[stop - 1]))
    with run.project.database.read() as connection:
        release = newest_cycles(connection, limit=1)[-1].record["fit"]["release"]
    with run.project.database.write("replay_approval") as connection:
        ask(connection, "approve", release=release, reason="approved by the replay", actor=ACTOR, now=now)


def follow(run: Run, promotion: Promotion, stop: int) -> None:
    """Answer with the release that is in production now; its watch begins with the next row."""
    run.promotion, run.graph = promotion, open_graph(run.project, promotion.release)
    run.releases.append(promotion.release)
    run.watch_begins = int(run.counted[stop - 1])


# --- rows ---------------------------------------------------------------------------------------------------------


def answer_rows(run: Run, start: int, stop: int) -> list[Json]:
    """Answer the rows of a block and store them, with the outcomes that are known by its end; return its refusals."""
    accepted = run.checked.accepted
    rows = start + np.flatnonzero(accepted[start:stop])
    lines = predict_rows(run, rows)
    refused = (start + np.flatnonzero(~accepted[start:stop])).tolist()
    known = range(*np.searchsorted(run.arrivals.after, [start, stop]).tolist())
    with run.project.database.write("replay_rows") as connection:
        insert_lines(connection, predictions, PREDICTION_COLUMNS, lines)
        insert_lines(connection, rejections, REJECTION_COLUMNS, [refuse(run, row) for row in refused])
        insert_lines(connection, labels, LABEL_COLUMNS, list(label_rows(run, known)))
    return [tell_refusal(run, row) for row in refused]


def predict_rows(run: Run, rows: NDArray[np.int64]) -> list[Line]:
    """Return the lines of accepted rows, answered by the release in production."""
    if not len(rows):
        return []
    columns = take_rows(run.checked.columns, run.counted[rows] - 1)
    scores = run.graph.score(columns)
    run.answered[rows], run.answered_by[rows] = scores, len(run.releases) - 1
    target, keys, times = run.project.schema.target, run.history.keys, run.history.times.tolist()
    texts = [label_to_text(class_label(target, positive=positive)) for positive in (False, True)]
    contents = map(msgspec.json.encode, unstack_rows(columns))
    return [
        (keys[row], times[row], run.promotion.release, content, score, texts[score >= POSITIVE_FROM])
        for row, content, score in zip(rows.tolist(), contents, scores.tolist(), strict=True)
    ]


def tell_refusal(run: Run, row: int) -> Json:
    """Return what a replay tells of a rejected row."""
    return tell_rejected(Place(run.history.ids[row], as_datetime(int(run.history.times[row]))), run.violations[row])


def refuse(run: Run, row: int) -> Line:
    """Return the log's line of a rejected row."""
    sent = {name: cell_of(cells, row) for name, cells in run.history.cells.items()}
    violations = msgspec.json.encode(tell_refusal(run, row)["violations"])
    return int(run.history.times[row]), msgspec.json.encode(sent), violations


def cell_of(cells: NDArray[Any], row: int) -> object:
    """Return a cell as a plain value, None for missing."""
    cell: object = cells[row : row + 1].tolist()[0]
    return None if cell != cell else cell  # noqa: PLR0124  only NaN differs from itself


def label_rows(run: Run, known: range) -> Iterator[Line]:
    """Yield the lines of outcomes that have become known; a row that was rejected has none."""
    target, arrivals = run.project.schema.target, run.arrivals
    texts: Mapping[int, str] = {label: label_to_text(class_label(target, positive=bool(label))) for label in (0, 1)}
    for place in known:
        row = int(arrivals.row[place])
        if run.checked.accepted[row]:
            text = texts[int(run.history.labels[row])]
            yield run.history.keys[row], text, int(arrivals.at[place]), run.history.sources[row]
