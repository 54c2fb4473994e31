"""Single rows that are there at once: each sender gets what they would have got alone, whoever came with them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from homeostat.deployment.serving import LiveRelease
from homeostat.records import Feature, Promotion, Target
from homeostat.training.scoring import NUMERIC, PROBABILITY, Graph
from homeostat.validation.decoding import Cells, RowDecoder
from homeostat.validation.schema import freeze_schema
from homeostat.web.answers import Answer, Judged, Refused
from homeostat.web.batching import Batcher, judge_now

SCHEMA = freeze_schema([Feature("x", "numeric"), Feature("y", "numeric")], Target("z", 0, 1))
NOW = 1_700_000_000_000_000
cells = st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))


def live(digest: str, operator: str) -> LiveRelease:
    """Return a release whose probability is a function of x."""
    nodes = [
        helper.make_node("Slice", [NUMERIC, "starts", "ends", "axes"], ["first"]),
        helper.make_node(operator, ["first"], [PROBABILITY]),
    ]
    bounds = {"starts": 0, "ends": 1, "axes": 1}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(NUMERIC, TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in bounds.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    promotion = Promotion(1, digest, None, datetime.now(UTC), "test", "test")
    return LiveRelease(promotion, SCHEMA, Graph(model.SerializeToString(), SCHEMA), RowDecoder(SCHEMA))


# The square root of a negative number is none: such a row has no answer.
ROOT, ABS = live("a" * 64, "Sqrt"), live("b" * 64, "Abs")


def judge_at_once(rows: Sequence[tuple[Cells, LiveRelease]]) -> list[Judged]:
    async def judge() -> list[Judged]:
        batcher = Batcher()
        return await asyncio.gather(*(batcher.judge(row, release, received_at=NOW) for row, release in rows))

    return asyncio.run(judge())


def without_ids(judged: Judged) -> object:
    """Return what does not differ from one time to the next."""
    (result,) = judged.results
    answer = (result.probability, result.label, result.release) if isinstance(result, Answer) else result.rejected
    return answer, [line[1:] for line in judged.predicted], list(judged.rejected)


@given(st.lists(st.tuples(cells, st.sampled_from([ROOT, ABS])), min_size=1, max_size=12))
def test_rows_that_are_judged_together_get_what_each_would_get_alone(rows: list[tuple[Cells, LiveRelease]]) -> None:
    alone = [asyncio.run(judge_now(row, release, received_at=NOW)) for row, release in rows]

    assert [without_ids(judged) for judged in judge_at_once(rows)] == [without_ids(judged) for judged in alone]


def test_each_sender_gets_the_id_of_the_line_in_the_log() -> None:
    judged = judge_at_once([((0.25, None), ROOT), ((0.75, 1.0), ABS)])

    assert [one.results[0].id for one in judged if isinstance(one.results[0], Answer)] == [
        one.predicted[0][0] for one in judged
    ]


def test_a_row_without_an_answer_is_refused_and_kept_as_it_was_and_the_others_are_answered() -> None:
    refused, answered = judge_at_once([((-1.0, None), ROOT), ((0.25, None), ROOT)])

    assert isinstance(refused.results[0], Refused)
    assert refused.results[0].rejected[0]["rule"] == "answer"
    assert [msgspec.json.decode(line[1]) for line in refused.rejected] == [{"x": -1.0, "y": None}]
    assert isinstance(answered.results[0], Answer)


def test_an_error_reaches_every_sender() -> None:
    other = freeze_schema([Feature("w", "numeric")], Target("z", 0, 1))
    broken = LiveRelease(ROOT.promotion, other, ROOT.graph, RowDecoder(other))

    async def judge() -> Sequence[BaseException | Judged]:
        batcher = Batcher()
        sent = (batcher.judge((1.0,), broken, received_at=NOW) for _ in range(3))
        return await asyncio.gather(*sent, return_exceptions=True)

    assert all(isinstance(outcome, Exception) for outcome in asyncio.run(judge()))


def test_a_request_that_is_cancelled_disturbs_nobody() -> None:
    async def judge() -> Judged:
        batcher = Batcher()
        tasks = [asyncio.create_task(batcher.judge((0.25, None), ROOT, received_at=NOW)) for _ in range(2)]
        asyncio.get_running_loop().call_soon(tasks[0].cancel)  # after both wait, before they are judged
        async with asyncio.timeout(5):
            return await tasks[1]

    assert isinstance(asyncio.run(judge()).results[0], Answer)
