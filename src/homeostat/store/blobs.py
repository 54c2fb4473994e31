"""Immutable folders named by digest: written whole or not at all.

Not here: what the files mean, or whether their bytes are right (`deployment.artifacts`, `data.snapshots`).
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from homeostat.errors import StorageFailed
from homeostat.store.failpoints import failpoint
from homeostat.store.scratch import scratch_folder

# The disk is full or broken: nothing is wrong with what was to be written.
STORAGE_ERRORS = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class BlobStore(Protocol):
    """Where immutable artifacts live. `kind` is a short word such as `releases`."""

    def publish(self, kind: str, digest: str, files: Mapping[str, bytes]) -> Path:
        """Store `files` (name to bytes, written in order) under `digest`; the same digest again changes nothing."""
        ...

    def folder(self, kind: str, digest: str) -> Path | None:
        """Return the local folder of a stored artifact, None if there is none."""
        ...


class FolderBlobs:
    """A `BlobStore` in a folder of the local disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, kind: str, digest: str, files: Mapping[str, bytes]) -> Path:
        """Write to a temporary folder, sync each file and the folder, rename it into place, sync the parent.

        A reader sees nothing or everything: rename is atomic on one volume, and the bytes are on disk before it. What
        killed writers have left of the same kind is removed.

        Raises
        ------
        StorageFailed
            The disk is full or broken.
        """
        try:
            with scratch_folder(self.root / kind) as temporary:
                return publish_folder(temporary, self.root / kind / digest, files)
        except OSError as error:
            if error.errno not in STORAGE_ERRORS:
                raise
            raise StorageFailed(
                problem=f"{kind} {digest[:12]} could not be stored: {error}",
                expected="a disk with room that keeps what it is given",
                action="free or mend the disk; what was under way goes on from there",
            ) from error

    def folder(self, kind: str, digest: str) -> Path | None:
        """Return the folder of a stored artifact, None if there is none."""
        path = self.root / kind / digest
        return path if path.is_dir() else None


def publish_folder(temporary: Path, target: Path, files: Mapping[str, bytes]) -> Path:
    """Fill a temporary folder, put it in place, and return its place; one that is there already stays."""
    kind = target.parent.name
    if not target.is_dir():
        for name, content in files.items():
            write_durably(temporary / name, content, place=f"{kind}.write")
        temporary.chmod(0o755)
        sync_folder(temporary)
        failpoint(f"{kind}.before_rename")
        rename_once(temporary, target)
        failpoint(f"{kind}.after_rename")
    # Also of a folder that is there: whoever put it there may have been killed before this.
    sync_folder(target.parent)
    return target


def write_durably(path: Path, content: bytes, *, place: str) -> None:
    """Write `content` and return once the disk has it; `place` is the failpoint before it."""
    failpoint(place, tear=lambda: path.write_bytes(content[: len(content) // 2]))
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return once the disk has the folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_once(source: Path, target: Path) -> None:
    """Rename a folder into place; if somebody else put the same digest there first, theirs stays."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
