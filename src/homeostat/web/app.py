"""The application: which routes there are, how each is measured, and what is open while it runs.

Not here: the routes themselves, or the server that listens (`web.server`).
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeostat.monitoring.metrics import Metrics
from homeostat.project import Project
from homeostat.web.labels import add_labels
from homeostat.web.predict import add_predict
from homeostat.web.problems import answer_problems
from homeostat.web.routes import add_health, add_state
from homeostat.web.worker import Worker

# The route of every request that no route answers: paths are the sender's, and each would be a series of its own.
NO_ROUTE = "none"


def create_app(project: Project) -> FastAPI:
    """Return the application that serves a project; `app.state.worker` is what it holds open while it runs."""
    worker = Worker(project)

    @asynccontextmanager
    async def hold_open(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield

    app = FastAPI(
        title=f"Homeostat: {project.settings.project.name}",
        summary="Predictions that are validated, stored and watched.",
        version=version("homeostat"),
        lifespan=hold_open,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.worker = worker
    add_predict(app, worker)
    add_labels(app, worker)
    add_state(app, worker)
    add_health(app, worker)
    answer_problems(app)
    paths = frozenset(route.path for route in app.routes if isinstance(route, Route))
    app.add_middleware(MeasureRequests, metrics=worker.metrics, paths=paths)
    return app


class MeasureRequests:
    """ASGI middleware that counts and times every request under the name of its route.

    `paths` are the paths of all routes: none has a parameter, so a path is a route's name.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500  # what an error that nobody caught is answered with, outside of this

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = scope["path"] if scope["path"] in self._paths else NO_ROUTE
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - started)
