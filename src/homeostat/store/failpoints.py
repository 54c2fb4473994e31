"""Named places before and after every durable effect, at which a test can make this process fail.

Not here: any effect. `HOMEOSTAT_FAILPOINT` is NAME=ACTION or NAME=ACTION@N (the Nth time that a process passes the
place, 1 by default), or several of these with commas between. Actions: `kill` (SIGKILL), `kill-all` (of the whole
process group: a loop and what trains for it), `torn` (half of the file that is written there, then as `kill-all`),
`stop` (SIGSTOP), `eio`, `enospc` (the error of a disk), `delay:SECONDS`. Without the variable a place costs a look into
the environment. `HOMEOSTAT_FAILPOINT_LOG` names a file to which each place that is passed is appended: what it holds
after a run is every place at which that run can be killed.
"""

import errno
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from homeostat.errors import SettingsInvalid

VARIABLE, LOG = "HOMEOSTAT_FAILPOINT", "HOMEOSTAT_FAILPOINT_LOG"
ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}
WISH = re.compile(r"([\w.-]+)=(kill|kill-all|torn|stop|eio|enospc|delay:\d+(?:\.\d+)?)(?:@([1-9]\d*))?")
# How often each place was passed in this process.
passed: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Wish:
    """What the variable asks for: an action at the Nth pass of a place."""

    place: str
    action: str
    turn: int


def failpoint(name: str, *, tear: Callable[[], object] | None = None) -> None:
    """Pass a place: fail here if the environment says so.

    Parameters
    ----------
    name
        The place, such as `promote.before_commit`.
    tear
        What writes half of the file that is about to be written; None where no file is.

    Raises
    ------
    OSError
        The action is `eio` or `enospc`.
    SettingsInvalid
        The variable asks for nothing that can be done, here or anywhere.
    """
    if path := os.environ.get(LOG):
        with open(path, "a", encoding="utf-8") as log:  # noqa: PTH123  a name that may be no plain file
            log.write(f"{name}\n")
    text = os.environ.get(VARIABLE)
    if not text:
        return
    wishes = [wish for wish in read_wishes(text) if wish.place == name]
    passed[name] += bool(wishes)
    for wish in wishes:
        if passed[name] == wish.turn:
            fail(wish.action, name, tear)


@contextmanager
def durable(name: str) -> Iterator[None]:
    """Pass a place before and one after a durable effect, which is the block."""
    failpoint(f"{name}.before")
    yield
    failpoint(f"{name}.after")


@lru_cache(maxsize=1)
def read_wishes(text: str) -> tuple[Wish, ...]:
    """Return what the variable asks for; SettingsInvalid if it asks for nothing."""
    found = [WISH.fullmatch(part) for part in text.split(",")]
    if None in found:
        raise SettingsInvalid(
            problem=f"{VARIABLE} is {text!r}",
            expected="PLACE=ACTION or PLACE=ACTION@N; actions: kill, kill-all, torn, stop, eio, enospc, delay:SECONDS",
            action=f"correct or unset {VARIABLE}",
        )
    return tuple(Wish(match[1], match[2], int(match[3] or 1)) for match in found if match)


def fail(action: str, name: str, tear: Callable[[], object] | None) -> None:
    """Do what the variable asks for."""
    kind, _, seconds = action.partition(":")
    if kind in ERRORS:
        raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), name)
    if kind == "delay":
        time.sleep(float(seconds))
    elif kind == "torn" and tear is None:
        raise SettingsInvalid(
            problem=f"{VARIABLE} asks for a torn file at {name}, where none is written",
            expected="a place that writes one, such as releases.write",
            action=f"correct or unset {VARIABLE}",
        )
    else:
        if tear is not None and kind == "torn":
            tear()
        end(kind)


def end(kind: str) -> None:
    """Stop this process, or end it, or every process of its group."""
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.killpg(os.getpgrp(), signal.SIGKILL)
