"""Homeostat: a learning service for tabular data that keeps itself valid."""

import os

__version__ = "0.1.0"

# Before anything imports ONNX Runtime: its wheel notes a device id in the home folder, and may report its use to its
# maker. A service that answers about patients tells nobody; who wants the reports sets the variable to 0.
# https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
