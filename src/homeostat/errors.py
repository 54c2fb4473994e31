"""The errors Homeostat raises on purpose, each in three parts: what was wrong, what was expected, what to do.

Not here: how an error becomes an HTTP answer (`web.problems`) or an exit code (`cli`).

    HomeostatError
    |-- InputError                  something that a person or a program handed in
    |   |-- UsageInvalid            a command line that is not one
    |   |-- SettingsInvalid         homeostat.toml or a HOMEOSTAT_ variable
    |   |-- SourceUnreadable        a data file or query that cannot be read as a table
    |   |-- ColumnMissing           a column that the schema names is not there
    |   |-- TargetInvalid           the target column is not a binary outcome
    |   |-- DataInsufficient        readable, but too little to learn from
    |   |-- RequestInvalid          an HTTP body that is not a request
    |   |   |-- RequestTooLarge     an HTTP body beyond the limit
    |   |   |-- MediaTypeInvalid    an HTTP body in a form that the route does not read
    |   |   `-- IdempotencyReused   an Idempotency-Key that came with another body before
    |   |-- ModelMissing            a model or a version of it, in a path, that does not answer here
    |   `-- AccessRefused           a request that its sender may not make
    |       |-- KeyInvalid          no key, or none that is valid now
    |       |-- ScopeMissing        a valid key without the scope of the route
    |       `-- QuotaExceeded       a key that sent more rows than it may in a minute
    |-- StateError                  the project is not in the state that the command needs
    |   |-- ProjectMissing          no homeostat.toml
    |   |-- ReleaseMissing          no such release, or none in production yet
    |   |-- PromotionConflict       somebody else moved production first
    |   |-- LeaseHeld               another loop is acting
    |   |-- DatabaseTooNew          written by a newer Homeostat
    |   |-- Overloaded              more requests at a time than the service takes; it may be sent again
    |   |-- LogBusy                 the prediction log took nothing of this request; it may be sent again
    |   |-- DeadlineExceeded        the commit takes too long; whether the rows are kept is not known yet
    |   |-- StorageFailed           the disk took nothing; what was under way is tried again
    |   `-- LogFailed               the prediction log met an I/O error and takes no more
    |-- ArtifactError               a stored artifact cannot be trusted
    |   |-- ArtifactCorrupt         bytes differ from their digest
    |   `-- GoldenMismatch          the graph no longer gives the recorded answers
    `-- TrainingFailed              the training process ended without a release
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import ClassVar


class HomeostatError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    problem
        What was wrong, with the value.
    expected
        What would have been right.
    action
        What the reader should do now.
    """

    code: ClassVar[str] = "homeostat"

    def __init__(self, *, problem: str, expected: str, action: str) -> None:
        super().__init__(f"{problem}; expected {expected}; {action}")
        self.problem = problem
        self.expected = expected
        self.action = action


class InputError(HomeostatError):
    """Something that a person or a program handed in is wrong."""

    code = "input"


class UsageInvalid(InputError):
    """A command line names no command, or an option or a value that the command does not take."""

    code = "usage-invalid"


class SettingsInvalid(InputError):
    """`homeostat.toml` or a `HOMEOSTAT_` variable holds a wrong value."""

    code = "settings-invalid"


class SourceUnreadable(InputError):
    """A data source cannot be read as a table."""

    code = "source-unreadable"


class ColumnMissing(InputError):
    """A column that the schema names is not in the table."""

    code = "column-missing"


class TargetInvalid(InputError):
    """The target column is not a binary outcome of the declared values."""

    code = "target-invalid"


class DataInsufficient(InputError):
    """The table can be read, but holds too little to learn from."""

    code = "data-insufficient"


class RequestInvalid(InputError):
    """An HTTP body is not a request of the declared form."""

    code = "request-invalid"


class RequestTooLarge(RequestInvalid):
    """An HTTP body is larger, or holds more rows, than the service accepts."""

    code = "request-too-large"


class MediaTypeInvalid(RequestInvalid):
    """An HTTP body is of a media type, or in a coding, that the route does not read."""

    code = "media-type-invalid"


class IdempotencyReused(RequestInvalid):
    """An Idempotency-Key was sent before, with another body."""

    code = "idempotency-key-reused"


class ModelMissing(InputError):
    """A path names a model, or a version of it, that does not answer here."""

    code = "model-missing"


class AccessRefused(InputError):
    """A request that its sender may not make."""

    code = "access-refused"


class KeyInvalid(AccessRefused):
    """There is no API key, or none that is valid now."""

    code = "key-invalid"


class ScopeMissing(AccessRefused):
    """The API key is valid, but not for this route."""

    code = "scope-missing"


class QuotaExceeded(AccessRefused):
    """The API key sent more rows than it may in a minute; `retry_after_s` says when as many may be sent."""

    code = "quota-exceeded"
    retry_after_s: int = 60


class StateError(HomeostatError):
    """The project is not in the state that the command needs."""

    code = "state"


class ProjectMissing(StateError):
    """There is no `homeostat.toml` in the project folder."""

    code = "project-missing"


class ReleaseMissing(StateError):
    """There is no such release, or none in production yet."""

    code = "release-missing"


class PromotionConflict(StateError):
    """Another controller moved production first."""

    code = "promotion-conflict"


class LeaseHeld(StateError):
    """Another loop is acting on this project."""

    code = "lease-held"


class DatabaseTooNew(StateError):
    """The database was written by a newer Homeostat."""

    code = "database-too-new"


class Overloaded(StateError):
    """More requests are under way than the service takes at a time; nothing was done."""

    code = "overloaded"


class DeadlineExceeded(StateError):
    """The commit takes too long: whether the rows are kept is not known yet."""

    code = "deadline-exceeded"


class LogBusy(StateError):
    """The prediction log took nothing of this request; the same request may be sent again."""

    code = "log-busy"


class StorageFailed(StateError):
    """The disk took nothing: full, or broken. What was under way stays open and is tried again."""

    code = "storage-failed"


class LogFailed(StateError):
    """The prediction log met an I/O error: what became of the row is unknown, and this process writes no more."""

    code = "log-failed"


class ArtifactError(HomeostatError):
    """A stored artifact cannot be trusted."""

    code = "artifact"


class ArtifactCorrupt(ArtifactError):
    """Stored bytes differ from the digest they are named by."""

    code = "artifact-corrupt"


class GoldenMismatch(ArtifactError):
    """A release's graph no longer gives the answers recorded with it."""

    code = "golden-mismatch"


class TrainingFailed(HomeostatError):
    """The training process ended without a release."""

    code = "training-failed"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was probably meant to be, None if none is near; the case of letters is none."""
    spelled = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), spelled, n=1)
    return spelled[found[0]] if found else None


def error_to_json(error: HomeostatError) -> dict[str, str]:
    """Return an error as a JSON object, to pass it between processes."""
    return {"code": error.code, "problem": error.problem, "expected": error.expected, "action": error.action}


def error_from_json(data: Mapping[str, str]) -> HomeostatError:
    """Return the error that `error_to_json` described."""
    kinds: dict[str, type[HomeostatError]] = {}
    queue: list[type[HomeostatError]] = [HomeostatError]
    for kind in queue:
        kinds[kind.code] = kind
        queue += kind.__subclasses__()
    return kinds[data["code"]](problem=data["problem"], expected=data["expected"], action=data["action"])
