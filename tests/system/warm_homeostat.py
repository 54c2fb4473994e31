"""Runs `homeostat` commands, each in a fork of a process that has imported everything: a start costs milliseconds.

Reads one JSON object per line: `arguments`, `environment` (variables to add), `output` (a file for what it prints).
Writes one line per command: its exit code, negative for a signal. Each command leads a process group of its own.
"""

import json
import os
import sys
import traceback
from typing import Any

import homeostat.cli.loop
import homeostat.cli.train
from homeostat.cli import main


def run(order: dict[str, Any]) -> None:
    """Become the command; never return."""
    os.setsid()
    os.environ.update(order["environment"])
    printed = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, descriptor in ((os.open(os.devnull, os.O_RDONLY), 0), (printed, 1), (printed, 2)):
        os.dup2(source, descriptor)
    sys.argv = ["homeostat", *order["arguments"]]
    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  what Python itself does at its edge
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def serve() -> None:
    """Carry out one order after the other."""
    assert homeostat.cli.loop
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
