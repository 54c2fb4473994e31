"""A scratch copy of a project: the same settings and release in production, its own database and blobs.

Not here: what is done in it (`simulation.replay`). The project itself is only read.
"""

import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, make_url, select

from homeostat.data.snapshots import KIND as SNAPSHOTS
from homeostat.data.snapshots import load_snapshot
from homeostat.deployment.artifacts import KIND as RELEASES
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import list_promotions, register_release, resolve_release
from homeostat.errors import SettingsInvalid, StateError
from homeostat.loop import ORDER, advance
from homeostat.monitoring.retention import THE_LINE
from homeostat.project import UNTRACKED, Project, open_project, read_settings
from homeostat.records import Json, Promotion
from homeostat.retraining.cycles import HAND, open_cycle
from homeostat.settings import (
    FILE_NAME,
    VARIABLE_PREFIX,
    NotificationSettings,
    Settings,
    StoreSettings,
    parse_settings,
)
from homeostat.store.database import resolve_url
from homeostat.store.events import append_event
from homeostat.store.tables import promotions, retention

# What a policy may change.
POLICY = ("monitoring", "retraining", "training")
# How long before the first row its release is promoted: rows that come at one moment with it count for its watch.
BEFORE = timedelta(microseconds=1)


def read_policy(path: Path) -> dict[str, Any]:
    """Return the settings that a policy file puts over a project's; SettingsInvalid if it holds anything else."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            problem=f"{path} cannot be read: {error}", expected="a TOML document", action="correct --compare"
        ) from error
    for section, table in document.items():
        if section not in POLICY or not isinstance(table, dict):
            raise SettingsInvalid(
                problem=f"{path}: {section} is no part of a policy",
                expected=f"the tables {', '.join(f'[{name}]' for name in POLICY)}",
                action="remove it",
            )
    return document


def scratch_settings(folder: Path, policy: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings of a project's scratch copy: data where they lie, all state of its own, nobody notified."""
    settings = read_settings(folder)
    data = tuple(
        resolve_url(place, folder) if "://" in place else str((folder / place).resolve())
        for place in settings.project.data
    )
    keep = settings.store.model_dump(include={"keep_predictions_days", "keep_rejections_days"})
    plain = settings.model_copy(
        update={
            "project": settings.project.model_copy(update={"data": data}),
            # A power cut may take a scratch copy.
            "serving": settings.serving.model_copy(update={"durability": "process-safe"}),
            "notifications": NotificationSettings(),
            "store": StoreSettings(tracking=UNTRACKED, **keep),
        }
    )
    document = plain.model_dump(exclude_none=True)
    for section, table in policy.items():
        document[section] |= table
    return parse_settings(document)


def render_toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return a table of TOML with the tables in it."""
    lines = [f"[{'.'.join(map(quote, path))}]"] if path else []
    lines += [f"{quote(key)} = {render_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    parts = [render_toml(value, (*path, key)) for key, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*lines, *parts]) + "\n"


def render_value(value: object) -> str:
    """Return a value as TOML spells it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(render_value, value))}]"
    return repr(value) if isinstance(value, float) else quote(value)


def quote(value: object) -> str:
    """Return a text, a whole number, true or false as TOML: JSON has the same spelling but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def open_scratch(folder: Path, settings: Settings) -> Iterator[Project]:
    """Write the settings of a scratch project into a folder and open it, out of reach of the environment.

    Its variables are in the settings already; read again, by this process or one that trains, they could lead from the
    scratch copy back to the project itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(render_toml(settings.model_dump(exclude_none=True)), encoding="utf-8")
    hidden = {name: text for name, text in os.environ.items() if name.startswith(VARIABLE_PREFIX) and "__" in name}
    for name in hidden:
        del os.environ[name]
    try:
        with open_project(folder) as project:
            yield project
    finally:
        os.environ.update(hidden)


@contextmanager
def open_original(folder: Path) -> Iterator[Project | None]:
    """Open the project itself to read from it; None if it has no database yet, which opening it would make."""
    settings = read_settings(folder)
    location = make_url(resolve_url(settings.store.database, folder.resolve()))
    absent = location.get_backend_name() == "sqlite" and not Path(location.database or "").is_file()
    with nullcontext() if absent else open_project(folder) as project:
        yield project


def bring_release(original: Project, promotion: Promotion, scratch: Project, *, now: datetime) -> None:
    """Put the release of a promotion into production in a scratch project, with all that its watch rests on.

    Raises
    ------
    SettingsInvalid
        The features were edited since the release was trained.
    """
    release = open_release(find_release(promotion.release, original.blobs))
    if release.schema.digest != scratch.schema.digest:
        raise SettingsInvalid(
            problem=f"the features in homeostat.toml were edited since release {promotion.release[:12]} was trained",
            expected="the features of the release in production",
            action="run `homeostat train` first",
        )
    with original.database.read() as connection:
        registered = resolve_release(connection, promotion.release)
        line = connection.execute(select(promotions).where(promotions.c.epoch == promotion.epoch)).one()
    copy_blob(original, scratch, RELEASES, promotion.release)
    copy_snapshots(original, scratch, registered.snapshot)
    with scratch.database.write("bring_release") as connection:
        register_release(
            connection,
            registered.digest,
            snapshot=registered.snapshot,
            family=registered.family,
            metrics=registered.metrics,
            run_id=None,
            now=now,
        )
        # The same epoch: only the watch of a first release may begin with its baseline as evidence.
        values = {**line._mapping, "decided_at": now - BEFORE}  # noqa: SLF001  the public way to a row as a mapping
        connection.execute(insert(promotions).values(**values))
        payload = {name: values[name] for name in ("release", "previous", "epoch", "actor", "reason")}
        append_event(connection, "promoted", payload, now=now)
        skip_numbers(connection, scratch, registered.snapshot, labels=int(registered.metrics.get("labels_seen", 0)))


def copy_blob(original: Project, scratch: Project, kind: str, digest: str) -> Path | None:
    """Copy a stored folder, and return where it lay; None if there is none, or if it was copied before."""
    folder, target = original.blobs.folder(kind, digest), scratch.blobs.root / kind / digest
    if folder is None or target.exists():
        return None
    shutil.copytree(folder, target)
    return folder


def copy_snapshots(original: Project, scratch: Project, digest: str) -> None:
    """Copy a snapshot and those that it was made from: the first of them knows how many rows were rejected."""
    folder = copy_blob(original, scratch, SNAPSHOTS, digest)
    if folder is not None:
        lineage: Json = json.loads((folder / "lineage.json").read_bytes())
        for source in lineage["sources"]:
            if source["kind"] == "snapshot":
                copy_snapshots(original, scratch, source["name"])


def skip_numbers(connection: Connection, scratch: Project, snapshot: str, *, labels: int) -> None:
    """Let the numbers of the log go on behind those that the release was trained on, as if their rows had expired."""
    seqs = load_snapshot(snapshot, schema=scratch.schema, blobs=scratch.blobs).rows.seqs
    if labels or seqs.any():
        last = int(seqs.max(initial=0))
        connection.execute(insert(retention).values(id=THE_LINE, last_seq=last, labels=labels, untold="{}"))


def train_first(scratch: Project, *, now: datetime) -> None:
    """Train the first release of a scratch project from its own data, by the loop's own steps.

    Raises
    ------
    HomeostatError
        A step failed.
    StateError
        The gate refused the release.
    """
    with scratch.database.write("begin_replay") as connection:
        open_cycle(connection, trigger=HAND, reason="the first release of a replay", step=ORDER[0], now=now)
    outcome, sentence = None, ""
    while outcome is None:
        done = advance(scratch, now=now - BEFORE)
        outcome, sentence = done.outcome, done.sentence
    with scratch.database.read() as connection:
        if not list_promotions(connection):
            raise StateError(
                problem=f"the first release is not in production: {sentence}",
                expected="a release to begin with",
                action="run `homeostat train` and see what it says",
            )
