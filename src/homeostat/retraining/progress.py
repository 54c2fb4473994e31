"""How far a long part of an attempt has come: told by the child process that does it, read by whoever shows it.

Not here: how it is shown (`cli.progress`). It is a file beside the database, for people alone: it decides
nothing, so it is not synced, and a disk that does not take it is no reason to fail.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(".homeostat") / "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` of what `words` says; `process` did it last, at `at` (seconds since 1970)."""

    words: str
    done: int
    total: int
    process: int
    at: float


def telling_progress(folder: Path) -> Callable[[str, int, int], None]:
    """Return what a part of an attempt is handed to tell how far it has come: what it does, how much of how much."""

    def tell(words: str, done: int, total: int) -> None:
        path = folder / FILE
        temporary = path.with_suffix(".incomplete")
        text = json.dumps(asdict(Progress(words, done, total, os.getpid(), time.time())))
        with contextlib.suppress(OSError):
            temporary.write_text(text)
            temporary.replace(path)

    return tell


def read_progress(folder: Path) -> Progress | None:
    """Return how far the process that works now has come, None if none tells."""
    try:
        told = Progress(**json.loads((folder / FILE).read_text()))
        os.kill(told.process, 0)
    except (OSError, ValueError, TypeError):
        return None
    return told
