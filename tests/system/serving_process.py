"""`homeostat serve` as a process, or several: started, found by its address, killed at the end whatever happens.

Not here: what is sent to it (`load`), or what strace does with it (`strace`).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

STOP_S = 30


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that answers at an address, by itself or through workers."""

    process: subprocess.Popen[str]
    address: str

    def find_workers(self) -> list[int]:
        """Return the ids of its worker processes, none if it answers by itself."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def kill(self) -> None:
        """Kill the process and its workers, and return once it is gone."""
        workers = self.find_workers() if self.process.poll() is None else []
        self.process.kill()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
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
    assert process.stderr is not None
    serving = Serving(process, process.stdout.readline().strip())
    try:
        assert serving.address, process.stderr.read()
        yield serving
    finally:
        serving.kill()
        process.communicate()
