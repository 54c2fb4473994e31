"""Keep many connections busy with requests until the input ends: `python hammer.py PORT N_CONNECTIONS ROW`."""

import asyncio
import contextlib
import sys


async def send_for_ever(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.split(b":")[1]))


async def hammer(port: int, n_connections: int, row: bytes) -> None:
    request = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(row), row)
    senders = [asyncio.create_task(send_for_ever(port, request)) for _ in range(n_connections)]
    await asyncio.to_thread(sys.stdin.read)
    for sender in senders:
        sender.cancel()


if __name__ == "__main__":
    asyncio.run(hammer(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()))
