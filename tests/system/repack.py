"""A writer of a release that can be killed: it packs a release that exists already into another store.

Not here: the packing itself (`deployment.artifacts`), or the killing (`test_artifact_writer`).
"""

import sys
from pathlib import Path

from homeostat.deployment.artifacts import MANIFEST, PROVENANCE, REQUIRED, open_release, pack_release, read_verified
from homeostat.store.blobs import FolderBlobs


def repack(folder: Path, root: Path) -> str:
    """Pack the release in a folder into the store at `root`, and return its digest there."""
    release, files = open_release(folder), read_verified(folder)
    return pack_release(
        graph=release.graph,
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=release.lineage,
        extra={name: content for name, content in files.items() if name not in {*REQUIRED, PROVENANCE, MANIFEST}},
        provenance={},
        blobs=FolderBlobs(root),
    )


if __name__ == "__main__":
    repack(Path(sys.argv[1]), Path(sys.argv[2]))
