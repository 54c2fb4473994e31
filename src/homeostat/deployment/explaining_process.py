"""The process that explains beside a service: it reads questions from its input, and writes each one's answer.

Not here: who starts it, asks it and ends it (`web.explainer`), or what an explanation is (`deployment.explaining`).
Nothing of a row is ever printed: the one thing that leaves this process is the answer. It ends when whoever asks does.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from homeostat.deployment.limits import MEGABYTE, Limits, restrict
from homeostat.deployment.messages import receive_message, send_message
from homeostat.records import Json
from homeostat.store.blobs import FolderBlobs

# A prediction that is waited for comes first.
NICENESS = 10
# Beyond what the libraries take. Processor time is bounded by whoever asks: for each question, not for the whole life.
LIMITS = Limits(memory_bytes=1024 * MEGABYTE, cpu_s=7 * 24 * 3600, files=32)
# LightGBM imports each of these where it is installed, to offer a front to it: 1.4 s and 184 MB, and 0.3 s and 55 MB
# without them.
UNUSED = ("dask", "matplotlib", "pandas", "pyarrow", "sklearn")


def hide_unused() -> None:
    """Let an import of what is not used fail, as if it were not installed.

    https://docs.python.org/3/reference/import.html#the-module-cache
    """
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way


def serve(questions: BinaryIO, answers: BinaryIO, answer: Callable[[Json], Json]) -> None:
    """Answer questions until there is nobody to ask them."""
    send_message(answers, msgspec.json.encode({"ready": True}))
    while (question := receive_message(questions)) is not None:
        send_message(answers, msgspec.json.encode(answer(question)))


def main(arguments: list[str]) -> None:
    """Serve on standard input and output: the argument is the folder of the blobs."""
    blobs = FolderBlobs(Path(*arguments))
    # What a library prints must not come among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.nice(NICENESS)
    hide_unused()
    from homeostat.deployment.explaining import answer  # noqa: PLC0415  it imports LightGBM

    restrict(LIMITS)
    serve(sys.stdin.buffer, answers, lambda question: answer(question, blobs))


if __name__ == "__main__":
    main(sys.argv[1:])
