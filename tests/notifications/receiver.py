"""A receiver of notifications: a real HTTP server in a thread, which answers as it is told and keeps what it was sent.

Not here: any test.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """How one message is answered."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(slots=True)
class Received:
    """What came: the headers, in small letters, and the body of each message, in order."""

    port: int = 0
    script: list[Answer] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def contents(self) -> list[dict[str, Any]]:
        """Return what the messages say."""
        return [json.loads(body) for body in self.bodies]

    def kinds(self) -> list[str]:
        """Return the kinds of events that were told."""
        return [content["type"].removeprefix("homeostat.") for content in self.contents()]


def is_signed(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether a message verifies, computed as the Standard Webhooks specification tells a consumer to."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(headers["webhook-signature"], expected)


@contextmanager
def receiving(received: Received) -> Iterator[Received]:
    """Listen until the block ends, on the port of before if there was one."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            received.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            answer = received.script.pop(0) if received.script else Answer()
            time.sleep(answer.delay_s)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", received.port), Hook) as server:
        received.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
