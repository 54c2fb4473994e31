"""What schemathesis cannot read from a description: a key names one request, so that no two requests may share it.

Not here: the run itself (`test_contract`), which loads this file by its name.
"""

import re
from itertools import count
from typing import Any

import schemathesis

KEY = "Idempotency-Key"
RIGHT = re.compile("[!-~]([ -~]{0,198}[!-~])?")
numbers = count()


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    """Give each request with a right Idempotency-Key one of its own; a wrong one stays wrong."""
    key = case.headers.get(KEY)
    if isinstance(key, str) and RIGHT.fullmatch(key):
        case.headers[KEY] = f"key-{next(numbers)}"


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out a wrong key that is right on the wire: blanks around a header's value are no part of it."""
    key = case.headers.get(KEY)
    return not isinstance(key, str) or key == key.strip()
