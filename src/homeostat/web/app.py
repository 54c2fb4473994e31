"""The application: which routes there are, what a request passes on its way to them, and what is open while it runs.

Not here: the routes themselves, or the server that listens (`web.server`).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from types import MappingProxyType

from fastapi import FastAPI
from starlette.routing import compile_path
from starlette.types import ASGIApp

from homeostat.project import Project
from homeostat.web.access import RequireKey
from homeostat.web.admission import Admission
from homeostat.web.asking import add_asking
from homeostat.web.board_page import add_board
from homeostat.web.description import DescribedApp
from homeostat.web.endpoint import Endpoint, RowRoutes
from homeostat.web.explain import add_explain
from homeostat.web.labels import add_labels
from homeostat.web.live import Live, add_live
from homeostat.web.login import add_login
from homeostat.web.mlflow_scoring import INVOCATIONS, add_mlflow_scoring, judge_invocations
from homeostat.web.open_inference import INFER_ROUTES, add_open_inference, judge_infer
from homeostat.web.openapi import describe_predict
from homeostat.web.openapi_protocols import describe_infer, describe_invocations
from homeostat.web.operations import add_operations
from homeostat.web.page_responses import add_static
from homeostat.web.pages import add_pages
from homeostat.web.predict import judge_predict, reply_to_row
from homeostat.web.problems import answer_problems
from homeostat.web.routes import add_health, add_state
from homeostat.web.sessions import cookie_name
from homeostat.web.worker import Worker


def create_app(project: Project) -> FastAPI:
    """Return the application that serves a project; `app.state.worker` is what it holds open while it runs."""
    worker = Worker(project)

    @asynccontextmanager
    async def hold_open(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield

    app = DescribedApp(
        title=f"Homeostat: {project.settings.project.name}",
        summary="Predictions that are validated, stored and watched.",
        version=version("homeostat"),
        lifespan=hold_open,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.worker = worker
    app.post("/v1/predict", **describe_predict(project.schema))(answered_before)
    app.post(INVOCATIONS, **describe_invocations(project.schema))(answered_before)
    for route in INFER_ROUTES:
        app.post(route, **describe_infer(project.schema, route, project.settings.project.name))(answered_before)
    add_explain(app, worker)
    add_labels(app, worker)
    add_asking(app, worker)
    add_state(app, worker)
    add_health(app, worker)
    add_pages(app, worker)
    add_open_inference(app, worker)
    add_mlflow_scoring(app, worker)
    live = Live(worker)
    add_board(app, worker, live)
    add_live(app, worker, live)
    add_login(app, worker)
    add_operations(app)
    add_static(app)
    answer_problems(app)
    return app


def put_in_front(app: FastAPI) -> ASGIApp:
    """Return the whole service: the application with what a request meets before it."""
    # Not as middleware of the application: its own outermost layers would take a tenth of a prediction's time.
    worker: Worker = app.state.worker
    rows = RowRoutes(app, worker=worker, find=make_finder(find_endpoints(worker.project.settings.project.name)))
    guarded = RequireKey(
        rows,
        keyring=worker.keyring,
        sessions=worker.sessions,
        cookie=cookie_name(worker.project.settings.project.name),
        metrics=worker.metrics,
    )
    return Admission(guarded, worker=worker)


def find_endpoints(model: str) -> Mapping[str, Endpoint]:
    """Return the endpoints that answer rows, by the path of their route."""
    judge = partial(judge_infer, model=model)
    endpoints = [
        Endpoint("/v1/predict", judge_predict, reply_to_row),
        Endpoint(INVOCATIONS, judge_invocations),
        *(Endpoint(route, judge) for route in INFER_ROUTES),
    ]
    return {endpoint.route: endpoint for endpoint in endpoints}


def make_finder(endpoints: Mapping[str, Endpoint]) -> Callable[[str], tuple[Endpoint, Mapping[str, str]] | None]:
    """Return what finds the endpoint of a path, and the parameters in the path."""
    fixed = {route: endpoint for route, endpoint in endpoints.items() if "{" not in route}
    patterns = [(compile_path(route)[0], endpoint) for route, endpoint in endpoints.items() if "{" in route]

    def find(path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
        # The fixed paths first: they are most of the requests, and a pattern takes a microsecond.
        endpoint = fixed.get(path)
        if endpoint is not None:
            return endpoint, NO_PARAMETERS
        matches = ((pattern.fullmatch(path), endpoint) for pattern, endpoint in patterns)
        return next(((endpoint, match.groupdict()) for match, endpoint in matches if match), None)

    return find


NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


async def answered_before() -> None:
    """Stand in the description for a route that `RowRoutes` answers before it gets here."""
    raise AssertionError("web.endpoint.RowRoutes is not in front of the application")
