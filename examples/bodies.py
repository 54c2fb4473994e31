"""Bodies of requests from a CSV: `bodies.py rows FILE TARGET`, then `bodies.py labels FILE TARGET ANSWERS`.

Not here: sending them. An empty cell is a value that was not measured, null in JSON.
"""

import csv
import json
import sys
from contextlib import suppress
from pathlib import Path


def read_cell(text: str) -> float | str | None:
    """Return a cell as JSON has it: a number where it reads as one."""
    if text == "":
        return None
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


def main(kind: str, file: str, target: str, *answers: str) -> None:
    """Print the rows without their outcomes, or the outcomes under the ids that the answers gave."""
    with Path(file).open(newline="") as lines:
        rows = [{name: read_cell(text) for name, text in line.items()} for line in csv.DictReader(lines)]
    outcomes = [row.pop(target) for row in rows]
    if kind == "rows":
        print(json.dumps({"rows": rows}))
        return
    predictions = json.loads(Path(answers[0]).read_text())["predictions"]
    known = [(one["id"], label) for one, label in zip(predictions, outcomes, strict=True) if "id" in one]
    print(json.dumps({"labels": [{"id": id_, "label": label} for id_, label in known]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
