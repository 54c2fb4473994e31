"""A sound release with one fault in its graph, which its golden rows do not show: what gets past every check.

Not here: putting it into production. Each fault is added behind or beside the release's own nodes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from homeostat.deployment.artifacts import (
    MANIFEST,
    PROVENANCE,
    REQUIRED,
    find_release,
    open_release,
    pack_release,
    read_verified,
)
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import NUMERIC, PROBABILITY

# The first number of a row that makes a `raising` graph fail: no golden row has it.
FATAL = 33.375
BEFORE = "sound_probability"


def pack_faulty(blobs: FolderBlobs, sound: str, fault: Callable[[bytes], bytes]) -> str:
    """Pack a release again with a faulty graph, and return its digest."""
    folder: Path = find_release(sound, blobs)
    release, files = open_release(folder), read_verified(folder)
    return pack_release(
        graph=fault(release.graph),
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=release.lineage,
        extra={name: content for name, content in files.items() if name not in {*REQUIRED, PROVENANCE, MANIFEST}},
        provenance={},
        blobs=blobs,
    )


def unchanged(graph: bytes) -> bytes:
    """Return a graph that answers the same, under another digest."""
    return add_nodes(graph, [helper.make_node("Identity", [BEFORE], [PROBABILITY])])


def raising(graph: bytes) -> bytes:
    """Return a graph that fails on every batch with a row whose first number is `FATAL`."""
    nodes = [
        helper.make_node("Gather", [NUMERIC, "first"], ["first_number"], axis=1),
        helper.make_node("Equal", ["first_number", "fatal"], ["is_fatal"]),
        helper.make_node("Cast", ["is_fatal"], ["place"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["place"], ["worst_place"], keepdims=0),
        # There is no second number to gather: ONNX Runtime raises.
        helper.make_node("Gather", ["one", "worst_place"], ["factor"], axis=0),
        helper.make_node("Mul", [BEFORE, "factor"], [PROBABILITY]),
    ]
    return add_nodes(graph, nodes, first=np.array(0), fatal=np.float32(FATAL), one=np.ones(1, np.float32))


def shifted(graph: bytes) -> bytes:
    """Return a graph that answers close to 1 whatever it is asked."""
    nodes = [
        helper.make_node("Mul", [BEFORE, "tenth"], ["small"]),
        helper.make_node("Add", ["small", "rest"], [PROBABILITY]),
    ]
    return add_nodes(graph, nodes, tenth=np.float32(0.1), rest=np.float32(0.9))


def turned(graph: bytes) -> bytes:
    """Return a graph that answers with the probability of the other class."""
    return add_nodes(graph, [helper.make_node("Sub", ["all", BEFORE], [PROBABILITY])], all=np.float32(1))


def slow(graph: bytes) -> bytes:
    """Return a graph that takes a tenth of a second and more for every call."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("MatMul", ["left_in", "big"], ["left_out"]),
        ],
        "loop",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("left_in", TensorProto.FLOAT, [400, 400]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("left_out", TensorProto.FLOAT, [400, 400]),
        ],
    )
    nodes = [
        # From the answers, or it would be computed once, when the graph is opened.
        helper.make_node("ReduceMax", [BEFORE], ["most"], keepdims=0),
        helper.make_node("Mul", ["big", "most"], ["begin"]),
        helper.make_node("Loop", ["turns", "", "begin"], ["result"], body=body),
        helper.make_node("ReduceMax", ["result"], ["number"], keepdims=0),
        helper.make_node("Mul", ["number", "nothing"], ["vanished"]),
        helper.make_node("Add", [BEFORE, "vanished"], [PROBABILITY]),
    ]
    big = np.full((400, 400), 1 / 400, np.float32)
    return add_nodes(graph, nodes, big=big, turns=np.array(50), nothing=np.float32(0))


def add_nodes(graph: bytes, nodes: Sequence[onnx.NodeProto], **constants: ArrayLike) -> bytes:
    """Return a graph with further nodes, which take `BEFORE` and give the probability."""
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == PROBABILITY:
                node.output[place] = BEFORE
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return bytes(model.SerializeToString())
