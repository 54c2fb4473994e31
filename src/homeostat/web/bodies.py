"""Reading the body of a request: bounded while it streams in, then JSON or a refusal, whatever the bytes are.

Not here: what the JSON must be (`web.predict`, `web.labels`). The content type is not looked at.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from starlette.types import Receive

from homeostat.errors import RequestInvalid, RequestTooLarge

# The most of a value that an answer repeats.
SHOWN_BYTES = 200
# The longest id that an outcome is looked up under; ours have 36 characters.
MAX_ID_LENGTH = 200
# Arrays and objects in a body: each takes some hundred bytes of memory, and the time of the garbage collector. A larger
# body may have one for each so many bytes: no row is shorter.
MAX_CONTAINERS = 100_000
CONTAINER_BYTES = 8


async def receive_body(receive: Receive, headers: Mapping[bytes, bytes], *, limit_bytes: int) -> bytes | None:
    """Return the body of a request, None if its sender goes away before the end.

    Raises
    ------
    RequestTooLarge
        The body exceeds the limit; it is raised as soon as that is known.
    """
    declared = headers.get(b"content-length", b"")[:20]
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(f"the body is {int(declared)} bytes", limit_bytes)
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise too_large(f"the body is more than {limit_bytes} bytes", limit_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks) if len(chunks) > 1 else chunks[0]


def too_large(problem: str, limit_bytes: int) -> RequestTooLarge:
    """Return the error for a body beyond the limit."""
    return RequestTooLarge(
        problem=problem,
        expected=f"at most {limit_bytes} bytes",
        action="send the rows in several requests, or raise serving.max_body_bytes",
    )


def decode_json(body: bytes) -> object:
    """Return the JSON value in a body; RequestInvalid if the bytes are not JSON, or an avalanche of brackets."""
    require_few_containers(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestInvalid(
            problem=f"the body is not JSON that can be read: {error}" if body else "the body is empty",
            expected="JSON in UTF-8 (RFC 8259), which knows no NaN and no infinity",
            action="send null for a value that was not measured",
        ) from error


def require_few_containers(body: bytes) -> None:
    """Raise RequestInvalid for very many arrays and objects; brackets in text are counted as well."""
    n_containers = body.count(b"[") + body.count(b"{")
    limit = max(MAX_CONTAINERS, len(body) // CONTAINER_BYTES)
    if n_containers > limit:
        raise RequestInvalid(
            problem=f"the body has {n_containers} opening brackets",
            expected=f"at most {limit}",
            action="send plain values, and the rows in several requests",
        )


@contextmanager
def refuse_depth() -> Iterator[None]:
    """Call a body that is nested beyond the stack invalid."""
    try:
        yield
    except RecursionError as error:
        raise RequestInvalid(
            problem="the body is nested too deeply", expected="rows of plain values", action="send plain values"
        ) from error


def show(value: object) -> object:
    """Return a value that came in as an answer may repeat it: itself if it is short, else the beginning of its JSON."""
    encoded = msgspec.json.encode(value)
    return value if len(encoded) <= SHOWN_BYTES else encoded[:SHOWN_BYTES].decode(errors="ignore") + "..."


def kind_of(value: object) -> str:
    """Return what JSON calls a value's kind."""
    kinds = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
