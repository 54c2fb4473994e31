"""The process beside a worker that explains: started when it is first needed, ended when it rests, kept within limits.

Not here: what it does (`deployment.explaining_process`), or the route (`web.explain`). The worker itself imports
nothing that trains, and a request for an explanation can neither slow down nor take down the answers to predictions.
"""

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from homeostat.deployment.messages import receive_message, send_message
from homeostat.errors import ExplainerFailed, ExplainerMissing, Overloaded, error_from_json
from homeostat.records import Json

MODULE = "homeostat.deployment.explaining_process"
# What it imports beyond the serving core.
LIBRARIES = ("lightgbm", "onnx")
# PASSIVE: LightGBM's threads spin for work otherwise, which cost a factor of 20 where cores are shared.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

logger = logging.getLogger("homeostat.web")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds: for the start, for one answer, and for the next question before it is ended.

    `waiting` requests may be under way at a time.
    """

    start_s: float = 60.0
    answer_s: float = 20.0
    idle_s: float = 300.0
    waiting: int = 8


class Explainer:
    """The child process of one worker. Questions are asked one at a time; use it from one event loop."""

    def __init__(self, blobs: Path, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.process: subprocess.Popen[bytes] | None = None
        self._blobs = blobs
        self._under_way = 0
        self._thread = ThreadPoolExecutor(1, "explainer")
        self._rest: asyncio.TimerHandle | None = None

    async def ask(self, question: bytes) -> Json:
        """Return the answer to a question, JSON as `deployment.explaining.answer` takes it.

        Raises
        ------
        ExplainerMissing
            The libraries are not installed.
        Overloaded
            Too many questions wait.
        ExplainerFailed
            The process ended, or took too long and was ended.
        HomeostatError
            What keeps the explanation back.
        """
        require_libraries()
        if self._under_way >= self.patience.waiting:
            raise Overloaded(
                problem=f"{self._under_way} explanations are under way",
                expected=f"at most {self.patience.waiting} at a time",
                action="send the request again in a moment",
            )
        self._under_way += 1
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._thread, self._converse, question)
        finally:
            self._under_way -= 1
            if self._rest is not None:
                self._rest.cancel()
            self._rest = loop.call_later(self.patience.idle_s, self._thread.submit, self._end)
        if "error" in answer:
            raise error_from_json(answer["error"])
        return answer

    async def stop(self) -> None:
        """End the process for good."""
        if self._rest is not None:
            self._rest.cancel()
        if (process := self.process) is not None:
            process.kill()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown()

    # --- in the thread --------------------------------------------------------------------------------------------

    def _converse(self, question: bytes) -> Json:
        if self.process is None or self.process.poll() is not None:
            self._end()
            self.process = start(self._blobs)
            self._exchange(self.process, None, within_s=self.patience.start_s)
        return self._exchange(self.process, question, within_s=self.patience.answer_s)

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes | None, *, within_s: float) -> Json:
        assert process.stdin is not None  # noqa: S101  opened as pipes in `start`
        assert process.stdout is not None  # noqa: S101  as above
        answer = None
        with kill_after(process, within_s) as late, suppress(OSError):
            if question is not None:
                send_message(process.stdin, question)
            answer = receive_message(process.stdout)
        if answer is None:
            self._end()
            raise failed(f"took more than {within_s:g} s" if late.is_set() else f"ended with {process.returncode}")
        return answer

    def _end(self) -> None:
        """End the process, if there is one; the next question starts another."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            with suppress(OSError):  # what is still in the pipe has nobody to read it
                process.communicate()


def require_libraries() -> None:
    """Raise ExplainerMissing where only the service is installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExplainerMissing(
            problem=f"{' and '.join(missing)} cannot be imported here: only the service is installed",
            expected="the training libraries beside the service",
            action="install homeostat[train] there, or run `homeostat explain` where it is installed",
        )


def start(blobs: Path) -> subprocess.Popen[bytes]:
    """Start the process: in a session of its own, so that an interrupt from a terminal reaches the service alone."""
    return subprocess.Popen(  # noqa: S603  our own interpreter and module
        [sys.executable, "-m", MODULE, str(blobs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A traceback could hold a value of a row, and a log must not.
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,
    )


@contextmanager
def kill_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kill a process unless the block ends in time; the event tells whether that was done."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def failed(how: str) -> ExplainerFailed:
    """Return the error for a process that gave no answer, and log it."""
    logger.warning("the process that explains %s", how)
    return ExplainerFailed(
        problem=f"the process that explains {how}",
        expected="an explanation in time",
        action="send the request again, with fewer rows if there are many; predictions go on as before",
    )
