"""The hot path: how a request with rows is read, judged, kept and answered, whatever its protocol. Raw ASGI.

Not here: which rows a body holds (`web.predict` and the other protocols), or when a row counts as kept
(`monitoring.predictions`). FastAPI and its middleware take longer than the rest of a request together.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from homeostat.deployment.serving import LiveRelease
from homeostat.errors import HomeostatError, RequestInvalid
from homeostat.monitoring.entries import Entries
from homeostat.monitoring.idempotency import Answered, Claim
from homeostat.monitoring.retention import LONGEST
from homeostat.store.tables import EPOCH
from homeostat.web.answers import Judged
from homeostat.web.batching import Batcher, judge_now
from homeostat.web.bodies import receive_body
from homeostat.web.problems import FAILURE, problem_of, send_bytes, send_problem
from homeostat.web.senders import SENDER, Sender
from homeostat.web.worker import Worker

JSON: Mapping[str, str] = {"content-type": "application/json"}
# The name in the state of a scope under which the server keeps the requests that it has begun.
UNDER_WAY = "homeostat.under_way"
# Beside an answer that was given before.
REPLAYED: Mapping[str, str] = {"idempotency-replayed": "true"}
# A body beyond this is judged in a thread, which costs 0.1 ms: of impossible rows, so many bytes take some 20 ms.
THREAD_BYTES = 4_096
MAX_KEY_LENGTH = 200

logger = logging.getLogger("homeostat.web")


# Tuples, not frozen dataclasses, for what each request makes: they take a quarter of the time.
class Sent(NamedTuple):
    """One request, whole.

    `headers` by lower-case name; `parameters` are those of the path; `received_at` is microseconds since 1970 UTC.
    """

    body: bytes
    headers: Mapping[bytes, bytes]
    parameters: Mapping[str, str]
    max_rows: int
    received_at: int


class Reply(NamedTuple):
    """What a request is answered with once its lines are kept; `problem_code` if that is a refusal."""

    judged: Judged
    answer: Answered
    problem_code: str | None = None


Judge: TypeAlias = Callable[[Sent, LiveRelease], Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route that answers rows: its name in the metrics, and what its bodies mean.

    `reply_to_row`, if a body may be one row as a JSON object, makes the reply to one that is accepted.
    """

    route: str
    judge: Judge
    reply_to_row: Callable[[Judged], Reply] | None = None


class RowRoutes:
    """ASGI middleware that answers POST requests with rows itself, and passes on every other.

    Parameters
    ----------
    app
        What answers the rest, the same paths with another method included.
    worker
        The log and the release.
    find
        Returns the endpoint of a path and the parameters in it, None if it has none.
    """

    def __init__(
        self, app: ASGIApp, *, worker: Worker, find: Callable[[str], tuple[Endpoint, Mapping[str, str]] | None]
    ) -> None:
        self._app = app
        self._worker = worker
        self._find = find
        self._settings = worker.project.settings.serving
        self._wait = self._settings.durability != "relaxed"
        self._batcher = Batcher()
        # One: threads that compute share the interpreter with the loop, and each takes a turn of its time.
        self._thread = ThreadPoolExecutor(1, "large-bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        found = self._find(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        endpoint, parameters = found
        scope["homeostat.route"] = endpoint.route
        try:
            answer = await self._answer(endpoint, parameters, scope, receive)
        except HomeostatError as error:
            problem = problem_of(error)
        except Exception:  # the edge of the process: whatever it is, the sender gets an answer
            logger.exception("a request to %s failed", endpoint.route)
            problem = FAILURE
        else:
            if answer is not None:
                await send_bytes(send, answer.status, answer.headers, answer.content)
            return
        self._worker.metrics.errors.labels(problem.code).inc()
        await send_problem(send, problem, scope)

    async def _answer(
        self, endpoint: Endpoint, parameters: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Answered | None:
        """Return the answer once its rows are kept; None if the sender went away."""
        live = self._worker.require_live()
        headers = dict(scope["headers"])
        body = await receive_body(receive, headers, limit_bytes=self._settings.max_body_bytes)
        if body is None:
            return None
        sent = Sent(body, headers, parameters, self._settings.max_rows, time.time_ns() // 1000)
        tally = self._worker.reporter.tally(live.promotion.epoch)
        try:
            started = time.perf_counter()
            reply = await self._judge(endpoint, sent, live, scope)
            seconds = time.perf_counter() - started
            scope[SENDER].take_rows(len(reply.judged.results), time.monotonic())
            answer = await self._keep(reply, sent, scope)
        except HomeostatError:  # what the sender must mend, or an overload: no fault of the release
            raise
        except Exception:
            tally.failed += 1
            raise
        if reply.judged.rejected and reply.judged.lacks_answers:
            tally.failed += 1
        else:
            tally.add(seconds, len(reply.judged.results))
        return answer

    async def _judge(self, endpoint: Endpoint, sent: Sent, live: LiveRelease, scope: Scope) -> Reply:
        """Return what a request is answered with."""
        cells = None if endpoint.reply_to_row is None else live.decoder.decode_row(sent.body)
        if endpoint.reply_to_row is not None and cells is not None:
            # A request that is alone has nobody to share a turn of the event loop with.
            judge = self._batcher.judge if len(scope["state"].get(UNDER_WAY, ())) > 1 else judge_now
            return endpoint.reply_to_row(await judge(cells, live, received_at=sent.received_at))
        if len(sent.body) > THREAD_BYTES:
            return await asyncio.get_running_loop().run_in_executor(self._thread, endpoint.judge, sent, live)
        return endpoint.judge(sent, live)

    async def _keep(self, reply: Reply, sent: Sent, scope: Scope) -> Answered:
        """Return the answer to give, once the log has what was promised: this one, or the earlier one of its key."""
        judged, claim = reply.judged, claim_of(sent, scope, remember_s=self._settings.idempotency_s)
        if claim is not None:
            entries = Entries(judged.predicted, judged.rejected, (claim, reply.answer))
            earlier = await self._worker.log.append(entries)
            if earlier is not None:
                return earlier._replace(headers={**earlier.headers, **REPLAYED})
        elif self._wait:
            await self._worker.log.append(Entries(judged.predicted, judged.rejected))
        else:
            await self._worker.log.post(Entries(judged.predicted, judged.rejected))
        self._worker.count(judged)
        if reply.problem_code is not None:
            self._worker.metrics.errors.labels(reply.problem_code).inc()
        return reply.answer


def sender_of(scope: Scope) -> str:
    """Return the name of who sent a request."""
    sender: Sender = scope[SENDER]
    return sender.name


def claim_of(sent: Sent, scope: Scope, *, remember_s: float) -> Claim | None:
    """Return the claim of a request with an Idempotency-Key; RequestInvalid for a key that is none."""
    key = sent.headers.get(b"idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isascii():
        raise RequestInvalid(
            problem=f"the Idempotency-Key has {len(key)} bytes"
            if key.isascii()
            else "the Idempotency-Key is not ASCII",
            expected=f"1 to {MAX_KEY_LENGTH} characters of ASCII",
            action="send a random UUID",
        )
    # The path belongs to the request: the same bytes ask for something else elsewhere.
    body = hashlib.sha256(scope["path"].encode() + b"\0" + sent.body).hexdigest()
    made_at = EPOCH + timedelta(microseconds=sent.received_at)
    remembered = timedelta(seconds=min(remember_s, LONGEST.total_seconds()))  # inf is for ever
    return Claim(sender_of(scope), key.decode(), body, made_at - remembered, made_at)
