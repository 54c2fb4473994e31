"""Putting a challenger before the gate: it is inspected, timed, and answers the rows that the champion answers.

Not here: the criteria (`deployment.gate`), or the process in which this runs (`retraining.attempt`). What is our own
(rows, champions) is loaded first; then that process limits itself, and only then is the challenger's graph opened.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from homeostat.data.columns import take_rows
from homeostat.data.snapshots import load_snapshot
from homeostat.deployment.artifacts import GRAPH, check_golden, find_release, open_release
from homeostat.deployment.criteria import HeldOut
from homeostat.deployment.gate import Rules, judge
from homeostat.deployment.inspection import find_input_problem, require_forms, require_known_files, require_own_graph
from homeostat.deployment.limits import peak_bytes
from homeostat.deployment.soundness import (
    find_column_problem,
    judge_columns,
    judge_latency,
    judge_memory,
    judge_size,
)
from homeostat.errors import ArtifactError, HomeostatError, ReleaseMissing, SettingsInvalid
from homeostat.project import Project
from homeostat.records import Columns, Criterion, Floats, GateResult, LabelledRows, Release
from homeostat.retraining.cases import Case
from homeostat.retraining.judging_rows import anchor_rows, name_rows, recent_rows
from homeostat.training.evaluation import auc
from homeostat.training.scoring import GRAPH_ERRORS, Graph

# Rows that are answered at once: what a graph needs of memory does not grow with the rows that judge.
BLOCK = 2_000
# Single rows that are timed, in how many rounds (the best counts), and when a slow graph has shown enough.
TIMED_ROWS, ROUNDS, ENOUGH_S = 200, 3, 3.0
# Words by which ONNX Runtime says that it got no memory.
OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "memory allocation")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A challenger whose bytes are its own, and what is loaded for judging it.

    `recent` is None if recent rows are not asked for. `champion` is None before the first, or if it has other columns.
    """

    challenger: Release
    anchor: LabelledRows
    recent: LabelledRows | None
    champion: Release | None
    past: Sequence[Release]
    passed: tuple[Criterion, ...]


class Refused(Exception):
    """A challenger that is refused before its answers are worth a look."""

    def __init__(self, criterion: Criterion) -> None:
        super().__init__(criterion.sentence)
        self.criterion = criterion


def refuse(name: str, sentence: str) -> Refused:
    """Return the refusal at a named check, in words."""
    return Refused(Criterion(name, passed=False, sentence=sentence, figures={}))


def require(criterion: Criterion) -> Criterion:
    """Return a criterion that passed; Refused by any other."""
    if not criterion.passed:
        raise Refused(criterion)
    return criterion


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn whatever a challenger makes others raise into its refusal, at a named check or for its memory."""
    try:
        yield
    except ArtifactError as error:
        raise refuse(name, error.problem) from error
    except MemoryError as error:
        raise refuse("memory", "the judging process got no more memory") from error
    except (*GRAPH_ERRORS, TypeError, RecursionError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        starved = any(words in str(error).lower() for words in OUT_OF_MEMORY)
        raise refuse("memory" if starved else name, f"it does not run: {said[0][:300]}") from error


# --- before the limits --------------------------------------------------------------------------------------------


def prepare(project: Project, case: Case) -> Prepared:
    """Verify a challenger's bytes, and load what it is judged by.

    Raises
    ------
    Refused
        Its files are not those of a release, or its columns not those of its snapshot.
    HomeostatError
        What is our own cannot be loaded.
    """
    folder = find_release(case.challenger, project.blobs)
    with refusing("artifact"):
        graph = folder / GRAPH
        size = require(judge_size(graph.stat().st_size if graph.is_file() else 0))
        require_known_files(folder)
        release = open_release(folder)
        require_forms(folder)
        digest = str(release.lineage["snapshot"])
    try:
        rows = load_snapshot(digest, schema=release.schema, blobs=project.blobs).rows
    except SettingsInvalid as error:
        problem = find_column_problem(release.schema, project.schema) or error.problem
        raise Refused(judge_columns(problem, release.schema)) from error
    seed, ids = case.rules.seed, case.recent_ids
    champion = None if case.champion is None else open_release(find_release(case.champion, project.blobs))
    passed = [size]
    if champion is not None and columns_of(champion) != columns_of(release):
        champion = None
        words = "the champion has other columns and cannot answer these rows: there is nothing to compare with"
        passed.append(Criterion("champion", passed=True, sentence=words, figures={}))
    past, lost = open_past(project, case.past if champion is not None else ())
    return Prepared(
        release,
        anchor_rows(rows, seed=seed),
        None if ids is None else recent_rows(project, rows, release.schema, ids, seed=seed),
        champion,
        [one for one in past if columns_of(one) == columns_of(release)],
        (*passed, *lost),
    )


def open_past(project: Project, digests: Sequence[str]) -> tuple[list[Release], list[Criterion]]:
    """Return the champions of before that can be opened, and a note on each that cannot: the champion still judges."""
    found: list[Release] = []
    lost: list[Criterion] = []
    for digest in digests:
        try:
            found.append(open_release(find_release(digest, project.blobs)))
        except (ArtifactError, ReleaseMissing, OSError) as error:
            problem = error.problem if isinstance(error, HomeostatError) else error
            words = f"past champion {digest[:12]} is left out, it cannot be opened: {problem}"
            lost.append(Criterion("past", passed=True, sentence=words, figures={"release": digest}))
    return found, lost


def columns_of(release: Release) -> set[tuple[str, str]]:
    """Return name and kind of each input: releases that share them can answer the same rows, whatever else differs."""
    return {(feature.name, feature.kind) for feature in release.schema.features}


# --- within the limits --------------------------------------------------------------------------------------------


def compare(prepared: Prepared, case: Case) -> GateResult:
    """Return the gate's verdict on a challenger: every criterion, or the one that it cannot be judged beyond."""
    before = peak_bytes()
    try:
        program, graph = judge_program(prepared)
        rules, name = case.rules, name_rows(prepared.anchor)
        rules = replace(rules, enforced=rules.enforced and name != case.old_world)
        anchor, recent = hold_out(prepared, graph)
    except Refused as refused:
        return GateResult((refused.criterion,))
    memory = judge_memory(max(0, peak_bytes() - before), case.limits.memory_bytes)
    answers = judge(anchor, recent, rules, schema=prepared.challenger.schema)
    marked = [mark_anchor(one, rules, name) for one in answers.criteria]
    return GateResult((*program, memory, *marked))


def judge_program(prepared: Prepared) -> tuple[list[Criterion], Graph]:
    """Judge the challenger as a program, and return its graph, which runs; Refused if it does not pass."""
    release = prepared.challenger
    with refusing("artifact"):
        require_own_graph(release)
    with refusing("columns"):
        columns = require(judge_columns(find_input_problem(release.graph, release.schema), release.schema))
    with refusing("artifact"):
        graph = Graph(release.graph, release.schema)
        difference = check_golden(release, graph)
    sound = Criterion(
        "artifact",
        passed=True,
        sentence=f"every byte verified; {len(release.golden.expected)} golden rows answered within {difference:.1g}",
        figures={"largest_difference": difference},
    )
    with refusing("latency"):
        latency = require(time_rows(graph, release.golden.columns, prepared.champion))
    return [sound, *prepared.passed, columns, latency], graph


def time_rows(graph: Graph, columns: Columns, champion: Release | None) -> Criterion:
    """Time single rows, the champion's side by side if it has their columns: the best of a few rounds counts.

    Processor time, not time by the clock: a graph's own thread does all of its work, and what else the machine is busy
    with is not its fault.
    """
    n_rows = min(TIMED_ROWS, len(next(iter(columns.values()))))
    rows = [take_rows(columns, np.array([number])) for number in range(n_rows)]
    rival = None if champion is None else Graph(champion.graph, champion.schema)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        ours, theirs = [], []
        for row in rows:
            if rival is not None:
                theirs.append(time_row(rival, row))
            ours.append(time_row(graph, row))
            if sum(ours) > ENOUGH_S:
                return judge_latency(np.array(ours), np.array(theirs) if rival else None)
        found = judge_latency(np.array(ours), np.array(theirs) if rival else None)
        if found.passed:
            break
    return found


def time_row(graph: Graph, row: Columns) -> float:
    """Return the processor time of one answer, in seconds."""
    began = time.thread_time()
    graph.score(row)
    return time.thread_time() - began


def hold_out(prepared: Prepared, graph: Graph) -> tuple[HeldOut, HeldOut | None]:
    """Return anchor and recent rows with the probabilities that challenger, champion and best past champion give."""
    rivals = [prepared.champion, *prepared.past] if prepared.champion else []
    graphs = [Graph(one.graph, one.schema) for one in rivals]
    anchor, recent = prepared.anchor, prepared.recent
    on_anchor = [score(one, anchor.columns) for one in graphs]
    champion = on_anchor[0] if on_anchor else None
    best = max(on_anchor[1:], key=lambda scores: auc(anchor.labels, scores), default=None)
    first = HeldOut(anchor.labels, score_guarded(graph, anchor.columns), champion, best, anchor.columns)
    if recent is None:
        return first, None
    rival = score(graphs[0], recent.columns) if graphs else None
    return first, HeldOut(recent.labels, score_guarded(graph, recent.columns), rival, None, recent.columns)


def score(graph: Graph, columns: Columns) -> Floats:
    """Return a graph's answers to rows, a block at a time, shape (n_rows,)."""
    n_rows = len(next(iter(columns.values())))
    parts = [graph.score(take_rows(columns, one)) for one in blocks(n_rows)]
    return np.concatenate([np.empty(0), *parts]).astype(np.float64)


def blocks(n_rows: int, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Yield row numbers, a block at a time."""
    for start in range(0, n_rows, size):
        yield np.arange(start, min(start + size, n_rows))


def score_guarded(graph: Graph, columns: Columns) -> Floats:
    """Return a challenger's answers, NaN for each row that it does not answer; Refused if memory is what it lacks."""
    n_rows = len(next(iter(columns.values())))
    parts: list[Floats] = [np.empty(0)]
    for block in blocks(n_rows):
        try:
            parts.append(answer_block(graph, take_rows(columns, block)))
        except Refused as refused:
            if refused.criterion.name != "answers":
                raise
            parts += [answer_row(graph, take_rows(columns, np.array([number]))) for number in block]
    return np.concatenate(parts)


def answer_block(graph: Graph, columns: Columns) -> Floats:
    """Return the answers to some rows; Refused if the graph fails, or gives another number of answers."""
    n_rows = len(next(iter(columns.values())))
    with refusing("answers"):
        found = graph.score(columns).astype(np.float64)
    if len(found) != n_rows:
        raise refuse("answers", f"{len(found)} answers to {n_rows} rows")
    return found


def answer_row(graph: Graph, row: Columns) -> Floats:
    """Return the answer to one row, NaN if there is none."""
    try:
        return answer_block(graph, row)
    except Refused:
        return np.array([np.nan])


def mark_anchor(criterion: Criterion, rules: Rules, name: str) -> Criterion:
    """Note in the comparison on the anchor which rows these are and whether they could refuse: a later verdict asks."""
    if criterion.name != "anchor":
        return criterion
    return replace(criterion, figures={**criterion.figures, "rows": name, "enforced": rules.enforced})
