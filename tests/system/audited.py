"""`homeostat` under an audit hook: once SIGUSR1 has come, what a service must never do is written to standard error.

Run as a program: `audited.py ROOT[:ROOT...] COMMAND...`. Files may be opened under the roots, and where Python is.
https://peps.python.org/pep-0578/
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEVER = frozenset({"pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"})
PYTHON = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "src"))


class Watch:
    """The hook: quiet until it is armed."""

    def __init__(self, roots: Sequence[str]) -> None:
        self.armed = False
        self._roots = tuple(os.path.realpath(root) for root in (*roots, *PYTHON))

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Report one event if it is one of those that must not be."""
        if self.armed and (event in NEVER or (event in {"open", "exec"} and self._is_foreign(event, arguments[0]))):
            os.write(2, f"{event} {arguments!r}\n".encode())

    def _is_foreign(self, event: str, what: object) -> bool:
        path = getattr(what, "co_filename", "") if event == "exec" else what
        # An open descriptor is no path, and code in angle brackets is made by the standard library (named tuples).
        if isinstance(path, int) or (event == "exec" and str(path).startswith("<")):
            return False
        return not os.path.realpath(os.fsdecode(str(path))).startswith(self._roots)


if __name__ == "__main__":
    watch = Watch(sys.argv[1].split(":"))
    sys.addaudithook(watch)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(watch, "armed", True))
    from homeostat.cli import main

    sys.argv = ["homeostat", *sys.argv[2:]]
    main()
