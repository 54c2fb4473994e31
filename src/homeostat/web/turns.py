"""In which order connections are read when very many send at once, and which is closed when there are too many.

Not here: how many requests may be under way (`web.admission`), or what becomes of one.

An event loop answers everything that has arrived before it looks again. With 1,000 connections that always have a next
request, one look takes half a second, and a new connection needs several to be accepted, read and answered: /livez took
4 s. So a connection that was just answered is not read again before its turn, and a new one waits for none of them.
"""

import asyncio
from asyncio import Transport
from collections import deque

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from homeostat.web.transport import WholeAnswers

# Up to so many connections nobody waits for a turn.
FREE = 64
# So many are read again at each look: some 5 ms of work.
AT_ONCE = 16
# Beyond so many open connections, one that is idle is closed for each new one: some 40 MB of memory.
MAX_CONNECTIONS = 4096


class Turns:
    """The connections that wait to be read again, in the order in which they were answered."""

    def __init__(self) -> None:
        self._waiting: deque[TurnProtocol] = deque()
        self._loop = asyncio.get_running_loop()

    def wait(self, connection: "TurnProtocol") -> None:
        """Stop reading a connection until its turn."""
        connection.flow.pause_reading()
        self._waiting.append(connection)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._take)

    def _take(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            connection = self._waiting.popleft()
            if not connection.transport.is_closing():
                connection.flow.resume_reading()
        if self._waiting:
            self._loop.call_soon(self._take)


class TurnProtocol(HttpToolsProtocol):
    """One HTTP connection that takes turns with the others once there are many."""

    def __init__(self, config: Config, state: ServerState, lifespan_state: dict[str, object], turns: Turns) -> None:
        super().__init__(config, state, lifespan_state)
        self._turns = turns

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Begin a connection; one that sends no request is closed as an idle one is."""
        super().connection_made(transport)
        self.transport = self._answers = WholeAnswers(transport)  # type: ignore[assignment]  # it passes on the rest
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def _make_room(self) -> None:
        others = (other for other in self.connections if isinstance(other, TurnProtocol) and other.idle)
        next(others, self).transport.close()

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come since the last answer; never for a connection without one."""
        return self.cycle is not None and self.cycle.response_complete and not self.flow.read_paused

    def on_response_complete(self) -> None:
        """Go on to the next request of this connection, now or in its turn."""
        self._answers.flush()
        super().on_response_complete()
        if len(self.connections) > FREE and not self.transport.is_closing():
            self._turns.wait(self)
