"""Which keys are valid in this process: a view of the table of keys that is replaced as a whole, four times a second.

Not here: how keys are made and kept (`store.keys`), or what their scopes open (`web.access`).
"""

import hmac
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import KeyInvalid
from homeostat.settings import ServingSettings
from homeostat.store.database import Database
from homeostat.store.keys import SCOPES, ApiKey, Line, hash_token, id_of_token, key_of, read_lines
from homeostat.web.senders import Quota, Sender

# A key that was revoked stops working within a second everywhere.
POLL_S = 0.25
ALL_SCOPES: frozenset[str] = frozenset(SCOPES)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as this process knows it.

    `grants` are its scopes with those that they include. `ends_at_s` is when it expires, in seconds since 1970 UTC:
    never is infinity, and a revoked key has ended before all time.
    """

    key: ApiKey
    hash: bytes
    grants: frozenset[str]
    ends_at_s: float
    sender: Sender


@dataclass(frozen=True, slots=True)
class View:
    """The table of keys at one moment: whether keys are asked for at all, and each key by its id."""

    asked: bool
    known: Mapping[bytes, KnownKey] = field(default_factory=dict)


class Keyring:
    """Follows the table of keys in a thread of its own.

    A thread apart from the one that follows releases: loading a release must not delay a revocation. If the database
    cannot be read, the last view stays, and `trouble` says why. Before the first look, nobody has a valid key.
    """

    def __init__(self, database: Database, serving: ServingSettings) -> None:
        self.trouble: str | None = None
        self.database = database
        self._serving = serving
        self._view = View(asked=True)
        self._lines: Sequence[Line] | None = None
        self._ever = serving.authentication == "required"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keyring", daemon=True)

    @property
    def asked(self) -> bool:
        """Whether a request needs a key."""
        return self._view.asked

    @property
    def following(self) -> bool:
        """Whether the table is being followed."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Look at the keys now, loudly if that fails, then go on looking."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the last view stays."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh(self) -> None:
        """Replace the view by what the database says now.

        Once keys were asked for they are for good: neither a revocation nor a table that was emptied opens the service.
        """
        with self.database.read() as connection:
            lines = read_lines(connection)
        if lines == self._lines:
            return
        known = {line.id.encode(): self._know(key_of(line)) for line in lines}
        self._ever = self._ever or bool(known)
        self._view = View(self._ever, known)
        self._lines = lines

    def find(self, token: bytes, now_s: float) -> KnownKey:
        """Return the key that a token opens at `now_s`, in seconds since 1970 UTC.

        Raises
        ------
        KeyInvalid
            There is none: in the same words for every wrong token; only who holds the right one is told that its key
            has expired or was revoked.
        """
        known = self._view.known.get(id_of_token(token) or b"")
        # An id is public: nothing is told by the time that an unknown one saves.
        if known is None or not hmac.compare_digest(hash_token(token).encode(), known.hash):
            raise no_valid_key()
        return self.recall(known.key.id, now_s)

    def recall(self, key_id: str, now_s: float) -> KnownKey:
        """Return a key by its id, for whoever has shown its token before.

        Raises
        ------
        KeyInvalid
            It has expired, was revoked, or there is no such key.
        """
        known = self._view.known.get(key_id.encode())
        if known is None:
            raise no_valid_key()
        if now_s >= known.ends_at_s:
            raise ended(known.key)
        return known

    def _know(self, key: ApiKey) -> KnownKey:
        before = self._view.known.get(key.id.encode())
        if before is not None and before.key == key:
            return before  # with what is left in its quota
        grants = ALL_SCOPES if "admin" in key.scopes else key.scopes
        quota = Quota(key.rows_per_minute, self._serving.workers) if key.rows_per_minute is not None else None
        return KnownKey(key, key.hash.encode(), grants, end_of(key), Sender(f"key:{key.id}", quota))

    def _follow(self) -> None:
        while not self._stopped.wait(POLL_S):
            try:
                self.refresh()
            except (SQLAlchemyError, ValueError, TypeError) as error:  # away, or scopes that are no list in JSON
                self.trouble = f"the keys cannot be read: {error}"
            else:
                self.trouble = None


def end_of(key: ApiKey) -> float:
    """Return from when on a key may not be used."""
    if key.revoked_at is not None:
        return -math.inf
    return math.inf if key.expires_at is None else key.expires_at.timestamp()


def no_valid_key() -> KeyInvalid:
    """Return the one error for no token and for every wrong one."""
    return KeyInvalid(
        problem="no valid API key came with the request",
        expected="the header Authorization: Bearer TOKEN, with the token of a key of this service",
        action="ask whoever runs the service for a key: `homeostat keys create`",
    )


def ended(key: ApiKey) -> KeyInvalid:
    """Return the error for who holds the token of a key that may not be used any more."""
    how, since = ("was revoked", key.revoked_at) if key.revoked_at is not None else ("expired", key.expires_at)
    return KeyInvalid(
        problem=f"the key {key.id} {how} at {since:%Y-%m-%d %H:%M:%S} UTC",
        expected="a key that is valid now",
        action="ask whoever runs the service for a new one: `homeostat keys create`",
    )
