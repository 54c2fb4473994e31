"""The settings of a project: `homeostat.toml`, overridden by `HOMEOSTAT_SECTION__KEY` variables.

Not here: reading the file (`homeostat.project`), or what the features mean to the rules (`validation.schema`).
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from homeostat.errors import SettingsInvalid

FILE_NAME = "homeostat.toml"
VARIABLE_PREFIX = "HOMEOSTAT_"
# Keys whose values no message repeats.
SECRETS = frozenset({"secret", "url"})
# How pydantic says it, and how the reader of a TOML file says it.
WORDS = (
    ("^Input should be ", ""),
    ("^Tuple should have ", "a list of "),
    ("^Dictionary should have ", "a table of "),
    ("^String should have ", "text of "),
    ("^String should match pattern ", "text that matches "),
    (" after validation, not", ", not"),
    ("a valid tuple", "a list"),
    (r"a valid dictionary or instance of \w+", "a table"),
    ("a valid dictionary", "a table"),
    ("a valid string", "text"),
)


class Section(BaseModel):
    """A table of `homeostat.toml`: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProjectSettings(Section):
    """What is learned from what."""

    name: str = Field(
        min_length=1,
        max_length=60,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="What the experiment and the registered model are called in MLflow.",
    )
    data: tuple[str, ...] = Field(min_length=1, description="Data files, relative to the project folder, or SQL URLs.")
    query: str | None = Field(default=None, description="The SQL query, when data is a database URL.")
    separator: str = Field(
        default=",",
        pattern=r"^[!#-/:-@\[-`{-~\t ]$",
        description="What stands between the cells of CSV files: one character.",
    )
    decimal: Literal[".", ","] = Field(default=".", description="What their numbers have before the decimals.")
    thousands: Literal[",", ".", "'", "\u2019", " ", "\u00a0", "\u202f"] | None = Field(
        default=None, description="What their numbers may have between the thousands."
    )
    encoding: str = Field(default="utf-8", description="How their text is encoded, by Python's names.")
    target: str = Field(description="The outcome column.")
    target_values: tuple[int | str, int | str] = Field(default=(0, 1), description="Negative, then positive.")

    @field_validator("encoding")
    @classmethod
    def require_encoding(cls, name: str) -> str:
        """Refuse a name that no text encoding has."""
        try:
            "".encode(name)
        except LookupError as error:
            raise PydanticCustomError("encoding", "the name of a text encoding, such as cp1252 or utf-16") from error
        return name

    @model_validator(mode="after")
    def require_distinct_marks(self) -> Self:
        """Refuse numbers whose thousands and decimals have the same mark."""
        if self.thousands == self.decimal:
            raise PydanticCustomError("thousands", "another mark between the thousands than before the decimals")
        return self


class FeatureSettings(Section):
    """One input column."""

    kind: Literal["numeric", "categorical"] = Field(default="numeric", description="What its values are.")
    unit: str | None = Field(default=None, description='Used in messages, such as "mg/dL".')
    range: tuple[float, float] | None = Field(default=None, description="Possible values, both ends included.")
    missing: tuple[float | str, ...] = Field(default=(), description='Markers that mean "not measured".')
    booleans: tuple[int | str, int | str] | None = Field(
        default=None, description="What false and true mean where they are sent; categories: the words themselves."
    )


class TrainingSettings(Section):
    """How a model is searched for and fitted."""

    family: Literal["auto", "lightgbm", "logistic"] = Field(
        default="auto", description="`auto`: boosted trees, unless the logistic baseline is better."
    )
    trials: int = Field(default=15, ge=1, le=10_000, description="Configurations the search tries.")
    folds: int = Field(default=5, ge=2, le=20, description="Folds of every cross-validation.")
    repeats: int = Field(default=3, ge=1, le=50, description="Repetitions of the cross-validation that is reported.")
    seed: int = Field(default=0, ge=0, description="The same rows, settings and seed give the same release.")
    anchor_share: float = Field(default=0.2, gt=0, lt=0.9, description="Share of rows that no training ever sees.")
    time: str | None = Field(
        default=None,
        min_length=1,
        description="Column with the time of each row, no feature: then every split is in time, none at random.",
    )


class MonitoringSettings(Section):
    """When the world counts as moved."""

    window: int = Field(default=200, ge=1, description="Consecutive accepted rows that one drift check looks at.")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="A feature whose p-value is below has drifted.")
    boundary: float = Field(default=0.3, ge=0, le=1, description="The drift score above which the check fires.")
    correction: Literal["none", "bonferroni", "holm", "benjamini-hochberg"] = Field(
        default="none", description="How p-values are adjusted for the number of features; the book's rule does not."
    )
    trigger: Literal["guarded", "book"] = Field(
        default="guarded",
        description="`book`: a window whose score exceeds the boundary asks for a retraining. "
        "`guarded`: only with evidence behind it.",
    )
    alpha_life: float = Field(
        default=0.05, gt=0, lt=1, description="Bound on the chance that a watch ever asks for one without a drift."
    )
    effect_floor: float = Field(
        default=0.05, ge=0, lt=1, description="A smaller distance counts for nothing in the guarded trigger."
    )
    seasons: Literal["none", "baseline"] = Field(
        default="none",
        description="`baseline`: its rows (those of your files too) are in the order of time, and what windows of it "
        "differ by is no drift. Of a table that is sorted by a column this makes the guarded trigger deaf.",
    )
    maturity_s: float = Field(
        default=604_800,
        ge=0,
        description="Age at which a prediction counts as having the label it will get; a window that has all of its "
        "labels is judged sooner.",
    )
    reference: Literal["current", "snapshot"] = Field(
        default="current",
        description="Baseline of a retrained release: rows since the change point, or all of its snapshot.",
    )


class RetrainingSettings(Section):
    """When to train again, and what a challenger must show."""

    schedule: str | None = Field(default=None, description="A cron line, in UTC, by which to retrain.")
    cooldown_s: float = Field(default=3600, ge=0, description="Least time between two retrainings.")
    max_per_day: int = Field(default=4, ge=0, description="Most retrainings in any 24 hours; 0: none by itself.")
    min_new_labels: int = Field(default=200, ge=0, description="Labelled predictions that no attempt has seen.")
    new_labels: int | None = Field(
        default=None, ge=1, description="So many new labels ask for a retraining; none: their number does not."
    )
    data: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        default="all", description="How many of the newest labelled predictions are used, to train and to judge."
    )
    half_life: int | None = Field(
        default=None,
        ge=1,
        description="Age in predictions at which a labelled one counts half; none: all count alike. Rows of files are "
        "as old as the oldest prediction.",
    )
    quarantine_s: float = Field(default=600, ge=0, description="Age from which on a label is used.")
    max_source_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Most that one of several senders may give of the labels that are used; 1: no cap.",
    )
    recent_share: float = Field(default=0.4, gt=0, lt=1, description="Labelled predictions kept from all training.")
    min_recent: int = Field(default=200, ge=1, description="Kept rows without which the gate cannot judge.")
    min_recent_per_class: int = Field(default=30, ge=1, description="The same for the rarer class.")
    margin: float = Field(default=0.05, gt=0, lt=0.5, description="Loss of AUC that still counts as no worse.")
    anchor: Literal["auto", "enforce", "report"] = Field(
        default="auto",
        description="`auto`: the anchor may refuse, unless outcomes say that the old world is gone. `enforce`: always. "
        "`report`: it is only told, and a person must approve unless several senders' outcomes say the same.",
    )
    shadow_rows: int = Field(
        default=0, ge=0, description="Rows of live traffic that a challenger scores without answering; 0: none."
    )
    promotion: Literal["automatic", "approval"] = Field(
        default="automatic", description="`approval`: a challenger that passed waits for `homeostat approve`."
    )
    bake_rows: int = Field(default=1000, ge=0, description="Answered rows of probation; 0: none.")
    bake_error_share: float = Field(
        default=0.01, gt=0, lt=1, description="Share of failed requests from which on it goes back."
    )
    bake_latency_ratio: float = Field(
        default=3, gt=1, description="The same for its 99th percentile, in that of its predecessor."
    )
    bake_silence_s: float = Field(default=10, gt=0, description="The same for a worker that does not report any more.")


class ServingSettings(Section):
    """How the service listens."""

    host: str = Field(default="127.0.0.1", description="The address to listen on; without keys a loopback one only.")
    port: int = Field(default=8000, ge=0, le=65535, description="0 is any free port.")
    workers: int = Field(default=1, ge=1, le=64, description="Processes that answer, on one port and one database.")
    durability: Literal["power-safe", "process-safe", "relaxed"] = Field(
        default="power-safe",
        description="What an answered row survives: a power cut, the death of the process, or nothing (`relaxed`: the "
        "answer leaves first).",
    )
    authentication: Literal["auto", "required"] = Field(
        default="auto",
        description="`auto`: API keys are asked for from the first one on that was ever made. `required`: always.",
    )
    certfile: str | None = Field(default=None, description="The TLS certificate chain, relative to the project folder.")
    keyfile: str | None = Field(default=None, description="Its private key.")
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Larger requests are refused with 413.")
    max_rows: int = Field(default=10_000, ge=1, description="Requests with more rows are refused with 413.")
    max_concurrency: int = Field(
        default=256, ge=1, description="Requests under way at a time in each process; more are refused with 503."
    )
    deadline_s: float = Field(default=10, gt=0, description="A request whose commit takes longer is answered with 503.")
    grace_s: float = Field(
        default=1, ge=0, description="After SIGTERM, how long requests are still taken while `readyz` says no."
    )
    idempotency_s: float = Field(default=86_400, gt=0, description="How long an `Idempotency-Key` is remembered.")


class NotificationSettings(Section):
    """Who is told of events, over HTTP."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where events are sent, by POST; a changed address is a new receiver.",
    )
    secret: str | None = Field(
        default=None,
        min_length=16,
        repr=False,
        description="Signs what is sent, best `whsec_` and base64; give it by its variable.",
    )
    kinds: tuple[str, ...] = Field(default=(), description="Kinds of events that are sent; empty: every kind.")


class StoreSettings(Section):
    """Where state lives: URLs, or paths relative to the project folder."""

    database: str = Field(default="sqlite:///.homeostat/homeostat.db", description="The SQLite file of all state.")
    blobs: str = Field(default=".homeostat/blobs", description="The folder of snapshots and releases.")
    tracking: str = Field(
        default="sqlite:///.homeostat/tracking.db", description="MLflow's store; `none`: attempts are not tracked."
    )
    keep_predictions_days: float = Field(
        default=730, gt=0, description="Answered rows and their outcomes are deleted after as many days."
    )
    keep_rejections_days: float = Field(default=90, gt=0, description="The same for rejected rows.")


class Settings(Section):
    """All of `homeostat.toml`."""

    project: ProjectSettings
    features: Mapping[str, FeatureSettings] = Field(min_length=1)
    training: TrainingSettings = TrainingSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    serving: ServingSettings = ServingSettings()
    notifications: NotificationSettings = NotificationSettings()
    store: StoreSettings = StoreSettings()


def parse_settings(document: Mapping[str, Any]) -> Settings:
    """Return the settings a TOML document holds; SettingsInvalid names the first wrong key."""
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        first, *others = error.errors()
        path = [str(part) for part in first["loc"]]
        messages = [first["msg"]]
        if len(path) > 1 and isinstance(first["loc"][-2], int):
            # An entry of a list that may have several types: pydantic names each of them, as if it were a key.
            path.pop()
            messages += [other["msg"] for other in others if other["loc"][:-1] == first["loc"][:-1]]
        expected = " or ".join(in_words(message) for message in messages)
        raise describe(path, first["type"], expected, first["input"]) from error
    require_time_apart(settings)
    return settings


def require_time_apart(settings: Settings) -> None:
    """Raise SettingsInvalid if the column that orders the rows in time is a feature or the target as well."""
    time, is_target = settings.training.time, settings.training.time == settings.project.target
    if is_target or time in settings.features:
        raise SettingsInvalid(
            problem=f"training.time is {time!r}, which is {'the target' if is_target else 'a feature'}",
            expected="a column that only says when a row happened: a model cannot learn from a time that never returns",
            action="name another column in training.time"
            if is_target
            else f"remove [features.{time}] from {FILE_NAME}, or remove training.time",
        )


def in_words(message: str) -> str:
    """Return what pydantic expects as it is called in a TOML file."""
    for pattern, words in WORDS:
        message = re.sub(pattern, words, message)
    return message


def describe(path: list[str], kind: str, expected: str, value: object) -> SettingsInvalid:
    """Return the three-part error for one finding of pydantic."""
    where = ".".join(path)
    if kind == "extra_forbidden":
        known = known_keys(path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        return SettingsInvalid(
            problem=f"{where} is not a setting",
            expected=f"one of {', '.join(known)}",
            action=f"did you mean {near[0]!r}?" if near else "remove it or correct its name",
        )
    if kind == "missing":
        return SettingsInvalid(problem=f"{where} is missing", expected="a value", action=f"add it to {FILE_NAME}")
    variable = f"{VARIABLE_PREFIX}{path[0]}__{path[1]}".upper() if len(path) > 1 and path[0] != "features" else ""
    return SettingsInvalid(
        problem=f"{where} is {'not shown here' if path[-1] in SECRETS else repr(value)}",
        expected=expected,
        action=f"correct it in {FILE_NAME}" + (f", or in {variable} if that is set" if variable else ""),
    )


def known_keys(path: list[str]) -> list[str]:
    """Return the keys of the table at `path`."""
    if not path:
        return list(Settings.model_fields)
    if path[0] == "features":
        return list(FeatureSettings.model_fields)
    section = Settings.model_fields[path[0]].annotation
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def override(document: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return `document` with each `HOMEOSTAT_SECTION__KEY` variable put in place of the key it names.

    A value is read as TOML if it is TOML (`0.2`, `true`, `[1, 2]`) and as text if not.

    Raises
    ------
    SettingsInvalid
        A variable names a feature: the names of columns keep their letters and marks, those of variables do not; and
        what a row may be is part of every digest.
    """
    merged: dict[str, Any] = {section: dict(table) for section, table in document.items() if isinstance(table, Mapping)}
    merged |= {key: value for key, value in document.items() if not isinstance(value, Mapping)}
    for variable, text in environment.items():
        section, _, key = variable.removeprefix(VARIABLE_PREFIX).lower().partition("__")
        if variable.startswith(VARIABLE_PREFIX) and section == "features":
            raise SettingsInvalid(
                problem=f"the variable {variable} is set, and no variable overrides a feature",
                expected=f"features as {FILE_NAME} declares them",
                action=f"unset {variable}, and edit [features] in {FILE_NAME}",
            )
        table = merged.setdefault(section, {}) if variable.startswith(VARIABLE_PREFIX) and key else None
        if isinstance(table, dict):
            table[key] = read_value(text)
    return merged


def read_value(text: str) -> object:
    """Return the TOML value that `text` spells, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
