"""A running Homeostat as an operator has it: `homeostat up` started as a process, waited for, stopped.

Not here: what is sent to it (`simulation.traffic`).
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from homeostat.errors import StateError

LOG = "up.log"
START_S = 60.0
STOP_S = 60.0
POLL_S = 0.1

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Installation:
    """A running service and loop: its address and its process."""

    address: str
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """End it as an operator would, by SIGTERM, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def install(folder: Path, *, keep: bool) -> Iterator[Installation]:
    """Start `homeostat up` on any free port and yield it once it answers.

    It is stopped when the block ends; with `keep`, only if the block raises. Its output goes to `up.log`.

    Raises
    ------
    StateError
        It did not start.
    """
    command = [sys.executable, "-m", "homeostat", "up", "--project", str(folder), "--port", "0"]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603  our own command
    running = Installation("", process)
    try:
        running = Installation(await_address(folder / LOG, process), process)
        yield running
    except BaseException:
        running.stop()
        raise
    if not keep:
        running.stop()


def await_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address that the service prints once it answers."""

    def look() -> str | None:
        if process.poll() is not None:
            raise StateError(
                problem=f"`homeostat up` ended with code {process.returncode}",
                expected="a running service",
                action=f"see {log}",
            )
        return next((line for line in log.read_text().splitlines() if line.startswith("http://")), None)

    return wait_until(look, what=f"the service to answer (see {log})", patience_s=START_S)


def wait_until(look: Callable[[], Found | None], *, what: str, patience_s: float) -> Found:
    """Return the first result of `look` that is something.

    Raises
    ------
    StateError
        There was none in time.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(POLL_S)
    raise StateError(
        problem=f"waited {patience_s:.0f} s for {what}",
        expected="it to happen by then",
        action="see up.log in the project",
    )
