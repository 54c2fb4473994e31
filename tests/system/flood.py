"""Far more requests than a service can take: `python flood.py PORT N_CONNECTIONS SECONDS ROW`, the account as JSON.

Each connection sends its next request as soon as the last one is answered, whatever the answer says.
"""

import asyncio
import json
import sys
import time
from typing import Any


async def send_until(deadline: float, port: int, request: bytes, account: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < deadline:
        sent = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
        body = json.loads(await reader.readexactly(int(lines[b"content-length"])))
        note(account, int(head.split()[1]), lines.get(b"retry-after"), body, time.monotonic() - sent)
    writer.close()


def note(
    account: dict[str, Any], status: int, retry_after: bytes | None, body: dict[str, Any], waited_s: float
) -> None:
    if status == 200:
        account["ids"].append(body["id"])
        account["waited_s"].append(waited_s)
    else:
        refusal = f"{status} {body['code']} {'' if retry_after is None else retry_after.decode()}"
        account["refusals"][refusal] = account["refusals"].get(refusal, 0) + 1
        account["refused_after_s"].append(waited_s)


async def flood(port: int, n_connections: int, seconds: float, row: bytes) -> dict[str, Any]:
    request = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(row), row)
    account: dict[str, Any] = {"ids": [], "waited_s": [], "refusals": {}, "refused_after_s": [], "broken": []}
    deadline = time.monotonic() + seconds
    senders = [send_until(deadline, port, request, account) for _ in range(n_connections)]
    outcomes = await asyncio.gather(*senders, return_exceptions=True)
    account["broken"] = [repr(outcome) for outcome in outcomes if outcome is not None]
    return account


if __name__ == "__main__":
    port, n_connections, seconds, row = sys.argv[1:]
    print(json.dumps(asyncio.run(flood(int(port), int(n_connections), float(seconds), row.encode()))))  # noqa: T201
