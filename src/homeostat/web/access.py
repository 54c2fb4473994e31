"""Which routes there are and who may use each, in one table: what it does not hold is closed to everybody.

Not here: which keys are valid (`web.keyring`), or what a route answers. The table is asked before any router, with the
same decoded path: a path that is not spelled as it is here, letter by letter, never reaches the application.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from homeostat.errors import KeyInvalid, ScopeMissing
from homeostat.monitoring.metrics import Metrics
from homeostat.web.keyring import Keyring, KnownKey, no_valid_key
from homeostat.web.listening import is_loopback
from homeostat.web.page_responses import CSRF, KNOWN, PAGE, wants_page
from homeostat.web.problems import NO_DATABASE, Problem, problem_of, send_bytes, send_problem
from homeostat.web.senders import ANYBODY, SENDER, Sender
from homeostat.web.sessions import Sessions, csrf_of, read_cookie

# The scopes of which one opens a route; admin includes all. OPEN needs no key at all.
OPEN: frozenset[str] = frozenset()
PREDICT = frozenset({"predict"})
EXPLAIN = frozenset({"explain"})
LABEL = frozenset({"label"})
READ = frozenset({"read"})
READ_OR_PREDICT = READ | PREDICT
ADMIN = frozenset({"admin"})
# Events without end: who watches is no request under way.
LIVE = "/live"

ROUTES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "/livez": OPEN,
        "/readyz": OPEN,
        "/ping": OPEN,
        "/v2/health/live": OPEN,
        "/v2/health/ready": OPEN,
        "/v1/predict": PREDICT,
        "/v1/explain": EXPLAIN,
        "/v1/labels": LABEL,
        "/v1/retrain": ADMIN,
        "/v1/promote": ADMIN,
        "/v1/approve": ADMIN,
        "/v1/rollback": ADMIN,
        "/v1/requests/{id}": READ,
        "/v1/status": READ,
        "/v1/drift": READ,
        "/v1/performance": READ,
        "/v1/releases": READ,
        "/v1/history": READ,
        "/v1/events": READ,
        "/v1/schema": READ,
        "/metrics": READ,
        "/docs": READ,
        "/openapi.json": READ,
        "/": READ,
        LIVE: READ,
        "/ask/{kind}": ADMIN,
        "/login": OPEN,
        "/logout": READ,
        "/static/{name}": OPEN,
        "/releases": READ,
        "/releases/{release}": READ,
        "/compare": READ,
        "/drift": READ,
        "/drift/{number}": READ,
        "/cycles/{number}": READ,
        "/events": READ,
        "/events/{number}": READ,
        "/invocations": PREDICT,
        "/health": READ_OR_PREDICT,
        "/version": READ_OR_PREDICT,
        "/v2": READ_OR_PREDICT,
        "/v2/models/{name}/infer": PREDICT,
        "/v2/models/{name}/versions/{version}/infer": PREDICT,
        "/v2/models/{name}": READ_OR_PREDICT,
        "/v2/models/{name}/ready": READ_OR_PREDICT,
        "/v2/models/{name}/versions/{version}": READ_OR_PREDICT,
        "/v2/models/{name}/versions/{version}/ready": READ_OR_PREDICT,
    }
)
# Answered whatever happens: who asks wants to know just that.
PROBES = frozenset({"/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"})
# What the forms of our pages are sent to, with the token of their session, which each of these looks at.
FORMS = frozenset({"/ask/{kind}", "/login", "/logout"})
# Methods that change nothing.
LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
# Without keys, whoever is on this machine may send: but not every page that is open in a browser here.
FOREIGN_PAGE = Problem(
    HTTPStatus.FORBIDDEN,
    "access-refused",
    "the Origin of the request is another site",
    "a request of a program, or of a page of this service",
    "make a key with `homeostat keys create`, and send it",
)
# A page elsewhere may have its own name resolve to this machine, and then be of the same site as whatever answers here.
# https://owasp.org/www-community/attacks/DNS_Rebinding
STRANGE_HOST = Problem(
    HTTPStatus.FORBIDDEN,
    "access-refused",
    "the Host of the request is no name of this machine",
    "127.0.0.1, [::1] or localhost: without keys, the service answers this machine only",
    "send the request to one of these, or make a key with `homeostat keys create`, and send it",
)
COOKIE_ALONE = Problem(
    HTTPStatus.FORBIDDEN,
    "access-refused",
    "a session of a browser changes nothing here",
    "the forms of the pages of this service, or a key in a header",
    "send the key as Authorization: Bearer TOKEN",
)
# Open, but who may not read is told yes or no, and not why.
READINESS = "/readyz"
PARAMETER = re.compile(r"\{\w+\}")
PATTERNS = tuple((re.compile(PARAMETER.sub("[^/]+", path)), path) for path in ROUTES if PARAMETER.search(path))
POLICY_VIOLATION = 1008  # https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1


class Cookie(NamedTuple):
    """The token of a session, which has to be looked up."""

    token: str


class RequireKey:
    """ASGI middleware around every route: it admits a request, and says who sent it, or refuses it.

    `cookie` is the name of the cookie of a session, which stands for its key where no header brings one.
    """

    def __init__(self, app: ASGIApp, *, keyring: Keyring, sessions: Sessions, cookie: str, metrics: Metrics) -> None:
        self._app = app
        self._keyring = keyring
        self._sessions = sessions
        self._cookie = cookie
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass; there are no web sockets."""
        if scope["type"] == "http":
            route = find_route(scope["path"])
            admitted = self._admit(scope, route)
            if isinstance(admitted, Cookie):
                admitted = await self._admit_session(scope, route, admitted)
            if isinstance(admitted, Sender):
                scope[SENDER] = admitted
                await self._app(scope, receive, send)
                return
            scope["homeostat.route"] = route
            self._metrics.errors.labels(admitted.code).inc()
            if admitted.status == HTTPStatus.UNAUTHORIZED and scope["method"] == "GET" and wants_page(scope["headers"]):
                await send_bytes(send, HTTPStatus.SEE_OTHER, {**PAGE, "location": login_for(scope)}, b"")
            else:
                await send_problem(send, admitted, scope)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)

    def _admit(self, scope: Scope, route: str | None) -> Sender | Problem | Cookie:
        if not self._keyring.asked:
            return admit_anybody(scope, route)
        openers = None if route is None else ROUTES[route]
        if openers is OPEN:
            if route == READINESS and scope["query_string"] and not self._may_read(scope):
                scope["query_string"] = b""
            return ANYBODY
        token = read_token(scope["headers"])
        if not token and (cookie := read_cookie(scope["headers"], self._cookie)):
            return Cookie(cookie)
        try:
            known = self._keyring.find(token, time.time())
        except KeyInvalid as error:
            return challenge(error)
        return admit_known(scope, route, known)

    async def _admit_session(self, scope: Scope, route: str | None, cookie: Cookie) -> Sender | Problem:
        if scope["method"] not in LOOKING and route not in FORMS:
            return COOKIE_ALONE
        try:
            known = await asyncio.to_thread(self._sessions.find, cookie.token, now=datetime.now(UTC))
        except KeyInvalid as error:
            return challenge(error)
        except SQLAlchemyError:
            return NO_DATABASE
        if known is None:
            return challenge(no_valid_key())
        if scope["method"] not in LOOKING and comes_from_elsewhere(scope["headers"]):
            return FOREIGN_PAGE
        scope[CSRF] = csrf_of(cookie.token)
        return admit_known(scope, route, known)

    def _may_read(self, scope: Scope) -> bool:
        try:
            return not READ.isdisjoint(self._keyring.find(read_token(scope["headers"]), time.time()).grants)
        except KeyInvalid:
            return False


def admit_known(scope: Scope, route: str | None, known: KnownKey) -> Sender | Problem:
    """Return the sender of a request with a valid key, or why this key does not open the route."""
    if route is None:
        return missing_route(scope["path"])
    if ROUTES[route].isdisjoint(known.grants):
        return problem_of(scope_missing(known, scope["path"], ROUTES[route]))
    scope[KNOWN] = known
    return known.sender


def challenge(error: KeyInvalid) -> Problem:
    """Return the problem of a request without a valid key."""
    return replace(problem_of(error), headers={"WWW-Authenticate": "Bearer"})


def login_for(scope: Scope) -> str:
    """Return where a browser logs in to come back to what it asked for."""
    query = scope["query_string"].decode("latin-1")
    return f"/login?next={quote(scope['path'] + (f'?{query}' if query else ''), safe='/')}"


def admit_anybody(scope: Scope, route: str | None) -> Sender | Problem:
    """Return the sender of a request while no keys are asked for, or why it is refused all the same."""
    if route not in PROBES and not names_this_machine(scope["headers"]):
        return STRANGE_HOST
    if scope["method"] not in LOOKING and comes_from_elsewhere(scope["headers"]):
        return FOREIGN_PAGE
    return missing_route(scope["path"]) if route is None else ANYBODY


def names_this_machine(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether every Host of a request reaches this machine only; browsers always send one."""
    return all(is_local_host(value) for name, value in headers if name == b"host")


@lru_cache(maxsize=64)
def is_local_host(host: bytes) -> bool:
    """Return whether a Host, with its port or without, is a name or an address that reaches this machine only."""
    name = re.sub(r":\d*$", "", host.decode("latin-1").lower())
    return is_loopback(name[1:-1] if name.startswith("[") and name.endswith("]") else name)


def comes_from_elsewhere(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a browser sends a request for a page of another site; programs send no Origin.

    https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Origin
    """
    found = dict(headers)
    origin = found.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != found.get(b"host")


def find_route(path: str) -> str | None:
    """Return the line of the table that holds a path; None if none does."""
    if path in ROUTES:
        return path
    return next((route for pattern, route in PATTERNS if pattern.fullmatch(path)), None)


def read_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the one token in the headers of a request; nothing if there is none, or more than one.

    A scheme other than Bearer is not ours: a proxy may have asked for its own password.
    """
    tokens = []
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                tokens.append(value[7:].strip())
        elif name == b"x-api-key":
            tokens.append(value.strip())
    return tokens[0] if len(tokens) == 1 else b""


def scope_missing(known: KnownKey, path: str, openers: frozenset[str]) -> ScopeMissing:
    """Return the three-part error for a valid key that a route is not open to."""
    scopes, held = " or ".join(sorted(openers)), " and ".join(sorted(known.key.scopes))
    return ScopeMissing(
        problem=f"the key {known.key.id} has the scope {held}, and {path[:200]} asks for {scopes}",
        expected=f"a key with the scope {scopes}" if openers == ADMIN else f"a key with the scope {scopes}, or admin",
        action=f"use another key: `homeostat keys create --scope {min(openers)}` makes one",
    )


def missing_route(path: str) -> Problem:
    """Return the problem for a path that the table does not hold."""
    detail = f"there is no {path[:200]}"
    return Problem(
        HTTPStatus.NOT_FOUND, "route-missing", detail, "a route that /openapi.json lists, spelled as there", "see /docs"
    )
