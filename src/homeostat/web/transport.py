"""How an answer reaches the socket: its head and its body in one write, so in one system call and one packet.

Not here: what is written. uvicorn writes the head of an answer as soon as it is known, and each write is a system call.
"""

from asyncio import Transport
from typing import Any

START = b"HTTP/1.1 "
# The one answer that is no answer yet: its sender waits for it before it goes on.
INTERIM = b"HTTP/1.1 100 "


class WholeAnswers:
    """A transport that holds the head of an answer back until more is written, or it is closed.

    It stands in for the transport that it is made with, and passes on everything else.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        # Asked for at each request.
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write, or keep for the next write what begins as an answer does."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(START) and not data.startswith(INTERIM):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write what was kept: the answer to HEAD has no body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Write what was kept, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # Any: whatever a transport has
        return getattr(self._transport, name)
