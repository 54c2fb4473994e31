"""Reading the body of a request: bounded while it streams in, then JSON or a refusal, whatever the bytes are.

Not here: what the JSON must be (`web.predict`, `web.labels`). The content type is not looked at.
"""

import msgspec
from fastapi import Request

from homeostat.errors import RequestInvalid, RequestTooLarge

# The most of a value that an answer repeats.
SHOWN_BYTES = 200


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """Return the body of a request; RequestTooLarge as soon as it is known to exceed the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise too_large(f"the body is {declared[:20]} bytes", limit_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise too_large(f"the body is more than {limit_bytes} bytes", limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(problem: str, limit_bytes: int) -> RequestTooLarge:
    """Return the error for a body beyond the limit."""
    return RequestTooLarge(
        problem=problem,
        expected=f"at most {limit_bytes} bytes",
        action="send the rows in several requests, or raise serving.max_body_bytes",
    )


def decode_json(body: bytes) -> object:
    """Return the JSON value in a body; RequestInvalid if the bytes are not JSON or nested beyond the stack."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestInvalid(
            problem=f"the body is not JSON that can be read: {error}" if body else "the body is empty",
            expected="JSON in UTF-8 (RFC 8259), which knows no NaN and no infinity",
            action="send null for a value that was not measured",
        ) from error


def show(value: object) -> object:
    """Return a value that came in as an answer may repeat it: itself if it is short, else the beginning of its JSON."""
    encoded = msgspec.json.encode(value)
    return value if len(encoded) <= SHOWN_BYTES else encoded[:SHOWN_BYTES].decode(errors="ignore") + "..."


def kind_of(value: object) -> str:
    """Return what JSON calls a value's kind."""
    kinds = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
