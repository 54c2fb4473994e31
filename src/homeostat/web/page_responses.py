"""How a page of HTML is answered: the headers of every page, who looks at it, and the files that pages load.

Not here: how pages are made (`web.rendering`), who may see them (`web.access`), or what each says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from types import MappingProxyType

from fastapi import FastAPI, Request, Response
from starlette.types import Scope

from homeostat.web.keyring import KnownKey
from homeostat.web.rendering import STATIC, read_static, render_page

# The names in an ASGI scope of the key that admitted a request, and of the token that its session's forms send.
KNOWN, CSRF = "homeostat.key", "homeostat.csrf"
# Not `no-referrer`: the forms of such a page are sent with `Origin: null`, as those of strangers.
# https://fetch.spec.whatwg.org/#append-a-request-origin-header
SAFETY: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
)
# What is shown to a reader is kept by no cache.
PAGE: Mapping[str, str] = MappingProxyType({**SAFETY, "cache-control": "no-store", "vary": "accept, cookie"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page. `csrf` is sent with every form of a session; it is empty for whoever has none."""

    name: str
    may_act: bool
    csrf: str


def viewer_of(scope: Scope) -> Viewer:
    """Return who sent a request; without keys, whoever is on this machine may do everything."""
    known: KnownKey | None = scope.get(KNOWN)
    if known is None:
        return Viewer("", may_act=True, csrf="")
    return Viewer(known.key.name, "admin" in known.grants, scope.get(CSRF, ""))


def html_response(text: str, status: int = HTTPStatus.OK) -> Response:
    """Return a page as an answer, with the headers of every page."""
    return Response(text, status, dict(PAGE), media_type="text/html")


def answer_page(
    request: Request, template: str, *, place: str, status: int = HTTPStatus.OK, **content: object
) -> Response:
    """Return a page of the service for whoever asks; `place` is the entry of `rendering.PLACES` that it belongs to."""
    project = request.app.state.worker.project.settings.project.name
    viewer = viewer_of(request.scope)
    return html_response(render_page(template, project=project, place=place, viewer=viewer, **content), status)


def wants_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request comes from a browser that shows what it gets; programs ask for anything, or for JSON."""
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


def add_static(app: FastAPI) -> None:
    """Add the route of the files that pages load."""

    @app.get("/static/{name}", include_in_schema=False, summary="The style sheet and the script of the pages")
    async def static(request: Request, name: str) -> Response:
        if name not in STATIC:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        content = read_static(name)
        headers = {**SAFETY, "cache-control": "no-cache", "etag": f'"{sha256(content).hexdigest()[:20]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers, media_type=STATIC[name])
