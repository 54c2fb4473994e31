"""One drift check by Evidently for each line of standard input. Runs in an environment of its own (.venv-evidently).

Usage: check_with_evidently.py FOLDER, which holds `reference.parquet`. A line is JSON: the `table` of the current rows
in FOLDER, and the `form`: `tests` is one test per column and nothing else, `preset` is DataDriftPreset as documented.
The answer is a line of JSON: the seconds of processor time it took, and
the p-value of each column.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

METHODS = {"numeric": "ks", "categorical": "chisquare"}
FOLDER = Path(sys.argv[1])
REFERENCE = pd.read_parquet(FOLDER / "reference.parquet")
KINDS = {name: "numeric" if kind.kind == "f" else "categorical" for name, kind in REFERENCE.dtypes.items()}
DEFINITION = DataDefinition(
    numerical_columns=[name for name, kind in KINDS.items() if kind == "numeric"],
    categorical_columns=[name for name, kind in KINDS.items() if kind == "categorical"],
)


def make_report(form: str) -> Report:
    """Return the question that is put to Evidently."""
    if form == "preset":
        return Report([DataDriftPreset(num_method=METHODS["numeric"], cat_method=METHODS["categorical"])])
    return Report([ValueDrift(column=name, method=METHODS[kind]) for name, kind in KINDS.items()])


for line in sys.stdin:
    asked = json.loads(line)
    current = pd.read_parquet(FOLDER / asked["table"])
    started = time.process_time()
    tables = [Dataset.from_pandas(table, data_definition=DEFINITION) for table in (current, REFERENCE)]
    result = make_report(asked["form"]).run(*tables)
    seconds = time.process_time() - started
    metrics = [metric for metric in result.dict()["metrics"] if metric["metric_name"].startswith("ValueDrift")]
    p_values = {metric["config"]["column"]: float(metric["value"]) for metric in metrics}
    print(json.dumps({"seconds": seconds, "p_values": p_values}), flush=True)
