"""Saves a release's graph as an MLflow model, for `mlflow models serve`. Runs in the peers' own environment.

Usage: save_mlflow.py GRAPH FOLDER
"""

import sys

import mlflow.onnx
import onnx

graph, folder = sys.argv[1:]
mlflow.onnx.save_model(
    onnx.load(graph),
    folder,
    # No signature: MLflow then checks nothing of a request, and is the faster for it.
    # One thread, as all contestants: ONNX Runtime's own choice pins its threads to cores, past those of the server.
    onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
    # Finding them out takes seconds, and the environment is there already.
    pip_requirements=[],
)
