"""What a random split promises and what a split in time does, next to what the rows that came later then showed.

Usage: python -m bench.in_time DATA, the electricity stream (elec2) as CSV, its rows in the order of time; about 2
minutes. Prints Markdown.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from homeostat.data.columns import texts
from homeostat.data.snapshots import take_labelled
from homeostat.data.times import Times, divide, place_in_time
from homeostat.records import Feature, LabelledRows, Schema, Target
from homeostat.settings import TrainingSettings
from homeostat.training.evaluation import auc
from homeostat.training.models import FAMILIES
from homeostat.training.scoring import Graph
from homeostat.training.train import BOOSTER, cross_score, fit, select_training
from homeostat.validation.schema import freeze_schema

TARGET = "class_up"
# The date is time itself: nothing is learned from it that holds tomorrow.
LEFT_OUT = {"date", "day", TARGET}
PARAMETERS = FAMILIES[BOOSTER].prior() | {"num_leaves": 16}
# The past is cut here, in shares of the stream, and judged by the tenth that follows.
CUTS, NEXT_SHARE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 0.1
SETTINGS = TrainingSettings(repeats=1)
NAMES = ("random folds", "folds in time", "random anchor", "newest rows as anchor", "the tenth that came next")


def read_stream(path: Path) -> tuple[Schema, LabelledRows]:
    """Return the stream's rows, each at the moment of its number."""
    frame = pl.read_csv(path)
    names = [name for name in frame.columns if name not in LEFT_OUT]
    n_rows = len(frame)
    rows = LabelledRows(
        texts([str(row) for row in range(n_rows)]),
        {name: frame[name].cast(pl.Float64).to_numpy() for name in names},
        frame[TARGET].cast(pl.Int8).to_numpy(),
        texts(["training"] * n_rows),
        texts(["file"] * n_rows),
        np.zeros(n_rows, dtype=np.int64),
        np.arange(n_rows, dtype=np.float64),
    )
    return freeze_schema([Feature(name, "numeric") for name in names], Target(TARGET, 0, 1)), rows


def judge(schema: Schema, past: LabelledRows, later: LabelledRows) -> list[float]:
    """Return the five AUCs: both cross-validations and both anchors of the past, and that of the later rows."""
    drawn = np.random.default_rng(0).random(len(past.labels)) < SETTINGS.anchor_share
    moments = np.arange(len(past.labels), dtype=np.float64)
    division = divide(Times(moments, "number"), column="row", share=SETTINGS.anchor_share, earlier=None)
    at_random = replace(past, sides=texts(np.where(drawn, "anchor", "training").tolist()), times=None)
    in_time = replace(past, sides=place_in_time(moments, division))
    folds, anchors, graphs = zip(*(judge_split(schema, rows) for rows in (at_random, in_time)), strict=True)
    return [*folds, *anchors, auc(later.labels, score(graphs[1], later))]


def judge_split(schema: Schema, rows: LabelledRows) -> tuple[float, float, Graph]:
    """Return the AUC of the cross-validation and of the anchor, and the graph fitted to the training side."""
    training = select_training(rows, SETTINGS)
    folds = cross_score(FAMILIES[BOOSTER], PARAMETERS, training, schema, SETTINGS)[0]
    told = training.scored
    trained = fit(training, schema, SETTINGS, family=BOOSTER, parameters=PARAMETERS)
    graph, anchor = Graph(trained.graph, schema), np.flatnonzero(rows.sides == "anchor")
    scores = score(graph, rows)[anchor]
    return auc(training.labels[told], folds[told]), auc(rows.labels[anchor], scores), graph


def score(graph: Graph, rows: LabelledRows) -> np.ndarray:
    """Return a graph's answers in double, shape (n_rows,)."""
    return graph.score(rows.columns).astype(np.float64)


def main(arguments: Sequence[str]) -> None:
    """Print the AUCs at each cut, and how far each promise lies from what came on average."""
    schema, rows = read_stream(Path(arguments[0]))
    n_rows, found = len(rows.labels), []
    print(f"| past | {' | '.join(NAMES)} |\n|{'---|' * (len(NAMES) + 1)}")
    for cut in CUTS:
        ends = [0, int(cut * n_rows), int((cut + NEXT_SHARE) * n_rows)]
        past, later = (take_labelled(rows, np.arange(*part)) for part in pairwise(ends))
        found.append(judge(schema, past, later))
        print(f"| {cut:.0%} | {' | '.join(f'{one:.3f}' for one in found[-1])} |", flush=True)
    means = np.mean(found, axis=0)
    print(f"| mean | {' | '.join(f'{one:.3f}' for one in means)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
