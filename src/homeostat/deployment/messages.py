"""JSON objects over the pipes between a process and its child: each with its length before it.

Not here: what they say (`deployment.explaining_process`).
"""

from typing import IO

import msgspec

from homeostat.records import Json

LENGTH_BYTES = 4


def send_message(stream: IO[bytes], content: bytes) -> None:
    """Write one message; OSError if nobody reads any more."""
    stream.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)
    stream.flush()


def receive_message(stream: IO[bytes]) -> Json | None:
    """Return the next message, None if the other side is gone."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    content = stream.read(size)
    if len(content) < size:
        return None
    message: Json = msgspec.json.decode(content)
    return message
