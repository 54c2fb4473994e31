"""The page / and the forms on it: how the board is answered, and what becomes of a button that was pressed.

Not here: what the board shows (`web.board`), its events (`web.live`), or what is refused (`web.asking`).
"""

from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from homeostat.errors import RequestInvalid
from homeostat.retraining.requests import Asked
from homeostat.web.asking import parse_body, put
from homeostat.web.endpoint import sender_of
from homeostat.web.forms import FORGED, is_own, read_form
from homeostat.web.live import Live
from homeostat.web.page_responses import PAGE, answer_page
from homeostat.web.problems import Problem, problem_of, refuse
from homeostat.web.worker import Worker

# Where the answer to a request is told: beside the others, as they are carried out.
# The query, so that whichever process shows it reads anew.
ANSWERED = "/?asked#asked"


def add_board(app: FastAPI, worker: Worker, live: Live) -> None:
    """Add the routes to the application."""

    @app.get("/", include_in_schema=False)
    async def board(request: Request) -> Response:
        if "asked" in request.query_params:
            live.forget()
        return await show_board(request, live)

    @app.post(
        "/ask/{kind}", include_in_schema=False, summary="The forms of the board: retrain, promote, approve, rollback"
    )
    async def ask(request: Request, kind: Asked) -> Response:
        form = await read_form(request)
        if not is_own(request, form):
            return refuse(request, FORGED)
        body = {name: form[name] for name in ("release", "reason") if form.get(name, "").strip()}
        try:
            wish = parse_body(msgspec.json.encode(body), kind)
        except RequestInvalid as error:
            return await show_board(request, live, refusal=problem_of(error))
        now = datetime.now(UTC)
        answer = await put(worker, kind, wish, claim=None, sender=sender_of(request.scope), now=now)
        if isinstance(answer, Problem):
            return await show_board(request, live, refusal=answer)
        return RedirectResponse(ANSWERED, HTTPStatus.SEE_OTHER, dict(PAGE))


async def show_board(request: Request, live: Live, *, refusal: Problem | None = None) -> Response:
    """Return the page, with why what was asked is refused if it is."""
    status = HTTPStatus.OK if refusal is None else refusal.status
    parts = await live.parts()
    return answer_page(request, "board.html.jinja", place="/", status=status, parts=parts, refusal=refusal)
