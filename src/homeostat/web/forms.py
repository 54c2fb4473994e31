"""What the forms of our pages send: their fields, and whether a page of this session has sent them.

Not here: what a form asks for (`web.login`, `web.actions`), or whose session it is (`web.access`).
"""

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.requests import ClientDisconnect

from homeostat.errors import RequestInvalid
from homeostat.web.bodies import receive_body
from homeostat.web.page_responses import viewer_of
from homeostat.web.problems import Problem

MAX_FORM_BYTES, MAX_FIELDS = 16_384, 20
FORGED = Problem(
    HTTPStatus.FORBIDDEN,
    "access-refused",
    "the form was not sent by a page of this session",
    "a form of a page that was loaded since you logged in",
    "load the page again, then send its form",
)


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, the last of each name.

    Raises
    ------
    RequestInvalid
        The body is no form.
    RequestTooLarge
        No form of ours has so many bytes.
    """
    body = await receive_body(request.receive, dict(request.scope["headers"]), limit_bytes=MAX_FORM_BYTES)
    if body is None:
        raise ClientDisconnect
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:  # also what is not UTF-8
        raise RequestInvalid(
            problem=f"the body is no form: {error}",
            expected="application/x-www-form-urlencoded",
            action="use the form of the page",
        ) from error


def is_own(request: Request, form: Mapping[str, str]) -> bool:
    """Return whether a form comes from a page of the session that it is sent in; without a session, any does.

    Who has no session sends a key in a header, which no page elsewhere can make a browser do, or is asked for none and
    sends what `access.comes_from_elsewhere` has let pass.
    """
    return hmac.compare_digest(form.get("csrf", "").encode(), viewer_of(request.scope).csrf.encode())
