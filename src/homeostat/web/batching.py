"""Rows of requests that are here at the same time, answered in one call of the graph.

Not here: what becomes of a row (`web.answers`). Nobody waits for company: the rows that have arrived by the end of this
turn of the event loop are scored together. With one thread the graph gives the same bits for any number of rows.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from homeostat.deployment.serving import LiveRelease
from homeostat.records import Schema
from homeostat.validation.decoding import Cells
from homeostat.web.answers import Answer, Judged, SentRow, judge_cells


class Waiting(NamedTuple):
    """One accepted row, the release that its request took, and where its sender waits."""

    cells: Cells
    live: LiveRelease
    received_at: int
    judged: asyncio.Future[Judged]


class Batcher:
    """Collects single rows for one turn of the event loop in which it is used."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    async def judge(self, cells: Cells, live: LiveRelease, *, received_at: int) -> Judged:
        """Return what becomes of one row, as `judge_now` does, together with those that wait here already."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._judge_all)
        waiting = Waiting(cells, live, received_at, loop.create_future())
        self._waiting.append(waiting)
        return await waiting.judged

    def _judge_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        still_there = (one for one in waiting if not one.judged.done())  # a request may be cancelled while it waits
        for _, same in groupby(still_there, key=lambda one: id(one.live)):
            group = list(same)
            try:
                parts = judge_together(group)
            except Exception as error:  # noqa: BLE001  every sender gets it, and answers for itself
                for one in group:
                    one.judged.set_exception(error)
            else:
                for one, judged in zip(group, parts, strict=True):
                    one.judged.set_result(judged)


def judge_together(group: Sequence[Waiting]) -> list[Judged]:
    """Return what becomes of each of some rows for the same release."""
    live = group[0].live
    judged = judge_cells(
        [one.cells for one in group],
        lambda place: name_cells(group[place].cells, live.schema),
        live,
        received_at=group[0].received_at,
    )
    predicted, rejected = iter(judged.predicted), iter(judged.rejected)
    return [
        Judged((result,), (next(predicted),), ())
        if isinstance(result, Answer)
        else Judged((result,), (), (next(rejected),))
        for result in judged.results
    ]


async def judge_now(cells: Cells, live: LiveRelease, *, received_at: int) -> Judged:
    """Return what becomes of one accepted row."""
    return judge_cells([cells], lambda _: name_cells(cells, live.schema), live, received_at=received_at)


def name_cells(cells: Cells, schema: Schema) -> SentRow:
    """Return the cells of an accepted row by column."""
    return {feature.name: cell for feature, cell in zip(schema.features, cells, strict=True)}
