"""Large, wide and one-sided tables through `homeostat train`: time and memory, size and AUC of the release.

Usage: python -m bench.tables [TABLE ...], by default all, about 6 minutes on 2 cores. Prints Markdown.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from homeostat.deployment.artifacts import find_release
from homeostat.deployment.registry import list_releases
from homeostat.project import open_project

KILOBYTE, MEGABYTE = 1024, 1_000_000
SEED = 0
MISSING_SHARE = 0.1
# Steps that are told, and how much of what they say.
WORTH_TELLING_S, WIDTH = 0.5, 100


@dataclass(frozen=True, slots=True)
class Table:
    """A generated table: its size, how many columns are text, and its share of positives."""

    n_rows: int
    n_columns: int
    n_categorical: int
    positive_share: float


TABLES = {
    "a million rows": Table(1_000_000, 20, 5, 0.3),
    "a hundred columns": Table(50_000, 100, 20, 0.3),
    "two positives in a hundred": Table(20_000, 20, 5, 0.02),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a training has cost, and what came out; `steps` holds the sentence and the seconds of each step."""

    steps: list[tuple[str, float]]
    total_s: float
    processor_s: float
    peak_bytes: int
    release_bytes: int
    snapshot_bytes: int
    figures: dict[str, dict[str, float]]


def draw_table(table: Table) -> pl.DataFrame:
    """Return numbers, some missing, and categories, with an outcome that follows a few of them."""
    rng = np.random.default_rng(SEED)
    n_numeric = table.n_columns - table.n_categorical
    numbers = {f"x{place}": rng.normal(size=table.n_rows).round(4) for place in range(n_numeric)}
    codes = {f"c{place}": rng.integers(10 * (place + 1), size=table.n_rows) for place in range(table.n_categorical)}
    score = numbers["x0"] + np.abs(numbers["x1"]) + numbers["x2"] * (numbers["x3"] > 0) + 0.1 * codes["c0"]
    score += 0.5 * (codes["c1"] % 3 == 0) + rng.logistic(size=table.n_rows)
    outcome = (score > np.quantile(score, 1 - table.positive_share)).astype(np.int8)
    numbers["x4"][rng.random(table.n_rows) < MISSING_SHARE] = np.nan
    texts = {name: pl.Series(values).cast(pl.String).str.pad_start(4, "k") for name, values in codes.items()}
    return pl.DataFrame({**numbers, **texts, "outcome": outcome}).with_columns(pl.col("x4").fill_nan(None))


def write_project(folder: Path, table: Table) -> None:
    """Write a table as CSV with the settings of its project."""
    draw_table(table).write_csv(folder / "table.csv")
    n_numeric = table.n_columns - table.n_categorical
    lines = ["[project]", 'name = "table"', 'data = ["table.csv"]', 'target = "outcome"']
    lines += [f"[features.x{place}]" for place in range(n_numeric)]
    lines += [f'[features.c{place}]\nkind = "categorical"' for place in range(table.n_categorical)]
    lines += ["[training]", "trials = 3"]
    (folder / "homeostat.toml").write_text("\n".join(lines))


def measure(table: Table) -> Measured:
    """Train on a generated table in a process of its own and return what it has cost."""
    with tempfile.TemporaryDirectory(prefix="homeostat-tables-") as scratch:
        folder = Path(scratch)
        write_project(folder, table)
        steps, used = train(folder)
        with open_project(folder) as project:
            with project.database.read() as connection:
                release = list_releases(connection)[0]
            path = find_release(release.digest, project.blobs)
            metrics = json.loads((path / "metrics.json").read_bytes())
            snapshots = size_of(project.blobs.root / "snapshots")
        figures = {side: metrics[side] for side in ("cross_validation", "anchor")}
        spent_s, processor_s = sum(one for _, one in steps), used.ru_utime + used.ru_stime
        sizes = (used.ru_maxrss * KILOBYTE, size_of(path), snapshots)
        return Measured(steps, spent_s, processor_s, *sizes, figures)


def train(folder: Path) -> tuple[list[tuple[str, float]], resource.struct_rusage]:
    """Run `homeostat train`; return each sentence with the seconds before it, and what the processes took."""
    command = [sys.executable, "-m", "homeostat", "train", "--project", str(folder)]
    began = time.monotonic()
    steps: list[tuple[str, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "10000"}) as child:
        for line in child.stdout or ():
            steps.append((line.strip(), time.monotonic() - began))
            began = time.monotonic()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"homeostat train ended with {child.returncode}: {steps[-1:]}")
    return steps, used


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def describe(name: str, table: Table, found: Measured) -> str:
    """Return what a training has cost, as Markdown."""
    lines = [
        f"## {name}: {table.n_rows:,} rows x {table.n_columns} columns, {table.positive_share:.0%} positive",
        f"{found.total_s:.0f} s, {found.processor_s:.0f} s of processor time",
        f"at most {found.peak_bytes / 1e9:.1f} GB of memory in one process",
        f"release {found.release_bytes / MEGABYTE:.1f} MB, snapshot {found.snapshot_bytes / MEGABYTE:.1f} MB",
    ]
    for side, figures in found.figures.items():
        auc = figures["auc"]
        lines.append(f"AUC {side}: {auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}], {figures['n_rows']} rows")  # type: ignore[index]
    lines += [f"{spent:6.1f} s  {sentence[:WIDTH]}" for sentence, spent in found.steps if spent >= WORTH_TELLING_S]
    return "\n".join(lines)


def main(names: list[str]) -> None:
    """Measure the tables and print what each has cost."""
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} when it began\n")
    for name in names or list(TABLES):
        print(describe(name, TABLES[name], measure(TABLES[name])), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
