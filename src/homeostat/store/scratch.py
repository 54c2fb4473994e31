"""A folder for what is not complete yet: it is gone when its writer is, however that one ended.

Not here: what is written into it, or how it becomes complete (`store.blobs`). Each writer shares a lock on the folder
around it, which the kernel takes back from the dead: whoever gets that lock alone knows that no writer lives, so that
whatever lies there was left by a killed one.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PREFIX = ".incomplete-"


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """Make a folder in `home`, which is made if it is not there, and remove it after the block if it is still there.

    What killed writers have left in `home` is removed first, unless another writer is at work there.
    """
    home.mkdir(parents=True, exist_ok=True)
    # A new descriptor each time: what locks it is the opening, so that threads are told apart as processes are.
    descriptor = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sweep(home, descriptor)
        with suppress(OSError):  # where nobody can lock, nobody sweeps either
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with TemporaryDirectory(prefix=PREFIX, dir=home, ignore_cleanup_errors=True) as made:
            yield Path(made)
    finally:
        os.close(descriptor)


def sweep(home: Path, descriptor: int) -> None:
    """Remove every unfinished folder if no writer lives; `descriptor` is of `home`, and may stay locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    for left in home.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
