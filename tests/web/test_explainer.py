"""The process beside a worker that explains: started when needed, ended when it rests, hangs, or has nobody to ask."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from homeostat.errors import ExplainerFailed, ExplainerMissing, Overloaded, ReleaseMissing
from homeostat.project import open_project
from homeostat.web.explainer import Explainer, Patience
from tests.retraining.clinic import put_in_production, write_project

Row = dict[str, Any]


@pytest.fixture(scope="module")
def clinic_release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The blobs of a clinic with one release, and its digest."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project")
    with open_project(folder) as project:
        return project.blobs.root, put_in_production(project).release


@pytest.fixture
def question(clinic_release: tuple[Path, str]) -> bytes:
    rows = [{"age": 70, "dose": 25.0, "city": "C"}]
    return ask_of(clinic_release[1], rows)


def ask_of(release: str, rows: list[Row]) -> bytes:
    return msgspec.json.encode({"rows": rows, "release": release, "compare": None, "change": None})


def use(clinic_release: tuple[Path, str], patience: Patience, talk: Callable[[Explainer], Awaitable[None]]) -> None:
    """Let a test talk to a process, which is ended after it."""

    async def run() -> None:
        explainer = Explainer(clinic_release[0], patience)
        try:
            await talk(explainer)
        finally:
            await explainer.stop()

    asyncio.run(run())


def pid_of(explainer: Explainer) -> int:
    assert explainer.process is not None
    return explainer.process.pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds: Callable[[], bool], *, within_s: float = 10) -> bool:
    started = time.monotonic()
    while not holds() and time.monotonic() < started + within_s:
        time.sleep(0.01)
    return holds()


def test_it_starts_with_the_first_question_answers_in_limits_and_ends_with_its_worker(
    clinic_release: tuple[Path, str], question: bytes
) -> None:
    pids: list[int] = []

    async def talk(explainer: Explainer) -> None:
        assert explainer.process is None
        for _ in range(2):
            answer = await explainer.ask(question)
            assert answer["explanations"][0]["release"] == clinic_release[1]
            pids.append(pid_of(explainer))
        assert resource.prlimit(pids[0], resource.RLIMIT_AS)[0] < 4 * 2**30
        assert os.getpriority(os.PRIO_PROCESS, pids[0]) >= 10

    use(clinic_release, Patience(), talk)

    assert pids[0] == pids[1]
    assert not is_alive(pids[0])


def test_one_that_was_killed_is_started_again(clinic_release: tuple[Path, str], question: bytes) -> None:
    async def talk(explainer: Explainer) -> None:
        await explainer.ask(question)
        first = explainer.process
        assert first is not None
        first.kill()
        first.wait()

        answer = await explainer.ask(question)

        assert len(answer["explanations"]) == 1
        assert pid_of(explainer) != first.pid

    use(clinic_release, Patience(), talk)


def test_one_that_hangs_is_killed_and_the_next_question_is_answered_by_another(
    clinic_release: tuple[Path, str], question: bytes
) -> None:
    async def talk(explainer: Explainer) -> None:
        await explainer.ask(question)
        hung = pid_of(explainer)
        os.kill(hung, signal.SIGSTOP)

        with pytest.raises(ExplainerFailed, match="took more than 1 s"):
            await explainer.ask(question)

        assert not is_alive(hung)
        assert len((await explainer.ask(question))["explanations"]) == 1

    use(clinic_release, Patience(answer_s=1), talk)


def test_one_that_dies_while_it_answers_is_told_apart_from_one_that_hangs(
    clinic_release: tuple[Path, str], question: bytes
) -> None:
    async def talk(explainer: Explainer) -> None:
        await explainer.ask(question)
        os.kill(pid_of(explainer), signal.SIGSTOP)
        under_way = asyncio.create_task(explainer.ask(question))
        await asyncio.sleep(0.1)
        os.kill(pid_of(explainer), signal.SIGKILL)

        with pytest.raises(ExplainerFailed, match="ended with -9"):
            await under_way

    use(clinic_release, Patience(), talk)


def test_more_questions_than_may_wait_are_turned_away_at_once(
    clinic_release: tuple[Path, str], question: bytes
) -> None:
    async def talk(explainer: Explainer) -> None:
        await explainer.ask(question)
        os.kill(pid_of(explainer), signal.SIGSTOP)
        waiting = [asyncio.create_task(explainer.ask(question)) for _ in range(2)]
        await asyncio.sleep(0.05)

        with pytest.raises(Overloaded, match="2 explanations are under way"):
            await explainer.ask(question)

        os.kill(pid_of(explainer), signal.SIGCONT)
        assert all(len(answer["explanations"]) == 1 for answer in await asyncio.gather(*waiting))

    use(clinic_release, Patience(waiting=2), talk)


def test_one_that_nobody_asks_is_ended(clinic_release: tuple[Path, str], question: bytes) -> None:
    async def talk(explainer: Explainer) -> None:
        await explainer.ask(question)
        pid = pid_of(explainer)
        assert await asyncio.to_thread(wait_until, lambda: not is_alive(pid))
        assert explainer.process is None

    use(clinic_release, Patience(idle_s=0.2), talk)


def test_an_error_on_purpose_reaches_whoever_asked_and_ends_nothing(
    clinic_release: tuple[Path, str], question: bytes
) -> None:
    async def talk(explainer: Explainer) -> None:
        with pytest.raises(ReleaseMissing, match="no release ffff"):
            await explainer.ask(ask_of("f" * 64, []))
        pid = pid_of(explainer)
        await explainer.ask(question)
        assert pid_of(explainer) == pid

    use(clinic_release, Patience(), talk)


def test_where_the_libraries_are_missing_nothing_is_started(
    clinic_release: tuple[Path, str], question: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)

    async def talk(explainer: Explainer) -> None:
        with pytest.raises(ExplainerMissing, match="lightgbm cannot be imported here"):
            await explainer.ask(question)
        assert explainer.process is None

    use(clinic_release, Patience(), talk)


def find_children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process at the end of the block, whatever the block has met: leaving `Popen` waits for it."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_service_however_that_ends(clinic_release: tuple[Path, str], how: signal.Signals) -> None:
    folder = clinic_release[0].parents[1]
    command = [sys.executable, "-m", "homeostat", "serve", "--project", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, ending(process):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        answer = httpx.post(f"{address}/v1/explain", json={"age": 70, "dose": 25.0, "city": "C"}, timeout=60)
        assert "sentence" in answer.json()
        (child,) = find_children(process.pid)

        process.send_signal(how)

        assert wait_until(lambda: not is_alive(child))
        assert process.wait() in {0, -9}
