"""A release on disk: packing it under its digest, and opening it only if every byte is right.

Not here: who may be in production (`deployment.registry`) or answering requests (`deployment.serving`). Nothing is
pickled: a release is ONNX, native model text and JSON.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from homeostat.data.columns import stack_rows, unstack_rows
from homeostat.errors import ArtifactCorrupt, GoldenMismatch, ReleaseMissing
from homeostat.records import Columns, Golden, Json, OutOfFold, Profile, Release, Schema
from homeostat.store.blobs import BlobStore
from homeostat.training.scoring import Graph
from homeostat.validation.profiles import profile_from_json, profile_to_json
from homeostat.validation.schema import schema_from_json, schema_to_json

KIND = "releases"
MANIFEST = "manifest.json"
# Times and run ids: covered by the manifest, left out of the digest, so that the same training gives the same digest.
PROVENANCE = "provenance.json"
GRAPH, SCHEMA, PROFILE, GOLDEN = "model.onnx", "schema.json", "profile.json", "golden.json"
METRICS, LINEAGE = "metrics.json", "lineage.json"
# Not required: what was packed otherwise than by a training has no rows out of fold, and none that were held out.
OUT_OF_FOLD, HELD_OUT = "out_of_fold.json", "held_out.json"
# Not required either: the native model and what explains it, and what it has learned of each feature.
NATIVE, PREPROCESSING, EFFECTS = "model.txt", "preprocessing.json", "effects.json"
REQUIRED = (GRAPH, SCHEMA, PROFILE, GOLDEN, METRICS, LINEAGE)
FORMAT = 1
# What may differ between two machines' arithmetic; on one platform the difference is 0.
TOLERANCE = 1e-6


def pack_release(
    *,
    graph: bytes,
    schema: Schema,
    profile: Profile,
    golden_inputs: Columns,
    metrics: Json,
    lineage: Json,
    extra: Mapping[str, bytes],
    provenance: Json,
    blobs: BlobStore,
) -> str:
    """Store a release and return its digest; the answers to the golden rows are the packed graph's own.

    `extra` holds further files by name, such as the native model text. `provenance` is kept but not part of the
    digest. The manifest is written last, and the folder appears under its name only when complete.
    """
    expected = Graph(graph, schema).score(golden_inputs)
    golden = {"rows": unstack_rows(golden_inputs), "expected": [float(p) for p in expected]}
    documents = {
        SCHEMA: schema_to_json(schema),
        PROFILE: profile_to_json(profile),
        GOLDEN: golden,
        METRICS: metrics,
        LINEAGE: lineage,
    }
    files = {GRAPH: graph, **extra, **{name: to_json_bytes(content) for name, content in documents.items()}}
    digest = release_digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    files[PROVENANCE] = to_json_bytes(provenance)
    blobs.publish(KIND, digest, {**files, MANIFEST: render_manifest(digest, files)})
    return digest


def render_manifest(digest: str, files: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a release's manifest: what it is, and the digest and size of every file."""
    listed = {name: {"sha256": hashlib.sha256(c).hexdigest(), "size_bytes": len(c)} for name, c in files.items()}
    return to_json_bytes({"format": FORMAT, "digest": digest, "files": listed})


def release_digest(digests: Mapping[str, str]) -> str:
    """Return a release's name: the SHA-256 over the digests of its files, times and run ids left out."""
    named = {name: digest for name, digest in digests.items() if name != PROVENANCE}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def to_json_bytes(content: Json) -> bytes:
    """Return a JSON object as bytes, its keys in the order given: features stay in schema order."""
    return json.dumps(content, indent=1, allow_nan=False).encode()


def find_release(digest: str, blobs: BlobStore) -> Path:
    """Return the folder of a release; ReleaseMissing if there is none."""
    folder = blobs.folder(KIND, digest)
    if folder is None:
        raise ReleaseMissing(
            problem=f"there is no release {digest[:12]} in the store",
            expected="a release that `homeostat releases` lists",
            action="restore the blobs from a backup, or train again",
        )
    return folder


def open_release(folder: Path) -> Release:
    """Return a stored release after verifying every byte of it; nothing is parsed before.

    Raises
    ------
    ArtifactCorrupt
        A file is missing, added, changed or no plain file, or the content is not what the folder is named by.
    """
    files = read_verified(folder)
    parsed = {name: json.loads(files[name]) for name in (SCHEMA, PROFILE, GOLDEN, METRICS, LINEAGE)}
    schema = schema_from_json(parsed[SCHEMA])
    golden = Golden(stack_rows(parsed[GOLDEN]["rows"], schema), np.array(parsed[GOLDEN]["expected"], dtype=np.float32))
    profile = profile_from_json(parsed[PROFILE])
    held_out = np.array(json.loads(files[HELD_OUT])["scores"] if HELD_OUT in files else [], dtype=np.float64)
    out_of_fold = parse_out_of_fold(files[OUT_OF_FOLD]) if OUT_OF_FOLD in files else None
    return Release(
        folder.name,
        schema,
        files[GRAPH],
        profile,
        golden,
        parsed[METRICS],
        parsed[LINEAGE],
        held_out,
        out_of_fold,
        effects=json.loads(files[EFFECTS]) if EFFECTS in files else None,
    )


@lru_cache(maxsize=2)
def recall_release(folder: Path) -> Release:
    """Return `open_release`, once in each process: a release never changes, and a large one takes seconds to verify."""
    return open_release(folder)


def parse_out_of_fold(content: bytes) -> OutOfFold:
    """Return the out-of-fold probabilities and outcomes that a training has packed."""
    parsed = json.loads(content)
    return OutOfFold(np.array(parsed["probability"], dtype=np.float64), np.array(parsed["label"], dtype=np.int8))


def read_verified(folder: Path) -> dict[str, bytes]:
    """Return every file of a release folder, read once, its bytes equal to the manifest's digests."""
    manifest, listed = read_manifest(folder)
    present = {entry.name: entry for entry in folder.iterdir() if entry.name != MANIFEST}
    for name in sorted(set(listed) ^ set(present)):
        raise corrupt(folder, f"file {name!r} is {'missing' if name in listed else 'not in the manifest'}")
    files: dict[str, bytes] = {}
    for name, entry in present.items():
        if entry.is_symlink() or not entry.is_file():
            raise corrupt(folder, f"{name!r} is no plain file")
        files[name] = entry.read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            raise corrupt(folder, f"the bytes of {name!r} differ from their digest")
    found = release_digest(listed)
    if found != folder.name:
        raise corrupt(folder, f"the content has the digest {found[:12]}")
    if manifest != render_manifest(found, {name: files[name] for name in listed}):
        raise corrupt(folder, "the manifest is not as it was written")
    return files


def read_manifest(folder: Path) -> tuple[bytes, dict[str, str]]:
    """Return the bytes of the manifest, and the digests by file name that it lists."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise corrupt(folder, "there is no manifest")
    content = path.read_bytes()
    try:
        listed = {str(name): str(entry["sha256"]) for name, entry in json.loads(content)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise corrupt(folder, f"the manifest cannot be read ({error})") from error
    for name in REQUIRED:
        if name not in listed:
            raise corrupt(folder, f"the manifest does not list {name!r}")
    return content, listed


def corrupt(folder: Path, problem: str) -> ArtifactCorrupt:
    """Return the three-part error for a release folder."""
    return ArtifactCorrupt(
        problem=f"release {folder.name[:12]}: {problem}",
        expected="exactly the files that were packed, byte for byte",
        action="restore the folder from a backup, or promote another release",
    )


def require_golden_rows(release: Release) -> None:
    """Raise GoldenMismatch unless there are golden rows with one answer each: no rows would pass any comparison."""
    rows = [len(values) for values in release.golden.columns.values()]
    if not rows or min(rows) == 0 or release.golden.expected.shape != (rows[0],):
        raise GoldenMismatch(
            problem=f"release {release.digest[:12]} has {min(rows, default=0)} golden rows and "
            f"{release.golden.expected.size} recorded answers",
            expected="at least one golden row, and one answer for each",
            action="train and promote another release",
        )


def check_golden(release: Release, graph: Graph) -> float:
    """Return the largest difference between recorded and given answers; GoldenMismatch beyond 1e-6."""
    require_golden_rows(release)
    given = graph.score(release.golden.columns)
    # A NaN answer must fail, and would pass a plain comparison.
    differences = np.nan_to_num(np.abs(given.astype(np.float64) - release.golden.expected), nan=np.inf)
    largest = float(differences.max(initial=0.0))
    if largest > TOLERANCE:
        raise GoldenMismatch(
            problem=f"release {release.digest[:12]} answers {int((differences > TOLERANCE).sum())} of {len(given)} "
            f"golden rows differently, by up to {largest:.2g}",
            expected=f"its recorded answers within {TOLERANCE:g}",
            action="promote another release; this platform or its libraries compute differently",
        )
    return largest
