"""Immutable training sets: named by their logical content, each row on its side for good.

Not here: which rows are accepted (`validation.checks`) or where labelled production rows come from
(`monitoring.production`).
"""

import hashlib
import io
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from homeostat.data.columns import join_columns, take_rows, texts
from homeostat.errors import ArtifactCorrupt, DataInsufficient, ReleaseMissing, SettingsInvalid
from homeostat.records import Columns, Floats, Json, LabelledRows, Mask, Schema, Side, Snapshot, Texts
from homeostat.store.blobs import BlobStore

KIND = "snapshots"
FILE, PRODUCTION = "file", "production"
NUMBER_BYTES = 8
CELL_BAR = "|"


def row_contents(columns: Columns) -> list[bytes]:
    """Return the canonical bytes of each row: float64 little-endian, text with its length, in column order."""
    parts: list[list[bytes]] = []
    # Neighbouring columns of numbers at once: cell by cell, a million rows of twenty columns took half a minute.
    for is_text, run in itertools.groupby(columns.values(), key=lambda array: array.dtype == object):
        arrays = list(run)
        parts += [text_contents(array) for array in arrays] if is_text else [number_contents(arrays)]
    return [b"|".join(cells) for cells in zip(*parts, strict=True)]


def number_contents(arrays: Sequence[NDArray[Any]]) -> list[bytes]:
    """Return the bytes of the cells of each row, divided by bars."""
    width = len(CELL_BAR) + NUMBER_BYTES
    table = np.empty((len(arrays[0]), len(arrays) * width), dtype=np.uint8)
    table[:, NUMBER_BYTES::width] = ord(CELL_BAR)
    for place, array in enumerate(arrays):
        # + 0.0 turns the negative zero into the positive one; NaN is rewritten to one bit pattern.
        numbers = array.astype(np.float64)
        plain = np.where(np.isnan(numbers), np.nan, numbers + 0.0).astype("<f8")
        table[:, place * width : place * width + NUMBER_BYTES] = plain.view(np.uint8).reshape(-1, NUMBER_BYTES)
    raw, row_width = table.tobytes(), len(arrays) * width
    return [raw[at : at + row_width - len(CELL_BAR)] for at in range(0, len(raw), row_width)]


def text_contents(array: NDArray[Any]) -> list[bytes]:
    """Return the bytes of each cell: its length and the text, a dash for none."""
    cells = array.tolist()
    known = {cell: b"-" if cell is None else b"%d:" % len(cell) + cell.encode() for cell in set(cells)}
    return [known[cell] for cell in cells]


def identify_rows(columns: Columns) -> Texts:
    """Return the id of each file row, the SHA-256 of its features (duplicates fall together), shape (n_rows,)."""
    return texts([hashlib.sha256(content).hexdigest()[:32] for content in row_contents(columns)])


def choose_side(row_id: str, *, origin: str, anchor_share: float, recent_share: float) -> Side:
    """Return the side of a row, which follows from its id alone and so never changes.

    Rows of files are anchor or training, labelled predictions are recent (kept from all training) or training.
    """
    place = int.from_bytes(hashlib.sha256(b"side:" + row_id.encode()).digest()[:8]) / 2**64
    if origin == FILE:
        return "anchor" if place < anchor_share else "training"
    return "recent" if place < recent_share else "training"


def require_classes(rows: LabelledRows, *, at_least: int) -> None:
    """Raise DataInsufficient unless training side and anchor each hold so many rows of both classes."""
    for side in ("training", "anchor"):
        chosen = rows.labels[rows.sides == side]
        fewest = min(int(chosen.sum()), int((1 - chosen).sum()))
        if fewest < at_least:
            raise DataInsufficient(
                problem=f"the {side} side has {len(chosen)} rows, only {fewest} of its rarer class",
                expected=f"at least {at_least} rows of each class on each side (training.folds)",
                action=f"give more rows of the rarer class, or {describe_remedy(side, fewest)}",
            )


def describe_remedy(side: str, fewest: int) -> str:
    """Return what else helps a side that has so few rows of its rarer class."""
    share = "raise" if side == "anchor" else "lower"
    folds = f", or set training.folds to {fewest}" if fewest > 1 else ""
    return f"{share} training.anchor_share{folds}"


def join_labelled(parts: Sequence[LabelledRows], schema: Schema) -> LabelledRows:
    """Return the rows of all parts; a prediction that several parts hold is taken once, a file's duplicates stay."""
    ids = np.concatenate([part.ids for part in parts])
    origins = np.concatenate([part.origins for part in parts])
    columns = join_columns([part.columns for part in parts], schema)
    seen: set[str] = set()
    keep = np.ones(len(ids), dtype=np.bool_)
    for row, (row_id, origin) in enumerate(zip(ids.tolist(), origins.tolist(), strict=True)):
        keep[row] = origin == FILE or row_id not in seen
        seen.add(row_id)
    labels = np.concatenate([part.labels for part in parts])
    sides = np.concatenate([part.sides for part in parts])
    seqs = np.concatenate([part.seqs for part in parts])
    return take_labelled(LabelledRows(ids, columns, labels, sides, origins, seqs, join_times(parts)), keep)


def join_times(parts: Sequence[LabelledRows]) -> Floats | None:
    """Return the moments of the rows of all parts, NaN for those of parts without any; None if no part has any."""
    if all(part.times is None for part in parts):
        return None
    unknown = [np.full(len(part.labels), np.nan) for part in parts]
    return np.concatenate(
        [none if part.times is None else part.times for part, none in zip(parts, unknown, strict=True)]
    )


def take_labelled(rows: LabelledRows, chosen: Mask | NDArray[np.int64]) -> LabelledRows:
    """Return the chosen rows: a mask of shape (n_rows,), or row numbers."""
    heads = (rows.labels[chosen], rows.sides[chosen], rows.origins[chosen], rows.seqs[chosen])
    times = None if rows.times is None else rows.times[chosen]
    return LabelledRows(rows.ids[chosen], take_rows(rows.columns, chosen), *heads, times)


def origin_part(rows: LabelledRows, origin: str) -> LabelledRows:
    """Return the rows of one origin."""
    return take_labelled(rows, np.asarray(rows.origins == origin, dtype=np.bool_))


def digest_content(rows: LabelledRows, baseline: Columns, schema: Schema) -> str:
    """Return the SHA-256 of a snapshot's logical content: the schema and the rows in sorted order."""
    digest = hashlib.sha256(schema.digest.encode())
    heads = zip(rows.ids.tolist(), rows.sides.tolist(), rows.origins.tolist(), rows.labels.tolist(), strict=True)
    # Without a number: rows of files, and whatever a snapshot of before holds, whose name must stay what it was.
    seqs = [f"|{seq}" if seq else "" for seq in rows.seqs.tolist()]
    if rows.times is not None:
        seqs = [f"{seq}|at {time!r}" for seq, time in zip(seqs, rows.times.tolist(), strict=True)]
    keys = [("|".join(map(str, head)) + seq).encode() for head, seq in zip(heads, seqs, strict=True)]
    for content in sorted(key + b"|" + row for key, row in zip(keys, row_contents(rows.columns), strict=True)):
        digest.update(b"%d:" % len(content) + content)
    digest.update(b"baseline")
    for content in sorted(row_contents(baseline)):
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()


def create_snapshot(
    rows: LabelledRows, baseline: Columns, *, schema: Schema, lineage: Json, blobs: BlobStore
) -> Snapshot:
    """Store a training set under the digest of its content and return it; the same content again changes nothing."""
    digest = digest_content(rows, baseline, schema)
    sides = rows.sides.tolist()
    full = {
        **lineage,
        "schema": schema.digest,
        "rows": {side: sides.count(side) for side in ("training", "anchor", "recent")},
        "positives": int(rows.labels.sum()),
        "baseline_rows": len(next(iter(baseline.values()))),
    }
    heads: dict[str, NDArray[Any]] = {
        "id": rows.ids,
        "side": rows.sides,
        "origin": rows.origins,
        "label": rows.labels,
        "seq": rows.seqs,
    }
    heads |= {} if rows.times is None else {"time": rows.times}
    frame = pl.DataFrame({f".{name}": to_series(values) for name, values in heads.items()}).hstack(
        to_frame(rows.columns)
    )
    files = {
        "rows.parquet": to_parquet(frame),
        "baseline.parquet": to_parquet(to_frame(baseline)),
        "lineage.json": json.dumps(full, indent=1, sort_keys=True).encode(),
    }
    blobs.publish(KIND, digest, files)
    return Snapshot(digest, rows, baseline, full)


def load_snapshot(digest: str, *, schema: Schema, blobs: BlobStore) -> Snapshot:
    """Return a stored snapshot, its content verified against its name.

    Raises
    ------
    ReleaseMissing
        There is no such snapshot.
    SettingsInvalid
        The schema was edited since.
    ArtifactCorrupt
        The stored files cannot be read, or the rows are not those that the digest names.
    """
    folder = blobs.folder(KIND, digest)
    if folder is None:
        raise ReleaseMissing(
            problem=f"there is no snapshot {digest[:12]}", expected="a stored snapshot", action="run `homeostat train`"
        )
    try:
        lineage: Json = json.loads((folder / "lineage.json").read_bytes())
        require_schema(str(lineage["schema"]), digest, schema)
        frame = pl.read_parquet(folder / "rows.parquet", glob=False)
        columns = from_frame(frame, schema)
        ids, sides, origins = (texts(frame[f".{name}"].to_list()) for name in ("id", "side", "origin"))
        labels = frame[".label"].to_numpy(writable=True).astype(np.int8)
        known = ".seq" in frame.columns  # not in a snapshot of before
        seqs = frame[".seq"].to_numpy(writable=True) if known else np.zeros(len(labels), dtype=np.int64)
        times = frame[".time"].to_numpy(writable=True) if ".time" in frame.columns else None
        rows = LabelledRows(ids, columns, labels, sides, origins, seqs, times)
        baseline = from_frame(pl.read_parquet(folder / "baseline.parquet", glob=False), schema)
    except (PolarsError, OSError, ValueError, KeyError, TypeError) as error:
        raise corrupt(digest, f"cannot be read ({str(error).splitlines()[0]})") from error
    found = digest_content(rows, baseline, schema)
    if found != digest:
        raise corrupt(digest, f"holds the content {found[:12]}")
    return Snapshot(digest, rows, baseline, lineage)


def require_schema(stored: str, digest: str, schema: Schema) -> None:
    """Raise SettingsInvalid if a snapshot was taken under another schema than the project has now."""
    if stored != schema.digest:
        raise SettingsInvalid(
            problem=f"the features in homeostat.toml were edited since snapshot {digest[:12]} was taken",
            expected=f"the schema {stored[:12]}, found {schema.digest[:12]}",
            action="restart the loop if one runs, then run `homeostat train` for the edited features",
        )


def corrupt(digest: str, problem: str) -> ArtifactCorrupt:
    """Return the three-part error for a stored snapshot."""
    return ArtifactCorrupt(
        problem=f"snapshot {digest[:12]} {problem}",
        expected="the rows that it is named by, as they were stored",
        action="restore the blobs from a backup",
    )


def to_frame(columns: Columns) -> pl.DataFrame:
    """Return columns as a table."""
    return pl.DataFrame({name: to_series(array) for name, array in columns.items()})


def to_series(array: NDArray[Any]) -> pl.Series:
    """Return one array as a column: text, or its own number type."""
    return pl.Series(array.tolist(), dtype=pl.String) if array.dtype == object else pl.Series(array)


def from_frame(frame: pl.DataFrame, schema: Schema) -> Columns:
    """Return the features of a stored table, as they stand: a blank in a category is part of it."""
    return {
        f.name: texts(frame[f.name].to_list()) if f.kind == "categorical" else frame[f.name].to_numpy(writable=True)
        for f in schema.features
    }


def to_parquet(frame: pl.DataFrame) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
