"""Training on the Pima table: how good the whole procedure is, and where the time of `homeostat train` goes.

Usage: bench/training.py [CSV], by default the file that HOMEOSTAT_PIMA names. Prints Markdown, writes
output/bench-training.json.

Quality is nested cross-validation: in each of 5 x 5 outer folds the whole procedure (search of both families,
comparison, final fit, calibration) sees the outer training part only, and its compiled graph scores the held-out part.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.data.columns import take_rows, texts
from homeostat.data.snapshots import FILE
from homeostat.data.sources import open_source
from homeostat.loop import ORDER, begin_by_hand, tick
from homeostat.project import open_project, schema_of
from homeostat.records import Floats, Json, LabelledRows, Schema
from homeostat.retraining.attempt import ENVIRONMENT
from homeostat.retraining.labelled_tables import load_source
from homeostat.settings import TrainingSettings, parse_settings
from homeostat.training.evaluation import auc, compare_auc, estimate_auc, estimate_mean, estimate_to_json
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.models import BASELINE, FAMILIES
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.scoring import Graph
from homeostat.training.train import BOOSTER, fit, search, select_training

TARGET = "Outcome"
REPEATS, FOLDS = 5, 5
PROCESSES = 2
SEED = 0
OUTPUT = Path(__file__).resolve().parent.parent / "output" / "bench-training.json"
# What is scored on each outer held-out part.
ARMS = {
    "procedure": "the whole procedure",
    "logistic": "logistic baseline alone, its search included",
    "defaults": "LightGBM defaults",
}
# What a child process of the loop imports before it works.
IMPORTS = {"train": "homeostat.retraining.packing", "track": "homeostat.training.tracking"}

Labels = NDArray[np.int8]
Scores = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Scored:
    """One outer fold: the held-out rows, their scores by arm, the family that shipped, and how long all of it took."""

    held: NDArray[np.int64]
    scores: Scores
    family: str
    seconds: float


# --- quality ------------------------------------------------------------------------------------------------------


def load_table(data: Path) -> tuple[LabelledRows, Schema]:
    """Return the accepted rows of a table and the schema that `homeostat init` guesses for it."""
    proposal = propose_project(data, TARGET)
    settings = parse_settings(tomllib.loads(render_settings("pima", str(data), proposal)))
    schema = schema_of(settings)
    source = open_source(str(data), folder=data.parent)
    return load_source(source, schema, origin=FILE, anchor_share=0.2, recent_share=0.4).rows, schema


def outer_folds(labels: Labels) -> Iterator[NDArray[np.int64]]:
    """Yield the held-out rows of each outer fold, repeat after repeat."""
    for repeat in range(REPEATS):
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED + repeat)
        yield from (held for _, held in splitter.split(labels, labels))


def score_outer_fold(held: NDArray[np.int64], *, rows: LabelledRows, schema: Schema) -> Scored:
    """Run the whole procedure without the held-out rows, and score them by its graph and by its rivals' graphs."""
    sides = ["training"] * len(rows.labels)
    for row in held.tolist():
        # The outer held-out part is what the anchor is to `homeostat train`: no training sees it.
        sides[row] = "anchor"
    settings = TrainingSettings()
    started = time.perf_counter()
    visible = select_training(replace(rows, sides=texts(sides)), settings)
    found = search(visible, schema, settings)
    trained = fit(visible, schema, settings, family=found["family"], parameters=found["parameters"])
    seconds = time.perf_counter() - started
    baseline = found["candidates"][BASELINE]["parameters"]
    preprocessor = fit_preprocessor(visible.columns, schema)
    design = design_matrix(preprocessor, visible.columns, schema)
    defaults = FAMILIES[BOOSTER].fit(design, visible.labels, parameters={"num_iterations": 100}, seed=settings.seed)
    graphs = {
        "procedure": trained.graph,
        "logistic": fit(visible, schema, settings, family=BASELINE, parameters=baseline).graph,
        "defaults": compile_release(preprocessor, defaults, Calibration(1.0, 0.0), schema),
    }
    outside = take_rows(rows.columns, held)
    scores = {arm: Graph(graph, schema).score(outside).astype(np.float64) for arm, graph in graphs.items()}
    return Scored(held, scores, found["family"], seconds)


def measure_quality(rows: LabelledRows, schema: Schema) -> Json:
    """Return each arm's figures over all outer folds."""
    work = partial(score_outer_fold, rows=rows, schema=schema)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        folds = list(pool.map(work, outer_folds(rows.labels)))
    scores = {arm: gather(folds, arm, len(rows.labels)) for arm in ARMS}
    families = [fold.family for fold in folds]
    return {
        "n_rows": len(rows.labels),
        "arms": {arm: summarise(rows.labels, found, folds, arm) for arm, found in scores.items()},
        "difference": {
            arm: estimate_to_json(compare_auc(rows.labels, scores["procedure"], scores[arm], seed=SEED))
            for arm in ARMS
            if arm != "procedure"
        },
        "shipped": {family: families.count(family) for family in FAMILIES},
        "seconds": float(np.median([fold.seconds for fold in folds])),
    }


def gather(folds: list[Scored], arm: str, n_rows: int) -> Floats:
    """Return an arm's held-out scores, shape (REPEATS, n_rows)."""
    scores = np.empty((REPEATS, n_rows))
    for number, fold in enumerate(folds):
        scores[number // FOLDS, fold.held] = fold.scores[arm]
    return scores


def summarise(labels: Labels, scores: Floats, folds: list[Scored], arm: str) -> Json:
    """Return one arm's figures: AUC pooled in each repeat and by fold, Brier score."""
    by_fold = [auc(labels[fold.held], fold.scores[arm]) for fold in folds]
    return {
        "auc": estimate_to_json(estimate_auc(labels, scores, seed=SEED)),
        "auc_by_repeat": [auc(labels, one) for one in scores],
        "auc_mean_of_folds": float(np.mean(by_fold)),
        "brier": estimate_to_json(estimate_mean(labels, ((scores - labels) ** 2).mean(axis=0), seed=SEED)),
    }


# --- time ---------------------------------------------------------------------------------------------------------


def measure_time(data: Path) -> Json:
    """Return wall and CPU seconds of each step of two trainings in one new project, and of the imports alone."""
    proposal = propose_project(data, TARGET)
    imports = {name: time_import(module) for name, module in IMPORTS.items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_project(folder / "homeostat.toml", render_settings("pima", str(data), proposal))
        first = time_training(folder)
        # Another seed: the same attempt again would be recognised by its digest and not be recorded twice.
        os.environ["HOMEOSTAT_TRAINING__SEED"] = "1"
        second = time_training(folder)
    return {"imports": imports, "first": first, "second": second}


def time_import(module: str) -> Json:
    """Return the seconds that a new process takes to import what a child process of the loop imports."""
    started, used = time.perf_counter(), cpu_seconds()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env={**os.environ, **ENVIRONMENT})
    return {"wall": time.perf_counter() - started, "cpu": cpu_seconds() - used}


def time_training(folder: Path) -> dict[str, Json]:
    """Return the seconds of each step of one training as the command runs it, child processes included."""
    steps: dict[str, Json] = {}
    with open_project(folder) as project:
        begin_by_hand(project, reason="bench")
        started, used = time.perf_counter(), cpu_seconds()
        # The advances first: a gate that refuses ends them before the order of the steps ends.
        for _, name in zip(tick(project), ORDER, strict=False):
            now, now_used = time.perf_counter(), cpu_seconds()
            steps[name] = {"wall": now - started, "cpu": now_used - used}
            started, used = now, now_used
    return steps


def cpu_seconds() -> float:
    """Return the CPU seconds used so far by this process and by its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# --- report -------------------------------------------------------------------------------------------------------


def quality_table(quality: Json) -> Iterator[str]:
    """Yield the lines of the table of quality."""
    yield f"Nested cross-validation, {REPEATS} x {FOLDS} outer folds, {quality['n_rows']} rows, search inside each."
    yield ""
    yield "| procedure | AUC [95 %] | mean AUC of the folds | Brier [95 %] | ours minus it, AUC [95 %] |"
    yield "|---|---|---|---|---|"
    for arm, words in ARMS.items():
        figures, difference = quality["arms"][arm], quality["difference"].get(arm)
        cells = [show(figures["auc"]), f"{figures['auc_mean_of_folds']:.3f}", show(figures["brier"])]
        yield f"| {words} | {' | '.join(cells)} | {show(difference, sign='+') if difference else ''} |"
    yield ""
    shipped = ", ".join(f"{family} {count}" for family, count in quality["shipped"].items())
    yield f"Shipped, of {REPEATS * FOLDS} runs: {shipped}. {quality['seconds']:.1f} s a run (median)."


def time_table(seconds: Json) -> Iterator[str]:
    """Yield the lines of the table of times."""
    yield "| part of `homeostat train` | first, wall s | CPU s | second, wall s | CPU s |"
    yield "|---|---|---|---|---|"
    runs = (seconds["first"], seconds["second"])
    for step in seconds["first"]:
        cells = [f"{run[step][kind]:.2f}" if step in run else "" for run in runs for kind in ("wall", "cpu")]
        yield f"| {step} | {' | '.join(cells)} |"
    totals = [f"{sum(step[kind] for step in run.values()):.2f}" for run in runs for kind in ("wall", "cpu")]
    yield f"| all | {' | '.join(totals)} |"
    yield ""
    imports = ", ".join(f"{module} {seconds['imports'][name]['wall']:.2f} s" for name, module in IMPORTS.items())
    yield f"Of which imports, in each child process: {imports}."


def show(estimate: Json, sign: str = "") -> str:
    """Return a figure with its interval."""
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def main() -> None:
    location = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HOMEOSTAT_PIMA", "")
    data = Path(location).resolve()
    if not data.is_file():
        sys.exit("Pass the Pima table as the first argument or in HOMEOSTAT_PIMA.")
    os.environ.update(ENVIRONMENT)
    quality = measure_quality(*load_table(data))
    print("\n".join(quality_table(quality)), "\n", sep="\n", flush=True)
    seconds = measure_time(data)
    print("\n".join(time_table(seconds)))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"quality": quality, "time": seconds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
