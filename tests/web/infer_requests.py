"""Requests of the Open Inference Protocol as Triton's client and as plain JSON write them.

Not here: the client itself (a fixture of `tests/web/conftest.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.http import InferInput
from tritonclient.utils import np_to_triton_dtype

Row = dict[str, Any]
Table = Mapping[str, NDArray[Any]]

INFER = "/v2/models/pima/infer"


def to_table(rows: list[Row], dtype: str = "float64") -> Table:
    return {name: np.array([one[name] for one in rows], dtype=dtype) for name in rows[0]}


def to_inputs(table: Table, *, binary: bool = True) -> list[InferInput]:
    """Return one tensor for each column."""
    inputs = []
    for name, values in table.items():
        inputs.append(InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        inputs[-1].set_data_from_numpy(values, binary_data=binary)
    return inputs


def to_json(table: Table, **more: Any) -> dict[str, Any]:
    """Return a request in JSON alone."""
    inputs = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": np_to_triton_dtype(values.dtype),
            "data": values.tolist(),
        }
        for name, values in table.items()
    ]
    return {"inputs": inputs, **more}
