"""Who sent a request, and how many rows they may still send.

Not here: whether they may use the route (`web.access`). The quota is a token bucket in this process: full at first,
refilled all the time.
"""

import math
import threading
from dataclasses import dataclass

from homeostat.errors import QuotaExceeded

# The name in an ASGI scope under which the application finds the sender of a request.
SENDER = "homeostat.sender"
# Who waits as long as told must not be told to wait again because of a last bit.
ROUNDING = 1e-6


class Quota:
    """How many rows one key may send here.

    Parameters
    ----------
    rows_per_minute
        Of the key, over all processes.
    n_workers
        The processes that answer: each fills its own bucket with its share, and no process asks another.
    """

    def __init__(self, rows_per_minute: int, n_workers: int) -> None:
        self.rows_per_minute = rows_per_minute
        self._capacity = rows_per_minute / n_workers
        self._rows = self._capacity
        self._at_s = -math.inf
        self._lock = threading.Lock()

    def take(self, n_rows: int, now_s: float) -> float:
        """Take rows out, and return 0; or take none, and return the seconds until as many are there again.

        A batch larger than this process's share, but not than the quota itself, is taken from a full bucket and leaves
        a debt: a client does not know how many processes there are.
        """
        per_s = self._capacity / 60
        with self._lock:
            gained = (now_s - self._at_s) * per_s
            rows = min(self._capacity, self._rows + max(0.0, gained))
            missing = min(n_rows, self._capacity) - rows
            if missing > ROUNDING:
                return missing / per_s
            self._rows, self._at_s = rows - n_rows, max(self._at_s, now_s)
            return 0.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request: `name` is what is written beside the labels that they send."""

    name: str
    quota: Quota | None = None

    def take_rows(self, n_rows: int, now_s: float) -> None:
        """Count rows of this sender.

        Parameters
        ----------
        n_rows
            The rows of one request.
        now_s
            A monotonic clock.

        Raises
        ------
        QuotaExceeded
            They sent too many; none of these is counted. `retry_after_s` says when as many may be sent.
        """
        if self.quota is None:
            return
        limit = self.quota.rows_per_minute
        if n_rows > limit:
            raise exceeded(f"the request has {n_rows} rows", limit, "send them in several requests", retry_after_s=60)
        wait_s = math.ceil(self.quota.take(n_rows, now_s))
        if wait_s:
            problem = f"the key has sent its rows of this minute, and {n_rows} more"
            raise exceeded(problem, limit, f"send the request again in {wait_s} s", retry_after_s=wait_s)


def exceeded(problem: str, limit: int, action: str, *, retry_after_s: int) -> QuotaExceeded:
    """Return the error for too many rows."""
    error = QuotaExceeded(problem=problem, expected=f"at most {limit} rows per minute of this key", action=action)
    error.retry_after_s = retry_after_s
    return error


# The sender of every request while no keys are asked for.
ANYBODY = Sender("http")
