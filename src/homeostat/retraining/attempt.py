"""One training attempt, or a repetition of one, each part in a process of its own.

Not here: the parts (`retraining.parts`), or when an attempt is made and what follows (`homeostat.loop`). A training
that dies or hogs memory takes nothing with it, and the loop never imports what trains. The child reads one JSON object,
and prints one as its last line.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import HomeostatError, StorageFailed, TrainingFailed, error_from_json, error_to_json
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.parts import PARTS
from homeostat.store.blobs import STORAGE_ERRORS
from homeostat.store.failpoints import failpoint

# PASSIVE: LightGBM's threads spin for work otherwise, which cost a factor of 20 where cores are shared.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
NICENESS = 10
POLL_S = 0.2
EXCEPTION_LINE = re.compile(r"[\w.]+(Error|Exception|Interrupt|Exit): ")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended, and what it wrote: a negative code is the signal that killed it."""

    exit_code: int
    printed: str
    complaints: str


def run_part(part: str, project: Project, request: Json, *, while_waiting: Callable[[], None]) -> Json:
    """Run one part of an attempt in a child process and return its answer.

    Raises
    ------
    HomeostatError
        What the child raised on purpose.
    StorageFailed
        The child met a disk or a database that fails.
    TrainingFailed
        The child ended in any other way.
    """
    ended = run_child(part, project, request, while_waiting=while_waiting)
    return read_answer(part, ended.exit_code, ended.printed, ended.complaints)


def run_child(part: str, project: Project, request: Json, *, while_waiting: Callable[[], None]) -> Ended:
    """Run one part of an attempt in a child process; whatever `while_waiting` raises takes the child along."""
    command = [sys.executable, "-m", "homeostat.retraining.attempt", part, str(project.folder), str(os.getpid())]
    # Files, not pipes: pipes need a thread to serve them, and a signal's handler that raises while the thread was
    # being started closed them under its feet.
    with TemporaryFile("w+") as asked, TemporaryFile("w+") as printed, TemporaryFile("w+") as complained:
        json.dump(request, asked)
        asked.seek(0)
        child = subprocess.Popen(  # noqa: S603  our own interpreter and module
            command, stdin=asked, stdout=printed, stderr=complained, env={**os.environ, **ENVIRONMENT}
        )
        try:
            exit_code = wait_for(child, while_waiting)
        except BaseException:
            child.kill()
            child.wait()
            raise
        printed.seek(0)
        complained.seek(0)
        return Ended(exit_code, printed.read(), complained.read())


def wait_for(child: subprocess.Popen[bytes], while_waiting: Callable[[], None]) -> int:
    """Return the exit code of a process once it has ended; meanwhile call `while_waiting` now and then."""
    while True:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            while_waiting()


def read_answer(part: str, exit_code: int, printed: str, complaints: str) -> Json:
    """Return the child's answer, or raise what it reported."""
    answer = find_answer(printed)
    if answer is None and exit_code == os.EX_IOERR:
        raise StorageFailed(
            problem=f"the {part} process met a disk or a database that fails: {last_complaint(complaints)}",
            expected="a disk with room that keeps what it is given",
            action="free or mend it; the step is tried again",
        )
    if answer is None:
        raise TrainingFailed(
            problem=f"the {part} process ended with code {exit_code}: {last_complaint(complaints)}",
            expected="a finished process",
            action="see the message; the cycle can be started again with `homeostat train`",
        )
    if "error" in answer:
        raise error_from_json(answer["error"])
    return answer


def find_answer(printed: str) -> Json | None:
    """Return the JSON object in the last line that a child has printed, None if there is none."""
    try:
        answer = json.loads((printed.splitlines() or [""])[-1])
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def last_complaint(complaints: str) -> str:
    """Return the line that says why a child ended."""
    lines = complaints.strip().splitlines() or ["it said nothing"]
    # The exception's own line, if there is one: what follows it may be a hint or an address.
    return next((line for line in reversed(lines) if EXCEPTION_LINE.match(line)), lines[-1])


def end_with_parent(parent: int) -> None:
    """End this process when the loop that started it is gone: it would only compete with the next one.

    `parent` is the loop's own word: it may be gone before this process can ask.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Run one part in this process: PART PROJECT PARENT, the request on standard input; return the exit code.

    EX_IOERR: the disk or the database failed, and perhaps not even an answer could be written.
    """
    part, folder, parent = arguments
    end_with_parent(int(parent))
    os.nice(NICENESS)
    try:
        return answer_request(part, Path(folder), json.load(sys.stdin))
    except (OSError, SQLAlchemyError) as error:
        if isinstance(error, OSError) and error.errno not in STORAGE_ERRORS:
            raise
        with suppress(OSError):  # there may be no room for that either
            traceback.print_exc()
        return os.EX_IOERR


def answer_request(part: str, folder: Path, request: Json) -> int:
    """Run one part, print its answer, or the error that it raised on purpose, and return the exit code."""
    try:
        with open_project(folder) as project:
            answer = PARTS[part](project, request)
    except HomeostatError as error:
        answer = {"error": error_to_json(error)}
    failpoint("answer.before")
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()  # here, where a full disk can still be told
    failpoint("answer.after")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
