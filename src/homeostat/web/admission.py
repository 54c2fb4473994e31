"""How many requests are under way: each counted and timed under its route, and one too many turned away at once.

Not here: what answers them (`web.app`). Raw ASGI, around everything else.
"""

import time

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeostat.errors import Overloaded
from homeostat.web.access import LIVE, PROBES
from homeostat.web.problems import problem_of, send_problem
from homeostat.web.worker import Worker

# The route of every request that no route answers: paths are the sender's, and each would be a series of its own.
NO_ROUTE = "none"
# Answered however many requests are under way.
ALWAYS = PROBES | {"/metrics"}


class Admission:
    """ASGI middleware that lets at most `max_concurrency` requests in, and measures every one."""

    def __init__(self, app: ASGIApp, *, worker: Worker) -> None:
        self._app = app
        self._worker = worker
        self._limit = worker.project.settings.serving.max_concurrency
        self._under_way = 0
        # Finding the series of a label takes longer than adding to it.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500  # what an error that nobody caught is answered with

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if self._under_way >= self._limit and scope["path"] not in ALWAYS:
            await self._refuse(scope, send_and_note)
            self._note(NO_ROUTE, status, started)
            return
        if scope["path"] == LIVE:  # limited where it is answered, and no latency of anything
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._under_way -= 1
            self._note(route_of(scope), status, started)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        error = Overloaded(
            problem=f"{self._under_way} requests are under way",
            expected=f"at most {self._limit} at a time",
            action="send the request again in a moment, or raise serving.max_concurrency",
        )
        self._worker.metrics.errors.labels(error.code).inc()
        await send_problem(send, problem_of(error), scope)

    def _note(self, route: str, status: int, started: float) -> None:
        counter, timer = self._counters.get((route, status)), self._timers.get(route)
        if counter is None or timer is None:
            counter = self._counters[route, status] = self._worker.metrics.requests.labels(route, str(status))
            timer = self._timers[route] = self._worker.metrics.latency.labels(route)
        counter.inc()
        timer.observe(time.perf_counter() - started)


def route_of(scope: Scope) -> str:
    """Return the name of the route that answered a request."""
    route: str | None = scope.get("homeostat.route") or getattr(scope.get("route"), "path", None)
    return route or NO_ROUTE
