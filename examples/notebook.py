"""Homeostat in a notebook: a clinic's table becomes a model that is watched, told of outcomes, and lived through again.

Run it cell by cell (Jupyter, VS Code and PyCharm know `# %%`), or whole: `python examples/notebook.py`.
"""

# %% A synthetic clinic stands for your own table. Any CSV or Parquet file with a header and an outcome column will do.
import tempfile
from pathlib import Path

import polars as pl

from homeostat import InputError, create_project
from homeostat.simulation.cohort import synthetic_table

folder = Path(tempfile.mkdtemp(prefix="homeostat-notebook-"))


def draw_patients(n_rows: int, *, seed: int) -> pl.DataFrame:
    """Return patients of the synthetic clinic, with their outcomes."""
    columns, outcomes = synthetic_table(n_rows, seed=seed)
    return pl.DataFrame({**columns, "Outcome": outcomes})


draw_patients(500, seed=1).write_csv(folder / "patients.csv")

# %% A project: every guess stands in homeostat.toml, with its reason. Read it, correct what is wrong.
project = create_project(folder, folder / "patients.csv", target="Outcome", name="clinic")
settings = folder / "homeostat.toml"
print(settings.read_text()[:600])

# The simple family alone, few repetitions and small windows, so that this is done within seconds.
quick = """
[training]
family = "logistic"
repeats = 1
[monitoring]
window = 100
[store]
tracking = "none"
"""
settings.write_text(settings.read_text() + quick)

# %% Validation: impossible values are refused with their reasons.
newcomers = draw_patients(300, seed=2)
checked = project.check(newcomers.with_columns(Age=pl.when(pl.int_range(pl.len()) == 0).then(200).otherwise("Age")))
assert checked.violations["column"].to_list() == ["Age"]
checked.violations

# %% The first release: snapshot, search, fit, gate, promotion.
trained = project.train(reason="the first release", say=print)
assert trained.promoted
project.releases()

# %% Scores for a table; nothing is kept of them. A dictionary of columns, pandas or pyarrow would do as well.
scores = project.predict(newcomers)
scores.select("Age", "Glucose", "predicted_probability", "predicted_label").head()

# %% Answers that are kept, as the service keeps them: here of patients who are all twenty years older.
older = newcomers.with_columns((pl.col("Age") + 20).clip(upper_bound=80))
answers = project.answer(older)

# %% The loop looks at each window of answered rows once.
print(*project.tick(), sep="\n")
drift = project.drift()
assert drift is not None
assert drift.features["feature"][0] == "Age"
drift

# %% Outcomes arrive later, by the id of the answer.
outcomes = pl.DataFrame({"id": answers["id"], "label": older["Outcome"]})
recorded = project.label(outcomes, source="ward 3")
assert recorded["status"].to_list() == ["recorded"] * outcomes.height
project.performance()["waiting"]

# %% What would the loop have done over recorded history? It runs in a scratch copy, under the clock of the rows.
replayed = project.replay(pl.concat([newcomers, older]))
print(replayed.summary["retrainings"], replayed.summary["metrics"]["with_updating"])
replayed.answers.head()

# %% A mistake says what was wrong, what was expected, and what to do.
try:
    project.predict(newcomers.drop("Glucose"))
except InputError as error:
    print(error.problem, error.expected, error.action, sep="\n")

# %% Who was in production, and why.
project.history()
