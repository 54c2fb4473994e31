"""The board to all who watch it: one reader a second while somebody does, and each is sent the parts that have changed.

Not here: what the parts are (`web.board_parts`). Server-sent events: a browser connects again by itself.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from homeostat.errors import HomeostatError, KeyInvalid, Overloaded
from homeostat.web.access import LIVE
from homeostat.web.board import BoardReader
from homeostat.web.board_parts import Part, render_parts
from homeostat.web.endpoint import UNDER_WAY
from homeostat.web.page_responses import KNOWN, SAFETY
from homeostat.web.problems import problem_of, refuse
from homeostat.web.worker import Worker

READ_S = 1.0
# How soon a watcher hears that the process drains, or that its key has ended.
LOOK_S = 0.5
# Proxies close a connection on which nothing comes.
HEARTBEAT_S = 15.0
# A session that was logged out elsewhere is asked after again when its browser comes back.
LONGEST_S = 300.0
# Each holds a connection and nothing of `serving.max_concurrency`.
MAX_WATCHERS = 64
HEADERS: Mapping[str, str] = {**SAFETY, "cache-control": "no-store", "x-accel-buffering": "no"}

logger = logging.getLogger("homeostat.web")


class Live:
    """The parts as they are now, and who waits for others. Use it in one event loop."""

    def __init__(self, worker: Worker) -> None:
        self.n_watchers = 0
        self._worker = worker
        self._reader = BoardReader(worker.project)
        self._reading = asyncio.Lock()
        self._parts: dict[str, Part] = {}
        self._read_at = float("-inf")
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def parts(self) -> Mapping[str, Part]:
        """Return the parts, read anew unless somebody has just done so."""
        async with self._reading:
            if time.monotonic() - self._read_at >= READ_S / 2:
                parts = await asyncio.to_thread(self._read)
                self._read_at = time.monotonic()
                if {part.tag for part in parts.values()} != {part.tag for part in self._parts.values()}:
                    self._parts = parts
                    self._changed.set()
                    self._changed = asyncio.Event()
        return self._parts

    def forget(self) -> None:
        """Read anew at the next look: what has just been asked must be there."""
        self._read_at = float("-inf")

    def _read(self) -> dict[str, Part]:
        now = datetime.now(UTC)
        with self._worker.project.database.read() as connection:
            board = self._reader.read(connection, now=now)
        return render_parts(board)

    async def watch(self, may_go_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield every part, then each that changes, until the process drains or its watcher may not go on."""
        self.n_watchers += 1
        self._follow()
        try:
            shown: dict[str, str] = {}
            yield b"retry: 2000\n\n"
            ends_at = time.monotonic() + LONGEST_S
            spoke_at = time.monotonic()
            while time.monotonic() < ends_at and may_go_on():
                changed = self._changed
                fresh = [part for part in self._parts.values() if shown.get(part.id) != part.tag]
                if fresh or time.monotonic() - spoke_at > HEARTBEAT_S:
                    shown |= {part.id: part.tag for part in fresh}
                    spoke_at = time.monotonic()
                    yield b"".join(map(to_event, fresh)) or b": still here\n\n"
                try:
                    async with asyncio.timeout(LOOK_S):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self.n_watchers -= 1

    def _follow(self) -> None:
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow_while_watched())

    async def _follow_while_watched(self) -> None:
        while self.n_watchers:
            try:
                await self.parts()
            except (SQLAlchemyError, HomeostatError) as error:  # what is shown stays, and is read again
                logger.warning("the board could not be read: %s", error)
            await asyncio.sleep(READ_S)


def to_event(part: Part) -> bytes:
    """Return a part as an event; JSON has no line ends, which would end the event's data."""
    return b"event: part\ndata: " + msgspec.json.encode(part.to_json()) + b"\n\n"


def add_live(app: FastAPI, worker: Worker, live: Live) -> None:
    """Add the route of the events."""

    @app.get(LIVE, include_in_schema=False, summary="What changes on the board, as server-sent events")
    async def events(request: Request) -> Response:
        if worker.draining or live.n_watchers >= MAX_WATCHERS:
            return refuse(request, problem_of(too_many(live.n_watchers)))
        # Not a request under way: nobody waits for its end, neither a drain nor the rows of another request.
        task = asyncio.current_task()
        request.scope.get("state", {}).get(UNDER_WAY, set()).discard(task)
        watched = live.watch(lambda: may_go_on(worker, request.scope))
        return StreamingResponse(watched, HTTPStatus.OK, dict(HEADERS), media_type="text/event-stream")


def may_go_on(worker: Worker, scope: Scope) -> bool:
    """Return whether a watcher is still sent what happens: the process serves, and their key is as good as it was."""
    if worker.draining or worker.log.failure is not None:
        return False
    known = scope.get(KNOWN)
    if known is None:
        return not worker.keyring.asked
    try:
        worker.keyring.recall(known.key.id, time.time())
    except KeyInvalid:
        return False
    return True


def too_many(n_watchers: int) -> Overloaded:
    """Return the error for one watcher more than are sent events."""
    return Overloaded(
        problem=f"{n_watchers} watch the board of this process, or it is shutting down",
        expected=f"at most {MAX_WATCHERS} at a time",
        action="connect again in a moment; the page itself can be loaded again at any time",
    )
