"""The routes that only look: state, history and schema under /v1, health, and metrics.

Not here: predictions (`web.predict`) and outcomes (`web.labels`). The database is always read in a thread.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BeforeValidator, WithJsonSchema
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from homeostat.deployment.history import find_move
from homeostat.deployment.registry import current_promotion, list_promotions, list_releases
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.outcome_checks import describe_current_outcomes
from homeostat.monitoring.predictions import count_log
from homeostat.monitoring.state_metrics import read_state
from homeostat.records import Json
from homeostat.retraining.asking import describe_waiting
from homeostat.store.events import latest_event, read_events
from homeostat.validation.schema import schema_to_json
from homeostat.web.worker import Worker

Found = TypeVar("Found")
DEFAULT_EVENTS, MAX_EVENTS = 100, 1000


def parse_moment(text: str) -> datetime:
    """Return the moment that a text names (RFC 3339, or a date alone); ValueError if it names none."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# A moment in a query: without an offset it is UTC. An offset's plus must be written %2B, as in any query.
Moment: TypeAlias = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Query(description="Only who was in production then; nobody before the first promotion."),
]


def to_json(content: object, status: int = 200) -> Response:
    """Return records and plain values as a JSON answer; moments as RFC 3339 text."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def ask(worker: Worker, question: Callable[[Connection], Found]) -> Found:
    """Return what a query finds, read in a thread in one short transaction."""

    def read() -> Found:
        with worker.project.database.read() as connection:
            return question(connection)

    return await asyncio.to_thread(read)


def add_state(app: FastAPI, worker: Worker) -> None:
    """Add the routes that tell the state of the project."""

    @app.get("/v1/status", tags=["state"], summary="Where the project stands now")
    async def status() -> Response:
        return to_json(await ask(worker, lambda connection: describe_status(connection, worker)))

    @app.get("/v1/drift", tags=["state"], summary="The latest drift check; null before the first")
    async def drift() -> Response:
        return to_json({"check": await ask(worker, latest_drift_check)})

    @app.get("/v1/performance", tags=["state"], summary="What is expected, and what outcomes say, of the predictions")
    async def performance() -> Response:
        return to_json(await ask(worker, describe_current_outcomes))

    @app.get("/v1/releases", tags=["state"], summary="Every registered release, oldest first")
    async def releases() -> Response:
        return to_json({"releases": await ask(worker, list_releases)})

    @app.get("/v1/history", tags=["state"], summary="Who was in production from when, and why, oldest first; or then")
    async def history(at: Moment | None = None) -> Response:
        if at is None:
            return to_json({"promotions": await ask(worker, list_promotions)})
        move = await ask(worker, lambda connection: find_move(connection, at))
        return to_json({"at": at, "promotions": [move.promotion] if move else []})

    @app.get("/v1/events", tags=["state"], summary="The event log after a line, oldest first")
    async def events(
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
        kind: Annotated[str, Query(max_length=40, description="Empty for every kind.")] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = DEFAULT_EVENTS,
    ) -> Response:
        found = await ask(
            worker, lambda connection: list(islice(read_events(connection, after=after, kind=kind or None), limit))
        )
        return to_json({"events": found})

    @app.get("/v1/schema", tags=["state"], summary="What a row is, for the release that answers")
    async def row_schema() -> Response:
        live = worker.follower.live
        schema = live.schema if live else worker.project.schema
        return to_json({**schema_to_json(schema), "digest": schema.digest})


def add_health(app: FastAPI, worker: Worker) -> None:
    """Add the routes for the supervisor and for Prometheus."""

    @app.get("/livez", tags=["health"], summary="Whether the process answers at all")
    async def livez() -> Response:
        return to_json({"status": "alive"})

    @app.get("/readyz", tags=["health"], summary="Whether requests should be sent here; ?verbose says why not")
    async def readyz(request: Request) -> Response:
        obstacles = worker.find_obstacles()
        answer: Json = {"status": "not ready" if obstacles else "ready"}
        if "verbose" in request.query_params:
            answer |= {"obstacles": obstacles, **describe_worker(worker)}
        return to_json(answer, 503 if obstacles else 200)

    @app.get(
        "/metrics", tags=["health"], summary="Metrics in Prometheus' text format", response_class=PlainTextResponse
    )
    async def metrics() -> Response:
        with suppress(SQLAlchemyError):  # a database that is away is the moment at which metrics are wanted most
            worker.metrics.stored.state = await ask(worker, read_state)
        worker.observe()
        return Response(await asyncio.to_thread(worker.metrics.render), media_type=CONTENT_TYPE_LATEST)


def describe_status(connection: Connection, worker: Worker) -> Json:
    """Return where the project stands, as the database and this process see it."""
    check, decision = latest_drift_check(connection), latest_event(connection, "decision")
    return {
        "project": worker.project.settings.project.name,
        "version": version("homeostat"),
        "schema": worker.project.schema.digest,
        "ready": not worker.find_obstacles(),
        "production": current_promotion(connection),
        **describe_worker(worker),
        "log": asdict(count_log(connection)),
        "drift": {key: value for key, value in check.items() if key != "report"} if check else None,
        "decision": {"at": decision.at, **decision.payload} if decision else None,
        "waiting": describe_waiting(connection),
    }


def describe_worker(worker: Worker) -> Json:
    """Return what this process answers with: the release, the one it refused if any, and how durable answers are."""
    live, refusal, log = worker.follower.live, worker.follower.refusal, worker.log
    refused: dict[str, Any] | None = None
    if refusal is not None:
        refused = {"release": refusal.promotion.release, "epoch": refusal.promotion.epoch, "at": refusal.at}
        refused |= {"code": refusal.error.code, "problem": refusal.error.problem, "action": refusal.error.action}
    return {
        "serving": {"release": live.digest, "epoch": live.promotion.epoch} if live else None,
        "refused": refused,
        "durability": worker.project.settings.serving.durability,
        "pending_rows": log.pending_rows,
        "trouble": log.failure.problem if log.failure else worker.follower.trouble,
    }
