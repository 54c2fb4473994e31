"""Homeostat: a learning service for tabular data that keeps itself valid. In a notebook: `homeostat.open_project`.

Not here: anything that takes time to import. A name is looked up in `homeostat.api` when it is used first, so that a
service, which imports this package too, loads nothing that trains.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from homeostat.api import Project, create_project, open_project
    from homeostat.errors import HomeostatError, InputError, StateError
    from homeostat.frames import Table
    from homeostat.results import Check, Drift, Replay, Settled

__all__ = [
    "Check",
    "Drift",
    "HomeostatError",
    "InputError",
    "Project",
    "Replay",
    "Settled",
    "StateError",
    "Table",
    "create_project",
    "open_project",
]

__version__ = "0.1.0"

# Before anything imports ONNX Runtime: its wheel notes a device id in the home folder, and may report its use to its
# maker. A service that answers about patients tells nobody; who wants the reports sets the variable to 0.
# https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each public name is written.
WRITTEN_IN = {
    "homeostat.api": ("Project", "create_project", "open_project"),
    "homeostat.errors": ("HomeostatError", "InputError", "StateError"),
    "homeostat.frames": ("Table",),
    "homeostat.results": ("Check", "Drift", "Replay", "Settled"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is used first."""
    for module, names in WRITTEN_IN.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names that are worth completing."""
    return [*__all__, "__version__"]
