"""The persisted state of whatever is judged row by row on a watch: evidence, outcomes, arrivals.

Not here: what the bytes mean, which is for the module that owns the kind.
"""

from sqlalchemy import Connection, delete, insert, select

from homeostat.store.tables import watch_states


def find_state(connection: Connection, *, epoch: int, kind: str) -> tuple[int, bytes] | None:
    """Return the last line that a judgement has seen and its state, None before the first."""
    query = select(watch_states.c.last_seq, watch_states.c.state).where(
        watch_states.c.epoch == epoch, watch_states.c.kind == kind
    )
    found = connection.execute(query).first()
    return None if found is None else (found.last_seq, found.state)


def store_state(connection: Connection, *, epoch: int, kind: str, last_seq: int, state: bytes) -> None:
    """Keep the state of a judgement in place of the one before; those of earlier watches go."""
    connection.execute(delete(watch_states).where(watch_states.c.epoch <= epoch, watch_states.c.kind == kind))
    connection.execute(insert(watch_states).values(epoch=epoch, kind=kind, last_seq=last_seq, state=state))
