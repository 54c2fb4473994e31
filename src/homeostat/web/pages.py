"""The routes of the pages beside the board: releases, comparison, drift checks, cycles, events.

Not here: what each shows (one file a page), or how a page is rendered (`web.rendering`). The database is always read
in a thread.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeAlias

from fastapi import FastAPI, Path, Query, Request, Response
from sqlalchemy import Connection

from homeostat.deployment.registry import resolve_release
from homeostat.errors import ReleaseMissing
from homeostat.web.compare_page import compare_releases
from homeostat.web.contents import Content, to_page
from homeostat.web.cycle_page import describe_cycle
from homeostat.web.drift_checks_page import describe_checks
from homeostat.web.drift_facts import describe_numbered
from homeostat.web.events_page import describe_event, describe_events
from homeostat.web.page_responses import html_response, viewer_of
from homeostat.web.problems import Problem, refuse
from homeostat.web.release_page import describe_release
from homeostat.web.releases_page import describe_releases
from homeostat.web.worker import Worker

# No line of any table is numbered beyond.
LAST_NUMBER = 2**53
# Names that are looked up; a page says how many releases it can show.
MOST_NAMES = 20
Before: TypeAlias = Annotated[int | None, Query(ge=1, le=LAST_NUMBER, description="Only what is older than this.")]


Number: TypeAlias = Annotated[int, Path(ge=1, le=LAST_NUMBER)]
Kind: TypeAlias = Annotated[str, Query(max_length=40)]
Names: TypeAlias = Annotated[list[str] | None, Query(max_length=MOST_NAMES)]


def add_pages(app: FastAPI, worker: Worker) -> None:
    """Add the routes of the pages."""
    project = worker.project

    @app.get("/releases", include_in_schema=False, summary="Every release, as a page")
    async def releases(request: Request, before: Before = None) -> Response:
        return await show(request, worker, lambda connection: describe_releases(connection, before=before))

    @app.get("/releases/{release}", include_in_schema=False, summary="One release with its model card, as a page")
    async def release(request: Request, release: str) -> Response:
        return await show(
            request,
            worker,
            lambda connection: describe_release(connection, project, resolve_release(connection, release)),
        )

    @app.get(
        "/compare", include_in_schema=False, summary="Up to six releases side by side, as a page: ?release=A&release=B"
    )
    async def compare(request: Request, release: Names = None) -> Response:
        return await show(request, worker, lambda connection: compare_releases(connection, project, release or []))

    @app.get("/drift", include_in_schema=False, summary="The drift checks, as a page")
    async def drift(request: Request, before: Before = None) -> Response:
        return await show(request, worker, lambda connection: describe_checks(connection, before=before))

    @app.get("/drift/{number}", include_in_schema=False, summary="One drift check with pictures, as a page")
    async def check(request: Request, number: Number) -> Response:
        return await show(request, worker, lambda connection: describe_numbered(connection, project, number))

    @app.get("/cycles/{number}", include_in_schema=False, summary="One turn of the loop, as a page")
    async def cycle(request: Request, number: Number) -> Response:
        return await show(request, worker, lambda connection: describe_cycle(connection, number))

    @app.get("/events", include_in_schema=False, summary="The event log, as a page: ?kind=, ?before=")
    async def events(request: Request, before: Before = None, kind: Kind = "") -> Response:
        return await show(request, worker, lambda connection: describe_events(connection, before=before, kind=kind))

    @app.get("/events/{number}", include_in_schema=False, summary="One line of the event log, as a page")
    async def event(request: Request, number: Number) -> Response:
        return await show(request, worker, lambda connection: describe_event(connection, number))


async def show(request: Request, worker: Worker, describe: Callable[[Connection], Content | None]) -> Response:
    """Answer with a page; where there is nothing of that name, with the problem."""
    name, viewer = worker.project.settings.project.name, viewer_of(request.scope)

    def make() -> str | None:
        with worker.project.database.read() as connection:
            content = describe(connection)
        return None if content is None else to_page(content, project=name, viewer=viewer)

    try:
        page = await asyncio.to_thread(make)
    except ReleaseMissing as error:
        return refuse(request, Problem(HTTPStatus.NOT_FOUND, error.code, error.problem, error.expected, error.action))
    if page is None:
        return refuse(request, nothing_there(request.url.path))
    return html_response(page)


def nothing_there(path: str) -> Problem:
    """Return the problem of a page about something that does not exist."""
    return Problem(
        HTTPStatus.NOT_FOUND, "page-missing", f"there is no {path[:200]}", "a page that another one leads to", "see /"
    )
