"""How the command line shows things to a person.

Not here: what is shown.
"""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

# Width when the output is no terminal: wide enough that no table folds its figures.
PLAIN_WIDTH = 140


def new_console(*, stderr: bool = False) -> Console:
    """Return a console: coloured and as wide as the terminal, or plain and wide."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False)


def new_table(*columns: str) -> Table:
    """Return a quiet table with these headings."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
