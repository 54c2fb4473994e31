"""Logging in with a key, and out: /login takes the key once and gives a cookie, /logout takes the cookie away.

Not here: what a session is (`web.sessions`), or what it opens (`web.access`).
"""

import math
import time
from collections import OrderedDict
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from homeostat.errors import KeyInvalid
from homeostat.web.access import FOREIGN_PAGE, READ, comes_from_elsewhere
from homeostat.web.forms import FORGED, is_own, read_form
from homeostat.web.keyring import KnownKey
from homeostat.web.page_responses import PAGE, answer_page
from homeostat.web.problems import refuse
from homeostat.web.senders import Quota
from homeostat.web.sessions import cookie_name, read_cookie, write_cookie
from homeostat.web.worker import Worker

# A key cannot be guessed: this bounds what an avalanche of attempts costs.
ATTEMPTS_PER_MINUTE, MAX_ADDRESSES = 20, 1_000
NOT_A_READER = "This key may not look: it needs the scope read, or admin."


class Attempts:
    """How often each address has tried of late."""

    def __init__(self) -> None:
        self._quotas: OrderedDict[str, Quota] = OrderedDict()

    def count(self, address: str, now_s: float) -> float:
        """Count an attempt and return 0, or return the seconds until one may be made; `now_s` is monotonic."""
        quota = self._quotas.setdefault(address, Quota(ATTEMPTS_PER_MINUTE, 1))
        self._quotas.move_to_end(address)
        if len(self._quotas) > MAX_ADDRESSES:
            self._quotas.popitem(last=False)
        return quota.take(1, now_s)


def add_login(app: FastAPI, worker: Worker) -> None:
    """Add the routes to the application."""
    attempts = Attempts()

    @app.get("/login", include_in_schema=False, summary="The page that asks for a key")
    async def login_page(request: Request) -> Response:
        return show_login(request, request.query_params.get("next", "/"))

    @app.post("/login", include_in_schema=False, summary="Takes a key once, gives a session cookie")
    async def login(request: Request) -> Response:
        if comes_from_elsewhere(request.scope["headers"]):
            return refuse(request, FOREIGN_PAGE)
        form = await read_form(request)
        wanted = form.get("next", "/")
        wait_s = math.ceil(attempts.count(request.client.host if request.client else "", time.monotonic()))
        if wait_s:
            return show_login(request, wanted, refused=f"Too many attempts: try again in {wait_s} s.", wait_s=wait_s)
        try:
            known = worker.keyring.find(form.get("key", "").strip().encode(), time.time())
        except KeyInvalid as error:
            return show_login(request, wanted, refused=f"{error.problem[0].upper()}{error.problem[1:]}.")
        if READ.isdisjoint(known.grants):
            return show_login(request, wanted, refused=NOT_A_READER)
        return await begin_session(request, worker, known, wanted)

    @app.post("/logout", include_in_schema=False, summary="Ends the session of a browser")
    async def logout(request: Request) -> Response:
        if not is_own(request, await read_form(request)):
            return refuse(request, FORGED)
        name = cookie_name(worker.project.settings.project.name)
        await worker.write(partial(worker.sessions.end, read_cookie(request.scope["headers"], name)))
        gone = write_cookie(name, "", secure=is_secure(request))
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER, {**PAGE, "set-cookie": gone})


def show_login(request: Request, wanted: str, *, refused: str = "", wait_s: int = 0) -> Response:
    """Return the page that asks for a key, with why the last one was refused if it was."""
    status = HTTPStatus.TOO_MANY_REQUESTS if wait_s else HTTPStatus.UNAUTHORIZED if refused else HTTPStatus.OK
    page = answer_page(
        request, "login.html.jinja", place="", status=status, places={}, next=keep_local(wanted), refused=refused
    )
    if wait_s:
        page.headers["retry-after"] = str(wait_s)
    return page


async def begin_session(request: Request, worker: Worker, known: KnownKey, wanted: str) -> Response:
    """Return the answer that gives a browser its cookie and sends it on."""
    token = await worker.write(partial(worker.sessions.begin, known, now=datetime.now(UTC)))
    cookie = write_cookie(cookie_name(worker.project.settings.project.name), token, secure=is_secure(request))
    return RedirectResponse(keep_local(wanted), HTTPStatus.SEE_OTHER, {**PAGE, "set-cookie": cookie})


def is_secure(request: Request) -> bool:
    """Return whether the browser speaks TLS, with us or with a proxy; who feigns it only loses their own cookie."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


def keep_local(path: str) -> str:
    """Return a path of this service as it is, and / in place of whatever would lead elsewhere.

    Browsers take a backslash for a slash, and leave out tabs and line ends.
    https://url.spec.whatwg.org/#concept-basic-url-parser
    """
    is_local = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isascii() and path.isprintable()
    return path if is_local else "/"
