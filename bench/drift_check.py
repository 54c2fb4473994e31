"""One drift check of a wide table: ours, scipy's loop and Evidently, in rounds, and whether they say the same.

Not here: the lines of the report (`bench.monitoring`). A quarter of the columns have moved a little; every value of a
numeric column is distinct, which makes our profile as large as it can be.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl
from scipy import stats

from bench.environments import install
from homeostat.monitoring.drift import detect_drift
from homeostat.records import Columns, Feature, Floats, Json, Profile, Schema, Target, Texts
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.validation.schema import freeze_schema

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-evidently"
REQUIREMENTS = HERE / "requirements-evidently.txt"
PEER = HERE / "peers" / "check_with_evidently.py"

N_REFERENCE = 100_000
SIZES = (10_000, 100_000)
N_NUMERIC, N_CATEGORICAL = 20, 5
CATEGORIES = tuple("abcdefgh")
MOVED_EVERY, SHIFT = 4, 0.03
ALPHA, BOUNDARY = 0.05, 0.3
# Ours is an expansion where scipy sums as many terms as there are rows: `monitoring.significance` says how close it is.
ALIKE, ALIKE_P = 1e-12, 1e-4

OURS, OURS_AND_PROFILE = "ours, against a ready profile", "ours, building the profile too"
SCIPY = "scipy, one test after another"
EVIDENTLY = {"tests": "Evidently, one test per column", "preset": "Evidently, DataDriftPreset"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one check took of the processor, and what it says of each feature; Evidently tells no statistics."""

    seconds: float
    p_values: Mapping[str, float]
    statistics: Mapping[str, float]


Check: TypeAlias = Callable[[], Judgement]
# Put a table, by the name of its file, and a form of question to Evidently.
Ask: TypeAlias = Callable[[str, str], Judgement]


# --- the table ----------------------------------------------------------------------------------------------------


def make_schema() -> Schema:
    """Return the schema of the table."""
    numeric = [Feature(f"x{place:02}", "numeric") for place in range(N_NUMERIC)]
    categorical = [Feature(f"c{place:02}", "categorical") for place in range(N_CATEGORICAL)]
    return freeze_schema([*numeric, *categorical], Target("y", 0, 1))


def draw_table(schema: Schema, n_rows: int, *, moved: bool, seed: int) -> Columns:
    """Return rows of normal deviates and of categories; if `moved`, every fourth column is drawn otherwise."""
    rng = np.random.default_rng(seed)
    table: dict[str, Floats | Texts] = {}
    for place, feature in enumerate(schema.features):
        shift = SHIFT if moved and place % MOVED_EVERY == 0 else 0.0
        if feature.kind == "numeric":
            table[feature.name] = rng.normal(shift, 1.0, n_rows)
        else:
            shares = np.full(len(CATEGORIES), 1 / len(CATEGORIES))
            shares[:2] += shift / 4, -shift / 4
            table[feature.name] = rng.choice(np.array(CATEGORIES, dtype=np.object_), n_rows, p=shares)
    return table


# --- the contestants ----------------------------------------------------------------------------------------------


def check_ours(current: Columns, schema: Schema, make_reference: Callable[[], Profile]) -> Judgement:
    """Count the current rows in the cells of the reference and compare."""
    started = time.process_time()
    reference = make_reference()
    report = detect_drift(reference, count_rows(current, schema, reference), alpha=ALPHA, boundary=BOUNDARY)
    seconds = time.process_time() - started
    found = report.features
    return Judgement(seconds, {f.name: f.p_value for f in found}, {f.name: f.statistic for f in found})


def check_with_scipy(reference: Columns, current: Columns, schema: Schema) -> Judgement:
    """Test column after column, as it is written by hand."""
    started = time.process_time()
    found = {}
    for feature in schema.features:
        then, now = reference[feature.name], current[feature.name]
        if feature.kind == "numeric":
            found[feature.name] = stats.ks_2samp(then, now)
        else:
            tallies = [Counter(then.tolist()), Counter(now.tolist())]
            names = sorted(tallies[0] | tallies[1])
            table = [[tally[name] for name in names] for tally in tallies]
            found[feature.name] = stats.chi2_contingency(table, correction=False)
    seconds = time.process_time() - started
    return Judgement(
        seconds,
        {name: float(test.pvalue) for name, test in found.items()},
        {name: float(test.statistic) for name, test in found.items()},
    )


@contextmanager
def open_evidently(folder: Path) -> Iterator[Ask]:
    """Start Evidently beside the tables in a folder, and yield what asks it for a check: table and form."""
    install(REQUIREMENTS, ENVIRONMENT)
    # Neither a report to its makers, nor more threads than scipy's loop has.
    environment = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    command = [str(ENVIRONMENT / "bin" / "python"), "-W", "ignore", str(PEER), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as peer:

        def ask(table: str, form: str) -> Judgement:
            print(json.dumps({"table": table, "form": form}), file=peer.stdin, flush=True)
            answer = json.loads(next(iter(peer.stdout or ())))
            return Judgement(answer["seconds"], answer["p_values"], {})

        yield ask


# --- side by side -------------------------------------------------------------------------------------------------


def measure_checks(folder: Path, *, rounds: int, with_evidently: bool) -> Json:
    """Return, for each size of the current table, the median seconds of each contestant."""
    schema = make_schema()
    reference = draw_table(schema, N_REFERENCE, moved=False, seed=0)
    tables = {n_rows: draw_table(schema, n_rows, moved=True, seed=n_rows) for n_rows in SIZES}
    for name, table in {"reference": reference, **{str(n_rows): table for n_rows, table in tables.items()}}.items():
        pl.DataFrame(dict(table)).write_parquet(folder / f"{name}.parquet")
    with open_evidently(folder) if with_evidently else nullcontext() as ask:
        return {
            str(n_rows): contest(enter(reference, table, schema, ask), table, reference, rounds=rounds)
            for n_rows, table in tables.items()
        }


def enter(reference: Columns, current: Columns, schema: Schema, ask: Ask | None) -> dict[str, Check]:
    """Return what each contestant does with one table."""
    profile = build_profile(reference, schema)
    checks: dict[str, Check] = {
        OURS: lambda: check_ours(current, schema, lambda: profile),
        OURS_AND_PROFILE: lambda: check_ours(current, schema, lambda: build_profile(reference, schema)),
        SCIPY: lambda: check_with_scipy(reference, current, schema),
    }
    if ask is not None:
        name = f"{len(current[schema.features[0].name])}.parquet"
        checks |= {EVIDENTLY[form]: partial(ask, name, form) for form in EVIDENTLY}
    return checks


def contest(checks: Mapping[str, Check], current: Columns, reference: Columns, *, rounds: int) -> Json:
    """Return the median seconds of each contestant, in rounds so that a slow minute of the machine meets all."""
    first = {name: check() for name, check in checks.items()}  # a warm-up; what it says is compared
    differences = compare_judgements(first, current, reference)
    seconds: dict[str, list[float]] = {name: [] for name in checks}
    for place in range(rounds):
        print(f"round {place + 1} of {rounds}: {len(checks)} checks", file=sys.stderr)
        for name, check in checks.items():
            seconds[name].append(check().seconds)
    return {"seconds": {name: statistics.median(all_) for name, all_ in seconds.items()}, "differences": differences}


def compare_judgements(judgements: Mapping[str, Judgement], current: Columns, reference: Columns) -> Json:
    """Return the largest difference to scipy, of the statistics and (relative) of the p-values; end if they disagree.

    Evidently's chi-square is a test of fit, which takes the shares of the reference as if they were exact: its p-values
    are compared with scipy's test of that name.
    """
    truth = judgements[SCIPY]
    fits = {name: p_value_of_fit(reference[name], current[name]) for name in truth.p_values if name.startswith("c")}
    largest = {"statistic": 0.0, "p_value": 0.0}
    for who, said in judgements.items():
        expected = {**truth.p_values, **(fits if who in EVIDENTLY.values() else {})}
        apart = max(abs(said.p_values[name] / p - 1) for name, p in expected.items())
        off = max((abs(s - truth.statistics[name]) / max(1, s) for name, s in said.statistics.items()), default=0.0)
        if said.p_values.keys() != expected.keys() or off > ALIKE or apart > ALIKE_P:
            sys.exit(f"{who} disagrees with scipy: statistics by {off:.1e}, p-values by {apart:.1e}.")
        largest = {"statistic": max(off, largest["statistic"]), "p_value": max(apart, largest["p_value"])}
    return largest


def p_value_of_fit(then: Floats | Texts, now: Floats | Texts) -> float:
    """Return the p-value of the current counts if the shares of the reference were the true ones."""
    expected = [Counter(then.tolist())[name] * len(now) / len(then) for name in CATEGORIES]
    observed = [Counter(now.tolist())[name] for name in CATEGORIES]
    return float(stats.chisquare(observed, expected).pvalue)
