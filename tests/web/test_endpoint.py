"""The claim of a request with an Idempotency-Key, without a server."""

import math

from homeostat.store.tables import EPOCH
from homeostat.web.endpoint import Sent, claim_of
from homeostat.web.senders import ANYBODY, SENDER

NOW = 1_772_366_400_000_000
SENT = Sent(b"{}", {b"idempotency-key": b"mine"}, {}, 1, NOW)


def test_answers_may_be_remembered_for_ever() -> None:
    claim = claim_of(SENT, {"path": "/v1/predict", SENDER: ANYBODY}, remember_s=math.inf)

    assert claim is not None
    assert claim.remembered_since < EPOCH
