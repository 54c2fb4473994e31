"""What a process that opens a stranger's release may take: memory, processor time, files, and time by the clock.

Not here: what is done within them (`retraining.comparison`), or what going beyond means (whoever started it).
POSIX: a kernel that does not know one of these limits goes without it.
"""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from homeostat.records import Json

MEGABYTE = 1024 * 1024
PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be taken beyond what the process has when they begin; `wall_s` counts from the start of the process."""

    memory_bytes: int = 2048 * MEGABYTE
    cpu_s: int = 600
    files: int = 64
    wall_s: float = 900.0

    def to_json(self) -> Json:
        """Return the limits as a JSON object."""
        return {"memory_bytes": self.memory_bytes, "cpu_s": self.cpu_s, "files": self.files, "wall_s": self.wall_s}


class OutOfTime(Exception):
    """The process has had its time by the clock."""


def restrict(limits: Limits) -> None:
    """Set the limits on this process, for good: no file of a crash is left either."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime) + limits.cpu_s
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NOFILE, limits.files + count_files())
    # The soft limit ends the process with SIGXCPU, which says why; the hard one, a second later, with SIGKILL.
    lower(resource.RLIMIT_CPU, cpu_s, hard=cpu_s + 1)
    # Address space, not resident memory: the kernel knows no limit of that for one process.
    lower(resource.RLIMIT_AS, mapped_bytes() + limits.memory_bytes)


def lower(which: int, soft: int, *, hard: int | None = None) -> None:
    """Lower one limit, never beyond what this process may have anyway."""
    most = resource.getrlimit(which)[1]
    bound = [value if most == resource.RLIM_INFINITY else min(value, most) for value in (soft, hard or soft)]
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (bound[0], bound[1]))


def count_files() -> int:
    """Return how many files this process has open, 0 where the kernel does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def mapped_bytes() -> int:
    """Return the address space that this process has, 0 where the kernel does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * PAGE_BYTES if status.is_file() else 0


def peak_bytes() -> int:
    """Return the most memory that this process has ever had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def within(wall_s: float, meanwhile: Callable[[], None]) -> Callable[[], None]:
    """Return what to call while a process works: `meanwhile`, until OutOfTime after `wall_s` seconds."""
    deadline = time.monotonic() + wall_s

    def look() -> None:
        meanwhile()
        if time.monotonic() > deadline:
            raise OutOfTime

    return look
