"""Named places before and after every durable effect, at which a test can make this process fail.

Not here: any effect. `HOMEOSTAT_FAILPOINT` is NAME=ACTION or NAME=ACTION@N (the Nth time that a process passes the
place, 1 by default). Actions: `kill` (SIGKILL), `eio`, `enospc` (the error of a disk), `delay:SECONDS`. Without the
variable a place costs a look into the environment. `HOMEOSTAT_FAILPOINT_LOG` names a file to which each place that is
passed is appended: what it holds after a run is every place at which that run can be killed.
"""

import errno
import os
import signal
import time
from collections import Counter

from homeostat.errors import SettingsInvalid

VARIABLE, LOG = "HOMEOSTAT_FAILPOINT", "HOMEOSTAT_FAILPOINT_LOG"
ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}
# How often each place was passed in this process.
passed: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Pass a place: fail here if the environment says so.

    Raises
    ------
    OSError
        The action is `eio` or `enospc`.
    SettingsInvalid
        The variable holds no such action.
    """
    if path := os.environ.get(LOG):
        with open(path, "a", encoding="utf-8") as log:  # noqa: PTH123  a name that may be no plain file
            log.write(f"{name}\n")
    wish = os.environ.get(VARIABLE)
    if not wish:
        return
    place, _, action = wish.partition("=")
    if place != name:
        return
    passed[name] += 1
    what, _, which = action.partition("@")
    if passed[name] == int(which or 1):
        fail(what, name)


def fail(action: str, name: str) -> None:
    """Do what the variable asks for."""
    kind, _, seconds = action.partition(":")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "delay":
        time.sleep(float(seconds))
    elif kind in ERRORS:
        raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), name)
    else:
        raise SettingsInvalid(
            problem=f"{VARIABLE} asks for {action!r}",
            expected="kill, eio, enospc or delay:SECONDS",
            action=f"correct or unset {VARIABLE}",
        )
