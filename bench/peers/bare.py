"""The floor: a raw ASGI application that decodes with msgspec and answers with ONNX Runtime, and does nothing else.

Run by uvicorn, with BENCH_RELEASE naming a release's folder. It checks types, stores nothing and measures nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from starlette.types import Receive, Scope, Send

RELEASE = Path(os.environ["BENCH_RELEASE"])
NAMES = [feature["name"] for feature in json.loads((RELEASE / "schema.json").read_text())["features"]]
OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(RELEASE / "model.onnx", OPTIONS)
# Any: the fields are known only when the release is read.
Row: Any = msgspec.defstruct("Row", [(name, float) for name in NAMES])
Rows: Any = msgspec.defstruct("Rows", [("rows", list[Row])])
ONE, MANY = msgspec.json.Decoder(Row), msgspec.json.Decoder(Rows)


def score(rows: list[msgspec.Struct]) -> list[dict[str, float]]:
    """Return what each row is answered with."""
    table = np.array([msgspec.structs.astuple(row) for row in rows], dtype=np.float32)
    (found,) = SESSION.run(None, {"numeric": table})
    return [{"probability": probability} for probability in found.ravel().tolist()]


def answer(path: str, body: bytes) -> bytes:
    """Return the answer to one row, or to many at /batch."""
    if path == "/batch":
        return msgspec.json.encode({"predictions": score(MANY.decode(body).rows)})
    return msgspec.json.encode(score([ONE.decode(body)])[0])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    content = answer(scope["path"], body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
