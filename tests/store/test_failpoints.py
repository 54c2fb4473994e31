"""Every durable effect in the source passes a named place, and the variable does what it says or is refused."""

import ast
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import homeostat
from homeostat.errors import SettingsInvalid
from homeostat.store.failpoints import LOG, VARIABLE, durable, failpoint, passed

SOURCES = sorted(Path(homeostat.__file__).parent.rglob("*.py"))
# Calls that make a change of the disk durable or visible, and MLflow's that change its store.
EFFECTS = {"rename", "link", "fsync", "fdatasync"}
MLFLOW = ("create_", "delete_", "log_", "set_")
TRACKING = ("mirroring.py", "tracking.py", "tracking_runs.py")


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    """Return the last word of what is called: `fsync` of `os.fsync(...)`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


# --- the register of places -----------------------------------------------------------------------------------------


def write_names(tree: ast.AST) -> Iterator[str | None]:
    """Yield the name of each write transaction, None for one that has none; `step_{}` where a part is filled in."""
    for node in ast.walk(tree):
        for item in node.items if isinstance(node, ast.With) else []:
            if isinstance(call := item.context_expr, ast.Call) and called(call) == "write":
                yield as_template(call.args[0]) if call.args else None


def as_template(argument: ast.expr) -> str | None:
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def test_every_write_transaction_has_a_name_of_its_own() -> None:
    names = Counter(name for path in SOURCES for name in write_names(read(path)))

    assert len(names) > 20
    assert [name for name, n_places in names.items() if name in {None, "{}"} or n_places > 1] == []


def passes_a_place(function: ast.FunctionDef) -> bool:
    """Return whether a function passes a failpoint, or says to the one it calls which place that shall pass."""
    names = {"failpoint", "durable"}
    return any(called(call) in names or any(k.arg == "place" for k in call.keywords) for call in calls(function))


def uncovered(path: Path) -> Iterator[str]:
    """Yield the functions with a durable effect that pass no place, nor does everything that calls them there."""
    known = functions(read(path))
    calling = {function.name: {called(call) for call in calls(function)} for function in known}
    covered = {function.name for function in known if passes_a_place(function)}
    callers = {name: [other for other, names in calling.items() if name in names] for name in calling}
    for _ in known:
        covered |= {name for name, by in callers.items() if by and covered.issuperset(by)}
    yield from (f"{path.name}: {name}" for name, names in calling.items() if EFFECTS & names and name not in covered)


def test_every_rename_link_and_sync_passes_a_place() -> None:
    assert any("fsync" in {called(call) for call in calls(read(path))} for path in SOURCES)
    assert [name for path in SOURCES for name in uncovered(path)] == []


def test_every_change_of_mlflows_store_stands_between_two_places() -> None:
    trees = [read(path) for path in SOURCES if path.name in TRACKING]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    blocks = [n for n in nodes if isinstance(n, ast.With) and any(map(is_durable, n.items))]

    inside = {call for block in blocks for call in calls(block)}
    found = {call for tree in trees for call in calls(tree)}
    changes = {c for c in found if called(c).startswith(MLFLOW) and ast.unparse(c.func).startswith("client.")}
    assert len(trees) == len(TRACKING)
    assert len(changes) > 15
    assert [ast.unparse(change) for change in changes - inside] == []


def is_durable(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and called(item.context_expr) == "durable"


# --- what the variable does -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _afresh() -> None:
    passed.clear()


def test_a_place_that_nobody_asks_for_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "there=kill")

    failpoint("here")


@pytest.mark.parametrize(("action", "errno"), [("eio", 5), ("enospc", 28)])
def test_a_disk_can_fail_before_and_after_an_effect(action: str, errno: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for place in ("run.before", "run.after"):
        monkeypatch.setenv(VARIABLE, f"{place}={action}")
        with pytest.raises(OSError, match=place) as raised, durable("run"):
            done.append(place)
        assert raised.value.errno == errno

    assert done == ["run.after"]


def test_the_nth_pass_fails_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here=eio@3")
    failed = []
    for turn in range(1, 6):
        try:
            failpoint("here")
        except OSError:
            failed.append(turn)

    assert failed == [3]


def test_several_places_can_fail_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here=eio,there=enospc,here=enospc@2")
    raised = []
    for place in ("here", "elsewhere", "here", "there", "here"):
        try:
            failpoint(place)
        except OSError as error:
            raised.append((place, error.errno))

    assert raised == [("here", 5), ("here", 28), ("there", 28)]


def test_a_delay_is_as_long_as_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here=delay:0.2")
    began = time.monotonic()
    failpoint("here")

    assert 0.2 <= time.monotonic() - began < 2


def test_each_place_that_is_passed_is_told_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "places"))
    with durable("run"):
        failpoint("inside")

    assert (tmp_path / "places").read_text().split() == ["run.before", "inside", "run.after"]


@pytest.mark.parametrize(
    "text",
    [
        "kill",
        "here",
        "here=",
        "=kill",
        "here=explode",
        "here=delay",
        "here=delay:soon",
        "here=eio@0",
        "a=b=kill",
        "here=eio,",
    ],
)
def test_a_variable_that_asks_for_nothing_is_refused_at_the_first_place(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)

    with pytest.raises(SettingsInvalid) as refused:
        failpoint("anywhere")
    assert refused.value.problem == f"{VARIABLE} is {text!r}"
    assert "PLACE=ACTION" in refused.value.expected


def test_a_torn_file_is_refused_where_none_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here=torn")

    with pytest.raises(SettingsInvalid, match="a torn file at here, where none is written"):
        failpoint("here")


PASSER = """
import subprocess, sys
from homeostat.store.failpoints import failpoint
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
failpoint("here")
print("passed", flush=True)
child.kill()
"""


def start_passer(action: str) -> tuple["subprocess.Popen[str]", int]:
    """Start a process with a child in a group of its own; return it and the child's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", PASSER],
        env=os.environ | {VARIABLE: f"here={action}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_kill_ends_this_process_alone() -> None:
    process, child = start_passer("kill")
    with process:
        assert process.wait(10) == -signal.SIGKILL

        os.kill(child, signal.SIGKILL)  # ProcessLookupError if it were gone


def test_a_kill_of_all_ends_what_the_process_has_started_too() -> None:
    process, child = start_passer("kill-all")
    with process:
        assert process.wait(10) == -signal.SIGKILL

    assert has_ended(child)


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or nothing but its exit code, within a second."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_a_process_that_is_stopped_at_a_place_goes_on_when_it_is_told_to() -> None:
    process, _ = start_passer("stop")
    with process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        process.send_signal(signal.SIGCONT)

        assert process.stdout is not None
        assert process.stdout.readline() == "passed\n"
