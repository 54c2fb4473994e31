"""The errors Homeostat raises on purpose, each in three parts: what was wrong, what was expected, what to do.

Not here: how an error becomes an HTTP answer (`web.problems`) or an exit code (`cli`).

    HomeostatError
    |-- InputError                  something that a person or a program handed in
    |   |-- UsageInvalid            a command line that is not one
    |   |-- SettingsInvalid         homeostat.toml or a HOMEOSTAT_ variable
    |   |-- SourceUnreadable        a data file or query that cannot be read as a table
    |   |-- ColumnMissing           a column that the schema names is not there
    |   |-- TargetInvalid           the target column is not a binary outcome
    |   |-- TimeInvalid             the column that orders the rows in time does not
    |   |-- DataInsufficient        readable, but too little to learn from
    |   |-- RequestInvalid          an HTTP body that is not a request
    |   |   |-- RequestTooLarge     an HTTP body beyond the limit
    |   |   |-- MediaTypeInvalid    an HTTP body in a form that the route does not read
    |   |   `-- IdempotencyReused   an Idempotency-Key that came with another body before
    |   |-- PredictionMissing       an id that no stored prediction has
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
    |   |-- ReleaseUnexplained      a release that holds nothing that explains its answers
    |   |-- ExplainerMissing        the libraries that explain are not installed here
    |   |-- ExplainerFailed         the process that explains ended, or took too long
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
    """Something that a person or a program handed in is wrong.

    To do: correct what the message names, and send or run it again.
    """

    code = "input"


class UsageInvalid(InputError):
    """A command line names no command, or an option or a value that the command does not take.

    To do: take the name that the message suggests, or look at `homeostat COMMAND --help`.
    """

    code = "usage-invalid"


class SettingsInvalid(InputError):
    """`homeostat.toml` or a `HOMEOSTAT_` variable holds a wrong value.

    To do: correct the key that the message names, in the file or in its variable.
    """

    code = "settings-invalid"


class SourceUnreadable(InputError):
    """A data source cannot be read as a table.

    To do: look at the path, the format or the query that the message names.
    """

    code = "source-unreadable"


class ColumnMissing(InputError):
    """A column that the schema names is not in the table.

    To do: add the column to the table, or take its feature out of `homeostat.toml` and train again.
    """

    code = "column-missing"


class TargetInvalid(InputError):
    """The target column is not a binary outcome of the declared values.

    To do: correct the values, or `project.target_values`.
    """

    code = "target-invalid"


class TimeInvalid(InputError):
    """The column that `training.time` names does not order the rows in time.

    To do: write its moments as ISO 8601 or as numbers, or take out `training.time`.
    """

    code = "time-invalid"


class DataInsufficient(InputError):
    """The table can be read, but holds too little to learn from.

    To do: bring more rows, or more of the rarer class.
    """

    code = "data-insufficient"


class RequestInvalid(InputError):
    """An HTTP body is not a request of the declared form.

    To do: compare the body with /docs; nothing of it was kept.
    """

    code = "request-invalid"


class RequestTooLarge(RequestInvalid):
    """An HTTP body is larger, or holds more rows, than the service accepts.

    To do: send fewer rows at a time, or raise `serving.max_rows` or `serving.max_body_bytes`.
    """

    code = "request-too-large"


class MediaTypeInvalid(RequestInvalid):
    """An HTTP body is of a media type, or in a coding, that the route does not read.

    To do: send a content type that the message names.
    """

    code = "media-type-invalid"


class IdempotencyReused(RequestInvalid):
    """An Idempotency-Key was sent before, with another body.

    To do: use a new key for a new request.
    """

    code = "idempotency-key-reused"


class PredictionMissing(InputError):
    """There is no prediction with this id, or it was deleted.

    To do: use the id that the prediction was answered with, or the row itself.
    """

    code = "prediction-missing"


class ModelMissing(InputError):
    """A path names a model, or a version of it, that does not answer here.

    To do: ask for the model and the version that /v2/models/NAME tells.
    """

    code = "model-missing"


class AccessRefused(InputError):
    """A request that its sender may not make.

    To do: send it from a program, or with a key.
    """

    code = "access-refused"


class KeyInvalid(AccessRefused):
    """There is no API key, or none that is valid now.

    To do: send a key that `homeostat keys list` calls valid.
    """

    code = "key-invalid"


class ScopeMissing(AccessRefused):
    """The API key is valid, but not for this route.

    To do: use a key with the scope, or make one: `homeostat keys create`.
    """

    code = "scope-missing"


class QuotaExceeded(AccessRefused):
    """The API key sent more rows than it may in a minute; `retry_after_s` says when as many may be sent.

    To do: wait as long as Retry-After says, or ask for a key with a larger quota.
    """

    code = "quota-exceeded"
    retry_after_s: int = 60


class StateError(HomeostatError):
    """The project is not in the state that the command needs.

    To do: bring about what the message expects; `homeostat status` shows where the project stands.
    """

    code = "state"


class ProjectMissing(StateError):
    """There is no `homeostat.toml` in the project folder.

    To do: go to the project folder, pass `--project DIR`, or run `homeostat init`.
    """

    code = "project-missing"


class ReleaseMissing(StateError):
    """There is no such release, or none in production yet.

    To do: look at `homeostat releases`; without any, run `homeostat train`.
    """

    code = "release-missing"


class PromotionConflict(StateError):
    """Another controller moved production first.

    To do: look at `homeostat history`, and ask again if it is still wanted.
    """

    code = "promotion-conflict"


class LeaseHeld(StateError):
    """Another loop is acting on this project.

    To do: leave the work to the loop that runs, or stop that one first.
    """

    code = "lease-held"


class DatabaseTooNew(StateError):
    """The database was written by a newer Homeostat.

    To do: install that version of Homeostat, or restore the backup made before it.
    """

    code = "database-too-new"


class Overloaded(StateError):
    """More requests are under way than the service takes at a time; nothing was done.

    To do: send it again after Retry-After; add workers if it stays so.
    """

    code = "overloaded"


class DeadlineExceeded(StateError):
    """The commit takes too long: whether the rows are kept is not known yet.

    To do: send it again with the same Idempotency-Key; look at the disk.
    """

    code = "deadline-exceeded"


class LogBusy(StateError):
    """The prediction log took nothing of this request; the same request may be sent again.

    To do: send it again after Retry-After; look for a process that holds a transaction open.
    """

    code = "log-busy"


class ReleaseUnexplained(StateError):
    """A release holds nothing that explains its answers: packed by others, or by a Homeostat of before.

    To do: explain a release that `homeostat train` has packed.
    """

    code = "release-unexplained"


class ExplainerMissing(StateError):
    """The libraries that explain a prediction are not installed where the service runs.

    To do: install `homeostat[train]` there, or run `homeostat explain` where it is installed.
    """

    code = "explainer-missing"


class ExplainerFailed(StateError):
    """The process that explains ended or took too long; it is started again for the next request.

    To do: send it again after Retry-After, with fewer rows; the predictions go on as before.
    """

    code = "explainer-failed"


class StorageFailed(StateError):
    """The disk took nothing: full, or broken. What was under way stays open and is tried again.

    To do: free or replace the disk; the loop goes on by itself.
    """

    code = "storage-failed"


class LogFailed(StateError):
    """The prediction log met an I/O error: what became of the row is unknown, and this process writes no more.

    To do: look at the disk, then start the service again; senders may repeat with their Idempotency-Key.
    """

    code = "log-failed"


class ArtifactError(HomeostatError):
    """A stored artifact cannot be trusted.

    To do: run `homeostat verify`; restore what it names from a backup.
    """

    code = "artifact"


class ArtifactCorrupt(ArtifactError):
    """Stored bytes differ from the digest they are named by.

    To do: run `homeostat verify`; restore the blobs or the database from a backup.
    """

    code = "artifact-corrupt"


class GoldenMismatch(ArtifactError):
    """A release's graph no longer gives the answers recorded with it.

    To do: train on this machine, or serve where the release was trained.
    """

    code = "golden-mismatch"


class TrainingFailed(HomeostatError):
    """The training process ended without a release.

    To do: read the reason in the message, then `homeostat train` again.
    """

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
