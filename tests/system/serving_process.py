"""`homeostat serve` as a process of its own: started, found by its address, killed at the end whatever happens.

Not here: what is sent to it (`load`), or what strace does with it (`strace`).
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_S = 30


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that answers at an address."""

    process: subprocess.Popen[str]
    address: str

    def kill(self) -> None:
        """Kill the process, and return once it is gone."""
        self.process.kill()
        self.process.wait(STOP_S)


@contextmanager
def serve(folder: Path, *, under: Sequence[str] = (), settings: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Start the service of a project on a free port; at the end of the context nothing of it is left.

    Parameters
    ----------
    under
        What to put before the command (`strace.record`, `strace.inject`).
    settings
        Environment variables that override settings, such as HOMEOSTAT_SERVING__WORKERS.
    """
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "homeostat", "serve", "--project", str(folder), "--port", "0"],
        env=os.environ | (settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Serving(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()
