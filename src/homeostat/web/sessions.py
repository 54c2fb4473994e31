"""Sessions of browsers: a key is sent once, and a cookie stands for it until it expires, is logged out or the key ends.

Not here: which routes a session opens (`web.access`), or the page that asks for a key (`web.login`). As of a key, the
database holds the SHA-256 of a cookie's token and not the token: whoever reads a backup cannot be anybody.
"""

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select

from homeostat.store.keys import hash_token
from homeostat.store.tables import sessions
from homeostat.web.keyring import Keyring, KnownKey

LIFETIME = timedelta(hours=12)
TOKEN_BYTES = 32


class Sessions:
    """The sessions of all processes of an installation: each line of the table opens what its key opens now."""

    def __init__(self, keyring: Keyring) -> None:
        self._database = keyring.database
        self._keyring = keyring

    def begin(self, known: KnownKey, *, now: datetime) -> str:
        """Keep a new session of a key, forget those that have expired, and return its token."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        line = {"hash": hash_token(token.encode()), "key": known.key.id, "expires_at": now + LIFETIME}
        with self._database.write("begin_session") as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(insert(sessions).values(**line))
        return token

    def find(self, token: str, *, now: datetime) -> KnownKey | None:
        """Return the key that a session stands for; None if there is no such session any more.

        Raises
        ------
        KeyInvalid
            The key was revoked, or has expired.
        """
        query = select(sessions).where(sessions.c.hash == hash_token(token.encode()))
        with self._database.read() as connection:
            line = connection.execute(query).first()
        if line is None or now >= line.expires_at:
            return None
        return self._keyring.recall(line.key, now.timestamp())

    def end(self, token: str) -> None:
        """Forget a session."""
        with self._database.write("end_session") as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == hash_token(token.encode())))


def csrf_of(token: str) -> str:
    """Return what the forms of a session send beside its cookie: known to nobody who does not know the cookie."""
    return hmac.digest(token.encode(), b"homeostat csrf", "sha256").hex()


def cookie_name(project: str) -> str:
    """Return the name of a project's cookie: browsers send cookies to every port of a machine alike."""
    return f"homeostat-{project}"


def read_cookie(headers: Iterable[tuple[bytes, bytes]], name: str) -> str:
    """Return the token in the one cookie of this name; nothing if there is none, or more than one."""
    found = []
    for header, value in headers:
        if header == b"cookie":
            pairs = (part.strip().partition("=") for part in value.decode("latin-1").split(";"))
            found += [token for key, _, token in pairs if key == name]
    return found[0] if len(found) == 1 else ""


def write_cookie(name: str, token: str, *, secure: bool) -> str:
    """Return the header that gives a browser its cookie; an empty token takes it away."""
    age = int(LIFETIME.total_seconds()) if token else 0
    parts = [f"{name}={token}", "Path=/", f"Max-Age={age}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, "Secure"] if secure else parts)
