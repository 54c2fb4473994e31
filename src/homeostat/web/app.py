"""The application: which routes there are, what a request passes on its way to them, and what is open while it runs.

Not here: the routes themselves, or the server that listens (`web.server`).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType

from fastapi import FastAPI
from starlette.types import ASGIApp

from homeostat.project import Project
from homeostat.web.access import RequireKey
from homeostat.web.admission import Admission
from homeostat.web.endpoint import Endpoint, RowRoutes
from homeostat.web.labels import add_labels
from homeostat.web.openapi import describe_predict
from homeostat.web.predict import judge_predict, reply_to_row
from homeostat.web.problems import answer_problems
from homeostat.web.routes import add_health, add_state
from homeostat.web.worker import Worker


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
    app.post("/v1/predict", **describe_predict(project.schema))(answered_before)
    add_labels(app, worker)
    add_state(app, worker)
    add_health(app, worker)
    answer_problems(app)
    return app


def put_in_front(app: FastAPI) -> ASGIApp:
    """Return the whole service: the application with what a request meets before it."""
    # Not as middleware of the application: its own outermost layers would take a tenth of a prediction's time.
    worker: Worker = app.state.worker
    rows = RowRoutes(app, worker=worker, find=find_endpoint)
    return Admission(RequireKey(rows, keyring=worker.keyring, metrics=worker.metrics), worker=worker)


# The endpoints that answer rows, by path.
ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {"/v1/predict": Endpoint("/v1/predict", judge_predict, reply_to_row)}
)
NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


def find_endpoint(path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
    """Return the endpoint of a path that takes rows, and the parameters in the path."""
    endpoint = ENDPOINTS.get(path)
    return None if endpoint is None else (endpoint, NO_PARAMETERS)


async def answered_before() -> None:
    """Stand in the description for a route that `RowRoutes` answers before it gets here."""
    raise AssertionError("web.endpoint.RowRoutes is not in front of the application")
