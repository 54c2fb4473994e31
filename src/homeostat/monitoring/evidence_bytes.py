"""Evidence as bytes and back, exactly: what a watch keeps between two windows.

Not here: what the evidence says (`monitoring.evidence`), or where the bytes lie (`monitoring.watch_states`).

Arrays are little-endian, so that a state moves between machines; counts take the fewest bytes that hold them. That is
64 kB for 8 measured features with 768 reference rows, 415 kB for 20 with more than 2,048. Nothing is compressed: zlib
took 11 ms for those 415 kB and won a tenth, for most of them are the digits of measured values.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.errors import InputError
from homeostat.monitoring.evidence import Evidence, Stream
from homeostat.records import Counts, Floats

VERSION = 1


class StreamBytes(msgspec.Struct, array_like=True, frozen=True):
    """One stream as it is kept."""

    edges: bytes
    counts: bytes
    count_type: str
    wealth: bytes
    value: float
    peak: float
    runs: bytes
    starts: bytes


class EvidenceBytes(msgspec.Struct, array_like=True, frozen=True):
    """The evidence as it is kept."""

    version: int
    n_reference: int
    n_rows: int
    gathering: dict[str, bytes] | None
    streams: dict[str, StreamBytes]


def evidence_to_bytes(evidence: Evidence) -> bytes:
    """Return the evidence as bytes, exactly."""
    gathering = evidence.gathering
    kept = EvidenceBytes(
        VERSION,
        evidence.n_reference,
        evidence.n_rows,
        None if gathering is None else {name: to_bytes(values, "<f8") for name, values in gathering.items()},
        {name: pack_stream(stream) for name, stream in evidence.streams.items()},
    )
    return msgspec.msgpack.encode(kept)


def evidence_from_bytes(data: bytes) -> Evidence:
    """Return the evidence that `evidence_to_bytes` wrote.

    Raises
    ------
    InputError
        The bytes are not of this version.
    """
    try:
        kept = msgspec.msgpack.decode(data, type=EvidenceBytes)
    except msgspec.DecodeError as error:
        raise refusal(str(error)) from error
    if kept.version != VERSION:
        raise refusal(f"version {kept.version}")
    gathering = kept.gathering
    return Evidence(
        kept.n_reference,
        kept.n_rows,
        None if gathering is None else {name: floats(values) for name, values in gathering.items()},
        {name: unpack_stream(stream) for name, stream in kept.streams.items()},
    )


def pack_stream(stream: Stream) -> StreamBytes:
    """Return one stream as it is kept."""
    # Counts are never negative: the smallest unsigned type that holds the largest.
    count_type = np.min_scalar_type(int(stream.counts.max())).newbyteorder("<").str
    return StreamBytes(
        edges=to_bytes(stream.edges, "<f8"),
        counts=to_bytes(stream.counts, count_type),
        count_type=count_type,
        wealth=to_bytes(stream.wealth, "<f8"),
        value=stream.value,
        peak=stream.peak,
        runs=to_bytes(stream.runs, "<f8"),
        starts=to_bytes(stream.starts, "<i8"),
    )


def unpack_stream(kept: StreamBytes) -> Stream:
    """Return the stream that was kept."""
    return Stream(
        edges=floats(kept.edges),
        counts=integers(kept.counts, kept.count_type),
        wealth=floats(kept.wealth),
        value=kept.value,
        peak=kept.peak,
        runs=floats(kept.runs),
        starts=integers(kept.starts, "<i8"),
    )


def to_bytes(values: NDArray[Any], dtype: str) -> bytes:
    """Return the numbers in the given representation, which holds them exactly."""
    return values.astype(dtype).tobytes()


def floats(data: bytes) -> Floats:
    """Return numbers from bytes."""
    return np.frombuffer(data, dtype="<f8").astype(np.float64)


def integers(data: bytes, dtype: str) -> Counts:
    """Return whole numbers from bytes of the given representation."""
    return np.frombuffer(data, dtype=dtype).astype(np.int64)


def refusal(problem: str) -> InputError:
    """Return the error for bytes that hold no evidence."""
    return InputError(
        problem=f"the stored state is no evidence: {problem}",
        expected=f"bytes that evidence_to_bytes wrote, version {VERSION}",
        action="begin the evidence of this watch anew",
    )
