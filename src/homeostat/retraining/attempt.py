"""One training attempt, or a repetition of one, each part in a process of its own.

Not here: when an attempt is made or what follows (`homeostat.loop`). A training that dies or hogs memory takes nothing
with it, and the loop never imports what trains. The child reads one JSON object, and prints one as its last line.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import HomeostatError, StorageFailed, TrainingFailed, error_from_json, error_to_json
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.store.blobs import STORAGE_ERRORS
from homeostat.store.failpoints import failpoint

# The libraries whose version can change a model's bytes.
LIBRARIES = ("lightgbm", "numpy", "onnx", "onnxruntime", "optuna", "scikit-learn")
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


def snapshot_part(project: Project, request: Json) -> Json:
    """Freeze the training set of a cycle."""
    from homeostat.retraining.freezing import freeze_training_set  # noqa: PLC0415  only the child reads tables

    now = datetime.fromisoformat(request["now"])
    return freeze_training_set(project, reload_files=request["reload_files"], now=now)


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


def search_part(project: Project, request: Json) -> Json:
    """Search for the best configuration on the rows of a snapshot that a recipe takes."""
    from homeostat.data.snapshots import load_snapshot  # noqa: PLC0415  only the child trains
    from homeostat.training.recipes import recipe_from_json  # noqa: PLC0415  as above
    from homeostat.training.train import search, select_training  # noqa: PLC0415  as above

    snapshot = load_snapshot(request["snapshot"], schema=project.schema, blobs=project.blobs)
    rows = select_training(snapshot.rows, project.settings.training, recipe_from_json(request["recipe"]))
    return search(rows, project.schema, project.settings.training)


def fit_part(project: Project, request: Json) -> Json:
    """Fit the winner of each search, and pack the best of them as a release."""
    from homeostat.data.snapshots import load_snapshot  # noqa: PLC0415  only the child trains
    from homeostat.retraining.candidates import pack_best  # noqa: PLC0415  as above

    snapshot = load_snapshot(request["snapshot"], schema=project.schema, blobs=project.blobs)
    provenance = {"created_at": datetime.now(UTC).isoformat(), "cycle": request["cycle"], "trigger": request["trigger"]}
    code = code_version()
    searches, change = request["searches"], request["change"]
    return pack_best(project, snapshot, searches, change=change, code=code, provenance=provenance)


def prepare_part(project: Project, request: Json) -> Json:  # noqa: ARG001  one signature for all parts
    """Build the experiment manager's store, which takes seconds the first time."""
    from homeostat.training.tracking import open_client  # noqa: PLC0415  only the child loads MLflow

    open_client(project.tracking_url)
    return {}


def track_part(project: Project, request: Json) -> Json:
    """Record the attempt in the experiment manager."""
    from homeostat.deployment.artifacts import find_release  # noqa: PLC0415  only the child loads MLflow
    from homeostat.training.tracking import open_client, record_run  # noqa: PLC0415  as above

    run_id = record_run(
        open_client(project.tracking_url),
        project=project.settings.project.name,
        artifacts=project.folder / ".homeostat" / "tracking",
        release=request["release"],
        folder=find_release(request["release"], project.blobs),
        tags={
            "homeostat.cycle": str(request["cycle"]),
            "homeostat.trigger": request["trigger"],
            "homeostat.snapshot": request["snapshot"],
            "homeostat.code": version("homeostat"),
        },
    )
    return {"run_id": run_id}


def judge_part(project: Project, request: Json) -> Json:
    """Put a challenger before the gate: what is our own is loaded, then this process limits itself."""
    from homeostat.deployment.registry import gate_to_json  # noqa: PLC0415  only the child opens a challenger
    from homeostat.records import GateResult  # noqa: PLC0415  as above
    from homeostat.retraining.cases import case_from_json  # noqa: PLC0415  as above
    from homeostat.retraining.comparison import Refused, compare, prepare  # noqa: PLC0415  as above
    from homeostat.retraining.limits import restrict  # noqa: PLC0415  as above

    case = case_from_json(request["case"])
    try:
        prepared = prepare(project, case)
    except Refused as refused:
        return gate_to_json(GateResult((refused.criterion,)))
    restrict(case.limits)
    return gate_to_json(compare(prepared, case))


def shadow_part(project: Project, request: Json) -> Json:
    """Let a challenger answer live rows: what is our own is loaded, then this process limits itself."""
    from homeostat.deployment.registry import gate_to_json  # noqa: PLC0415  only the child opens a challenger
    from homeostat.retraining.cases import shadow_from_json  # noqa: PLC0415  as above
    from homeostat.retraining.limits import restrict  # noqa: PLC0415  as above
    from homeostat.retraining.shadowing import judge_beside, prepare_shadow  # noqa: PLC0415  as above

    shadow = shadow_from_json(request["shadow"])
    beside = prepare_shadow(project, shadow)
    restrict(shadow.limits)
    return gate_to_json(judge_beside(beside, shadow))


def mirror_part(project: Project, request: Json) -> Json:
    """Point the experiment manager's alias at the release in production."""
    from homeostat.training.tracking import mirror_production, open_client  # noqa: PLC0415  only the child loads MLflow

    client = open_client(project.tracking_url)
    name = project.settings.project.name
    return {"version": mirror_production(client, project=name, release=request["release"], run_id=request["run_id"])}


def reproduce_part(project: Project, request: Json) -> Json:
    """Make a release again from its lineage, in a folder that is thrown away, and compare."""
    from homeostat.retraining.reproduction import find_origin, repeat_search, reproduce  # noqa: PLC0415  as above

    origin = find_origin(project, request["release"])
    found = repeat_search(origin) if request["with_search"] else origin.found
    return reproduce(origin, found, code=code_version(), scratch=Path(request["scratch"]))


def lacks_store(project: Project) -> bool:
    """Return whether the experiment manager's embedded store is still to be built."""
    if not project.is_tracked:
        return False
    location = make_url(project.tracking_url)
    return location.get_backend_name() == "sqlite" and not Path(location.database or "").exists()


PARTS: Mapping[str, Callable[[Project, Json], Json]] = {
    "prepare": prepare_part,
    "snapshot": snapshot_part,
    "search": search_part,
    "fit": fit_part,
    "track": track_part,
    "judge": judge_part,
    "shadow": shadow_part,
    "mirror": mirror_part,
    "reproduce": reproduce_part,
}


def code_version() -> Json:
    """Return the versions of Homeostat and of the libraries whose arithmetic makes a release."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"homeostat": version("homeostat"), "python": sys.version.split()[0], **libraries}


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
