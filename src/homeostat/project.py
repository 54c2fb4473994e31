"""An open project: its settings, its frozen schema, its database and its blobs.

Not here: any stage. Everything that acts on a project is handed one of these.
"""

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homeostat.errors import ProjectMissing, SettingsInvalid, StateError
from homeostat.records import Dialect, Feature, Schema, Target
from homeostat.settings import FILE_NAME, Settings, override, parse_settings
from homeostat.store.blobs import FolderBlobs
from homeostat.store.database import Database, make_parent, resolve_url
from homeostat.validation.schema import freeze_schema

UNTRACKED = "none"


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder and everything that is opened with it."""

    folder: Path
    settings: Settings
    schema: Schema
    database: Database
    blobs: FolderBlobs

    @property
    def is_tracked(self) -> bool:
        """Whether attempts are told to an experiment manager."""
        return self.settings.store.tracking != UNTRACKED

    @property
    def tracking_url(self) -> str:
        """The URL of the experiment manager's store; StateError if there is none."""
        if not self.is_tracked:
            raise StateError(
                problem=f'store.tracking is "{UNTRACKED}"',
                expected="the URL of an MLflow store",
                action="remove the setting; `homeostat releases` lists what was trained",
            )
        return resolve_url(self.settings.store.tracking, self.folder)


@contextmanager
def open_project(folder: Path) -> Iterator[Project]:
    """Open the project in a folder, creating its database on first use.

    Raises
    ------
    ProjectMissing
        There is no `homeostat.toml`.
    SettingsInvalid
        `homeostat.toml` or an environment variable is wrong.
    DatabaseTooNew
        The database was written by a newer Homeostat.
    """
    folder = folder.resolve()
    settings = read_settings(folder)
    schema = schema_of(settings)
    url = resolve_url(settings.store.database, folder)
    make_parent(url)
    with Database(url, durability=settings.serving.durability) as database:
        yield Project(folder, settings, schema, database, FolderBlobs(folder / settings.store.blobs))


def schema_of(settings: Settings) -> Schema:
    """Return the frozen schema that the settings declare."""
    features = []
    for name, feature in settings.features.items():
        low, high = (end if math.isfinite(end) else None for end in feature.range or (math.nan, math.nan))
        features.append(Feature(name, feature.kind, feature.unit, low, high, feature.missing, feature.booleans))
    negative, positive = settings.project.target_values
    return freeze_schema(features, Target(settings.project.target, negative, positive))


def dialect_of(settings: Settings) -> Dialect:
    """Return how the project's CSV files are written."""
    project = settings.project
    return Dialect(project.separator, project.decimal, project.thousands, project.encoding)


def read_settings(project: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the project in a folder.

    Parameters
    ----------
    project
        The folder that holds `homeostat.toml`.
    environment
        Variables that override single keys; the process's own by default.

    Raises
    ------
    ProjectMissing
        There is no `homeostat.toml`.
    SettingsInvalid
        A key is unknown or a value is not allowed.
    """
    path = project / FILE_NAME
    if not path.is_file():
        raise ProjectMissing(
            problem=f"there is no {FILE_NAME} in {project}",
            expected="a project folder",
            action="run `homeostat init DATA --target COLUMN` there, or pass --project DIR",
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            problem=f"{path} is not TOML: {error}",
            expected="a TOML document",
            action="mend the line, or run `homeostat init` again",
        ) from error
    return parse_settings(override(document, os.environ if environment is None else environment))
