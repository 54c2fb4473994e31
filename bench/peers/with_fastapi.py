"""What most teams write by hand: FastAPI, pydantic and ONNX Runtime.

Run by uvicorn, with BENCH_RELEASE naming a release's folder. It checks types, stores nothing and measures nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel, create_model

RELEASE = Path(os.environ["BENCH_RELEASE"])
NAMES = [feature["name"] for feature in json.loads((RELEASE / "schema.json").read_text())["features"]]
OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(RELEASE / "model.onnx", OPTIONS)
# Any: the fields are known only when the release is read.
FIELDS: dict[str, Any] = dict.fromkeys(NAMES, (float, ...))
Row: Any = create_model("Row", **FIELDS)
Rows: Any = create_model("Rows", rows=(list[Row], ...))


class Answer(BaseModel):
    """The answer to one row."""

    probability: float


class Answers(BaseModel):
    """The answer to many rows."""

    predictions: list[Answer]


app = FastAPI()


def score(rows: list[Any]) -> list[Answer]:
    """Return what each row is answered with."""
    table = np.array([[getattr(row, name) for name in NAMES] for row in rows], dtype=np.float32)
    (found,) = SESSION.run(None, {"numeric": table})
    return [Answer(probability=probability) for probability in found.ravel().tolist()]


# async: FastAPI runs a plain function in a thread, which is slower.
@app.post("/predict")
async def predict(row: Row) -> Answer:
    """Answer one row."""
    return score([row])[0]


@app.post("/batch")
async def batch(rows: Rows) -> Answers:
    """Answer many rows."""
    return Answers(predictions=score(rows.rows))
