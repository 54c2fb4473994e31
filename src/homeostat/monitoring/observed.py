"""The rows of the durable log by their observed numbers, read again as the schema of today has them.

Not here: giving them their numbers, or the labelled ones as a source (`monitoring.production`): that needs polars, of
which the service, which shows the rows of a window again, imports nothing.
"""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from homeostat.data.columns import stack_rows
from homeostat.records import Columns, Row, Schema
from homeostat.store.tables import predictions
from homeostat.validation.checks import check_row


def read_rows(connection: Connection, schema: Schema, *, first: int, last: int) -> Columns:
    """Return the accepted rows from one observed number to another, both included.

    Rows that the schema of today no longer accepts, because it was edited since, are left out.
    """
    query = select(predictions.c.row).where(predictions.c.observed_seq.between(first, last))
    rows = [accept_again(row, schema) for row in connection.scalars(query.order_by(predictions.c.observed_seq))]
    return stack_rows([row for row in rows if row is not None], schema)


def first_received(connection: Connection) -> datetime | None:
    """Return when the oldest row that is still in the log was received, None if it is empty."""
    return connection.scalar(select(predictions.c.received_at).order_by(predictions.c.seq).limit(1))


def accept_again(content: bytes, schema: Schema) -> Row | None:
    """Return a stored row as the schema of today has it, None if that no longer accepts it.

    A feature that was added since is missing, one that was removed since is left out.
    """
    sent = msgspec.json.decode(content)
    checked = check_row({f.name: sent.get(f.name) for f in schema.features}, schema)
    return None if checked.violations else checked.row
