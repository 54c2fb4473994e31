"""What `homeostat doctor` finds reachable: settings, database, blobs, disk, and whatever is at the end of an address.

Not here: what the database holds (`cli.condition`). Nothing is written, sent, or made.
"""

import http.client
import os
import shutil
import socket
import sqlite3
import ssl
import stat
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from sqlalchemy import make_url

from homeostat.cli.findings import Finding, Findings, refused
from homeostat.errors import SettingsInvalid, nearest
from homeostat.project import UNTRACKED
from homeostat.settings import Settings
from homeostat.store.database import resolve_url
from homeostat.store.event_kinds import EVENT_KINDS
from homeostat.store.tables import SCHEMA_VERSION

GROUP, RULES = "reachable", "settings"
TIMEOUT_S = 3.0
FEW_BYTES, SMALL_SHARE = 512 * 2**20, 0.05
OTHERS_READ, OTHERS_WRITE = stat.S_IROTH, stat.S_IWOTH | stat.S_IWGRP


def look_at_places(folder: Path, settings: Settings) -> Findings:
    """Find whether everything can be reached that a project names."""
    yield from look_at_database(find_database(folder, settings))
    yield look_at_blobs(folder / settings.store.blobs)
    yield look_at_disk(folder)
    yield look_at_tracking(folder, settings)
    if settings.notifications.url:
        yield look_at_receiver(settings.notifications.url)
    yield look_at_service(settings)


def look_at_settings(settings: Settings) -> Findings:
    """Find settings that are allowed and still do not do what they seem to."""
    unknown = [kind for kind in settings.notifications.kinds if kind not in EVENT_KINDS]
    for kind in unknown:
        near = nearest(kind, EVENT_KINDS)
        action = f"did you mean {near!r}?" if near else "remove it; the reference lists the kinds"
        yield Finding(RULES, "notifications.kinds", "wrong", f"no event is of the kind {kind!r}.", action)
    if settings.retraining.schedule is not None:
        yield look_at_schedule(settings.retraining.schedule)
    durability = settings.serving.durability
    if durability != "power-safe":
        loses = "a power cut" if durability == "process-safe" else "a power cut or the end of its process"
        sentence = f"serving.durability is {durability!r}: {loses} loses rows that were answered."
        yield Finding(RULES, "serving.durability", "warning", sentence, 'set it to "power-safe" where rows count')


def look_at_schedule(line: str) -> Finding:
    """Find whether a schedule is a cron line."""
    name = "retraining.schedule"
    try:
        from homeostat.retraining.triggers import read_schedule  # noqa: PLC0415  croniter comes with the loop

        read_schedule(line, datetime.now(UTC))
    except SettingsInvalid as error:
        return refused(RULES, name, error)
    except ModuleNotFoundError:
        return Finding(RULES, name, "warning", f"{line!r} is not looked at: the loop is not installed here.")
    return Finding(RULES, name, "ok", f"{line!r} is a cron line.")


def find_database(folder: Path, settings: Settings) -> Path | None:
    """Return the file of the database, None if it is no file."""
    location = make_url(resolve_url(settings.store.database, folder))
    return Path(location.database) if location.get_backend_name() == "sqlite" and location.database else None


def look_at_database(path: Path | None) -> Findings:
    """Find whether the database opens, in which version, and who may read it; an older one stays as it is."""
    if path is None:
        return
    if not path.exists():
        yield Finding(GROUP, "database", "warning", f"{path} is not there yet.", "`homeostat train` makes it")
        return
    mode = path.stat().st_mode
    if mode & (OTHERS_READ | OTHERS_WRITE):
        may = "change" if mode & OTHERS_WRITE else "read"
        sentence = f"other users of this machine may {may} {path} (mode {stat.S_IMODE(mode):o})."
        yield Finding(GROUP, "permissions", "warning", sentence, f"chmod 600 {path}")
    try:
        found = read_version(path)
    except sqlite3.Error as error:
        action = "correct its permissions, or restore a backup if it is damaged"
        yield Finding(GROUP, "database", "wrong", f"{path} cannot be read: {error}.", action)
        return
    if found == SCHEMA_VERSION and os.access(path, os.W_OK):
        size = path.stat().st_size / 2**20
        yield Finding(GROUP, "database", "ok", f"{path} opens; schema version {found}, {size:.1f} MB.")
    elif found == SCHEMA_VERSION:
        yield Finding(GROUP, "database", "wrong", f"{path} may not be written.", "correct its owner or permissions")
    elif found < SCHEMA_VERSION:
        action = "back it up; the next command brings it up to date"
        yield Finding(GROUP, "database", "warning", f"its schema version is {found}, ours {SCHEMA_VERSION}.", action)
    else:
        action = "upgrade Homeostat, or restore a backup made before the upgrade"
        yield Finding(GROUP, "database", "wrong", f"its schema version is {found}, ours only {SCHEMA_VERSION}.", action)


def read_version(path: Path) -> int:
    """Return the schema version of a database without opening it for writing; 0 if it holds nothing."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'").fetchone()[0]
        found = connection.execute("SELECT max(version) FROM schema_versions").fetchone()[0] if known else None
    return int(found or 0)


def look_at_blobs(folder: Path) -> Finding:
    """Find whether snapshots and releases can be read and written."""
    if not folder.exists():
        return Finding(GROUP, "blobs", "ok", f"{folder} is not there yet: the first snapshot makes it.")
    lacking = [
        word for word, mode in (("read", os.R_OK | os.X_OK), ("written", os.W_OK)) if not os.access(folder, mode)
    ]
    if lacking or not folder.is_dir():
        sentence = f"{folder} may not be {' or '.join(lacking) or 'used: it is no folder'}."
        return Finding(GROUP, "blobs", "wrong", sentence, "correct its owner or permissions")
    return Finding(GROUP, "blobs", "ok", f"{folder} can be read and written.")


def look_at_disk(folder: Path) -> Finding:
    """Find how much room is left."""
    usage = shutil.disk_usage(folder)
    sentence = f"{usage.free / 2**30:.1f} GB of {usage.total / 2**30:.1f} GB are free."
    if usage.free < FEW_BYTES:
        return Finding(GROUP, "disk", "wrong", sentence, "free some: without room nothing is answered or trained")
    if usage.free < SMALL_SHARE * usage.total:
        return Finding(GROUP, "disk", "warning", sentence, "free some soon")
    return Finding(GROUP, "disk", "ok", sentence)


def look_at_tracking(folder: Path, settings: Settings) -> Finding:
    """Find whether the experiment manager's store can be reached."""
    url = settings.store.tracking
    if url == UNTRACKED:
        return Finding(GROUP, "tracking", "ok", f'store.tracking is "{UNTRACKED}": attempts are not tracked.')
    if urlsplit(url).scheme in {"http", "https"}:
        said = ask(f"{url.rstrip('/')}/health")
        if said is None:
            action = "start it; until then attempts are recorded in the project alone"
            return Finding(GROUP, "tracking", "warning", "the tracking server does not answer.", action)
        return Finding(GROUP, "tracking", "ok", f"the tracking server answers ({said[0]}).")
    location = make_url(resolve_url(url, folder)).database
    there = location is not None and Path(location).exists()
    return Finding(GROUP, "tracking", "ok", f"{location} {'is there' if there else 'is made by the first attempt'}.")


def look_at_receiver(url: str) -> Finding:
    """Find whether somebody listens where events are sent; nothing is sent."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        with socket.create_connection((parts.hostname or "", port), TIMEOUT_S):
            return Finding(GROUP, "notifications", "ok", f"{parts.hostname} listens; `homeostat notify` sends a trial.")
    except (OSError, ValueError) as error:
        sentence = f"{parts.hostname} cannot be reached: {error}."
        return Finding(GROUP, "notifications", "wrong", sentence, "correct notifications.url, or start the receiver")


def look_at_service(settings: Settings) -> Finding:
    """Find whether a service answers at the address of the settings, and whether it is ready."""
    serving = settings.serving
    if not serving.port:
        return Finding(GROUP, "service", "ok", "serving.port is 0, any free one: not looked at.")
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    address = f"{'https' if serving.certfile else 'http'}://{host}:{serving.port}"
    said = ask(f"{address}/readyz")
    if said is None:
        return Finding(GROUP, "service", "ok", f"nobody answers at {address}: no service runs there.")
    if said[0] == http.client.OK:
        return Finding(GROUP, "service", "ok", f"the service at {address} is ready.")
    action = "see what it prints; if the address is another program's, choose another serving.port"
    return Finding(GROUP, "service", "wrong", f"{address}/readyz answers {said[0]}: {said[1]}", action)


def ask(url: str) -> tuple[int, str] | None:
    """Return the status and the beginning of an answer, None if nobody answers."""
    # Not verified: it is only asked whether somebody is there, and a certificate of our own is of no known authority.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001  as above
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310  http and https
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(200).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException):
        return None
