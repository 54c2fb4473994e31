"""Everything that is stored of a release, for whoever looks at it: its parts, its files, and what it was made of.

Not here: who is in production (`deployment.registry`), or loading a release to answer with (`deployment.serving`).
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from homeostat.deployment.artifacts import MANIFEST, PROVENANCE, find_release, open_release
from homeostat.records import Json, Release
from homeostat.store.blobs import BlobStore

# As `data.snapshots` stores a training set. That module needs polars, which the service has not.
SNAPSHOTS, SNAPSHOT_LINEAGE = "snapshots", "lineage.json"
SEARCH = "search.json"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a release."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Dossier:
    """A release with what stands beside it.

    `provenance` and `search` are empty where the release has no such file; `training_set` is the lineage of its
    snapshot, None if that is not in the store any more.
    """

    release: Release
    files: tuple[StoredFile, ...]
    provenance: Json
    search: Json
    training_set: Json | None


def open_dossier(digest: str, blobs: BlobStore) -> Dossier:
    """Return what is stored of a release, every byte of it verified.

    Raises
    ------
    ReleaseMissing
        It is not in the store.
    ArtifactCorrupt
        It is damaged.
    """
    folder = find_release(digest, blobs)
    release, files, provenance, search = read_dossier(folder)
    return Dossier(release, files, provenance, search, find_training_set(release.lineage.get("snapshot"), blobs))


# A release never changes, and a page asks for two or three of them again and again.
@lru_cache(maxsize=4)
def read_dossier(folder: Path) -> tuple[Release, tuple[StoredFile, ...], Json, Json]:
    """Return a release with its files, its provenance and its search."""
    release = open_release(folder)
    listed = json.loads((folder / MANIFEST).read_bytes())["files"]
    files = tuple(StoredFile(name, entry["size_bytes"], entry["sha256"]) for name, entry in sorted(listed.items()))
    provenance, search = (
        json.loads((folder / name).read_bytes()) if name in listed else {} for name in (PROVENANCE, SEARCH)
    )
    return release, files, provenance, search


def find_training_set(snapshot: object, blobs: BlobStore) -> Json | None:
    """Return the lineage of a snapshot, None if it is not in the store."""
    folder = blobs.folder(SNAPSHOTS, str(snapshot))
    if folder is None:
        return None
    found: Json = json.loads((folder / SNAPSHOT_LINEAGE).read_bytes())
    return found
