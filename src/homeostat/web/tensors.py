"""Tensors of the Open Inference Protocol: JSON or little-endian bytes outside, columns of cells inside.

Not here: which tensors a model takes and gives (`web.open_inference`). Pure.
https://github.com/kserve/kserve/blob/master/docs/predict-api/v2/required_api.md#tensor-data
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import numbers
from homeostat.errors import RequestInvalid
from homeostat.records import Floats, Json
from homeostat.web.bodies import show

# Not FP16 (JSON has no form for it), BF16 or BOOL: no feature is one of these.
INTEGERS: Mapping[str, str] = MappingProxyType(
    {"INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}
    | {"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}
)
NUMBERS: Mapping[str, str] = MappingProxyType({"FP64": "<f8", "FP32": "<f4", **INTEGERS})
TEXT = "BYTES"
MAX_DIMENSIONS = 2
# As many digits of a decimal number survive in a float32, whatever the number.
FLOAT32_DIGITS = 6
EXACT_POWERS = 22
LENGTH = struct.Struct("<I")

Parameters: TypeAlias = Json


class RequestInput(msgspec.Struct, frozen=True):
    """One input tensor as it is sent: its data are JSON, or `binary_data_size` bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = None  # Any: numbers, texts, or rows of these

    @property
    def size_bytes(self) -> int | None:
        """How many bytes behind the JSON are the tensor's; None if there are none. RequestInvalid if it is no size."""
        size = (self.parameters or {}).get("binary_data_size")
        if size is not None and (type(size) is not int or size < 0):
            raise invalid(self, f"binary_data_size is {show(size)}", "a number of bytes")
        return size


class RequestedOutput(msgspec.Struct, frozen=True):
    """One output tensor that is asked for."""

    name: str
    parameters: Parameters | None = None


def split_tail(inputs: Sequence[RequestInput], tail: bytes) -> list[bytes | None]:
    """Return the bytes of each tensor that lie behind the JSON, None for one whose data are in it.

    Raises
    ------
    RequestInvalid
        The sizes and the bytes do not add up.
    """
    sizes = [tensor.size_bytes for tensor in inputs]
    total = sum(size or 0 for size in sizes)
    if total != len(tail):
        raise RequestInvalid(
            problem=f"{len(tail)} bytes follow the JSON, and the inputs have {total}",
            expected="the data of each input with a binary_data_size, one after the other",
            action="send Inference-Header-Content-Length, the number of bytes that are JSON",
        )
    parts: list[bytes | None] = []
    start = 0
    for size in sizes:
        parts.append(None if size is None else tail[start : start + size])
        start += size or 0
    return parts


def read_matrix(tensor: RequestInput, tail: bytes | None, *, width: int) -> list[Sequence[Any] | Floats]:
    """Return the columns of a tensor of shape (n_rows, width), or (n_rows,) if there is one column.

    Numbers that come as bytes are float64 with NaN for missing. Integers and texts stay what they are, because a
    category may be either, and so does what stands in JSON.

    Raises
    ------
    RequestInvalid
        Shape, datatype and data do not agree.
    """
    n_rows = tensor.shape[0]
    if "shared_memory_region" in (tensor.parameters or {}):
        raise invalid(tensor, "the data are in shared memory", "data in the request")
    if tail is None:
        cells: Any = flatten(tensor, width=width)
        cells = restore_decimals(cells) if tensor.datatype == "FP32" else cells
    elif tensor.datatype == TEXT:
        cells = split_texts(tensor, tail)
    else:
        cells = read_numbers(tensor, tail)
    if len(cells) != n_rows * width:
        raise invalid(tensor, f"there are {len(cells)} elements", f"{n_rows * width}, as the shape says")
    return [cells[column::width] for column in range(width)]


def flatten(tensor: RequestInput, *, width: int) -> Sequence[Any]:
    """Return the elements of a tensor in JSON, which may be nested as its shape is."""
    data = tensor.data
    if data is None:
        raise invalid(tensor, "there are no data", "data, or a binary_data_size and bytes behind the JSON")
    nested = len(tensor.shape) == MAX_DIMENSIONS and list in set(map(type, data))
    if not nested:
        return data
    if any(type(row) is not list or len(row) != width for row in data):
        raise invalid(tensor, "the rows of the data are not alike", f"{width} elements in each, as the shape says")
    return list(chain.from_iterable(data))


def read_numbers(tensor: RequestInput, content: bytes) -> Sequence[Any] | Floats:
    """Return the elements of a tensor of numbers: integers as they are, others as float64."""
    kind = np.dtype(NUMBERS[tensor.datatype])
    if len(content) % kind.itemsize:
        raise invalid(tensor, f"there are {len(content)} bytes", f"a multiple of {kind.itemsize}")
    values: NDArray[Any] = np.frombuffer(content, dtype=kind)
    if tensor.datatype == "FP32":
        return to_decimals(values)
    return values.tolist() if tensor.datatype in INTEGERS else values.astype(np.float64)


def restore_decimals(cells: Sequence[Any]) -> Sequence[Any] | Floats:
    """Return the cells of an FP32 tensor in JSON, those that are float32 values as the decimals that they were."""
    values = numbers(cells)
    if values is None:
        return cells
    with np.errstate(over="ignore"):  # what float32 cannot hold was none
        narrow = values.astype(np.float32)
    return np.where(narrow.astype(np.float64) == values, to_decimals(narrow), values)


def to_decimals(values: NDArray[np.float32]) -> Floats:
    """Return float32 values as the decimal numbers that they were, if one of six digits is the same float32.

    Without this, 66.6 comes in as 66.5999985 and is no marker, and 67.1 as 67.0999985 below a range that begins there.
    """
    exact = values.astype(np.float64)
    usable = np.isfinite(exact) & (exact != 0)
    shift = FLOAT32_DIGITS - 1 - np.floor(np.log10(np.abs(np.where(usable, exact, 1))))
    # Powers of ten up to 22 are exact in float64: so the one rounding ends at the number that the decimal means.
    usable &= np.abs(shift) <= EXACT_POWERS
    up, down = 10.0 ** np.maximum(shift, 0), 10.0 ** np.maximum(-shift, 0)
    decimals = np.round(exact * up / down) / up * down
    return np.where(usable & (decimals.astype(np.float32) == values), decimals, exact)


def split_texts(tensor: RequestInput, content: bytes) -> list[str]:
    """Return the elements of a BYTES tensor: each its length in four bytes, then UTF-8."""
    found: list[str] = []
    start = 0
    try:
        while start < len(content):
            (length,) = LENGTH.unpack_from(content, start)
            start += LENGTH.size + length
            found.append(content[start - length : start].decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise invalid(tensor, f"the element {len(found)} cannot be read", "four bytes of length, then UTF-8") from error
    if start > len(content):
        raise invalid(tensor, "the last element is cut off", "as many bytes as its length says")
    return found


def write_output(name: str, datatype: str, values: Sequence[Any], *, binary: bool) -> tuple[Json, bytes]:
    """Return an output tensor of shape (n,): what stands in the JSON, and the bytes behind it."""
    head: Json = {"name": name, "datatype": datatype, "shape": [len(values)]}
    if not binary:
        return head | {"data": values}, b""
    content = join_texts(values) if datatype == TEXT else np.array(values, dtype=NUMBERS[datatype]).tobytes()
    return head | {"parameters": {"binary_data_size": len(content)}}, content


def join_texts(values: Sequence[str]) -> bytes:
    """Return the bytes of a BYTES tensor."""
    encoded = [value.encode() for value in values]
    return b"".join(chain.from_iterable((LENGTH.pack(len(value)), value) for value in encoded))


def invalid(tensor: RequestInput, problem: str, expected: str) -> RequestInvalid:
    """Return the error for a tensor that cannot be read."""
    return RequestInvalid(
        problem=f"input {show(tensor.name)!r}: {problem}",
        expected=expected,
        action="send the inputs that the model's metadata name",
    )
