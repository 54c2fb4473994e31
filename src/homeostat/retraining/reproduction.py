"""Making a release again from what it says of its own origin, and whether the same comes out.

Not here: the process that it happens in (`retraining.attempt`), or what a lineage holds (`retraining.packing`). Nothing
of the project's today decides anything: schema, settings and parameters are those that the release carries, the rows
those that its snapshot is named by. What comes out is packed into a folder that the caller throws away.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from homeostat.data import snapshots
from homeostat.data.snapshots import load_snapshot
from homeostat.deployment.artifacts import (
    LINEAGE,
    PROVENANCE,
    TOLERANCE,
    find_release,
    open_release,
    read_manifest,
    read_verified,
)
from homeostat.errors import ReleaseMissing, StateError
from homeostat.project import Project
from homeostat.records import Json, Recipe, Release, Snapshot
from homeostat.retraining.packing import Choice, pack
from homeostat.settings import MonitoringSettings, TrainingSettings
from homeostat.store.blobs import FolderBlobs
from homeostat.training.recipes import recipe_from_json
from homeostat.training.scoring import Graph
from homeostat.training.train import search, select_training

SEARCH = "search.json"
NEEDED = ("snapshot", "family", "parameters", "settings", "monitoring", "recipe", "change", "candidates", "code")
# At most so many differing figures are named.
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Origin:
    """What a release was made of: the project as it was then, the rows, and what the search had found."""

    release: Release
    project: Project
    snapshot: Snapshot
    recipe: Recipe
    found: Json


# --- what it was made of ------------------------------------------------------------------------------------------


def find_origin(project: Project, digest: str) -> Origin:
    """Return what a release was made of, every byte of it verified.

    Raises
    ------
    ReleaseMissing
        The release or its snapshot is not in the store.
    ArtifactCorrupt
        The release or its snapshot is not what it is named by.
    StateError
        The release does not say enough of its origin.
    """
    folder = find_release(digest, project.blobs)
    release, files = open_release(folder), read_verified(folder)
    missing = [name for name in NEEDED if name not in release.lineage]
    if missing or SEARCH not in files:
        raise says_too_little(digest, f"says nothing of {', '.join(missing) or 'its search'}")
    snapshot_digest = str(release.lineage["snapshot"])
    if project.blobs.folder(snapshots.KIND, snapshot_digest) is None:
        raise ReleaseMissing(
            problem=f"snapshot {snapshot_digest[:12]}, which release {digest[:12]} was trained on, is not in the store",
            expected="the rows that it is named by",
            action="restore the blobs from a backup: without these rows nobody can train the release again",
        )
    return Origin(
        release,
        recall_project(project, release),
        load_snapshot(snapshot_digest, schema=release.schema, blobs=project.blobs),
        recipe_from_json(release.lineage["recipe"]),
        json.loads(files[SEARCH]) | {name: release.lineage[name] for name in ("family", "parameters")},
    )


def recall_project(project: Project, release: Release) -> Project:
    """Return the project with the schema and the settings that a release was trained under."""
    try:
        training = TrainingSettings.model_validate(release.lineage["settings"])
        monitoring = MonitoringSettings.model_validate(release.lineage["monitoring"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise says_too_little(release.digest, f"was trained with settings of another kind ({where})") from error
    settings = project.settings.model_copy(update={"training": training, "monitoring": monitoring})
    return replace(project, schema=release.schema, settings=settings)


def says_too_little(digest: str, problem: str) -> StateError:
    """Return the three-part error for a release that cannot be made again."""
    return StateError(
        problem=f"release {digest[:12]} {problem}",
        expected="a release whose lineage holds all that its training needs",
        action="install the version of Homeostat that packed it, or train another release with `homeostat train`",
    )


def repeat_search(origin: Origin) -> Json:
    """Return what the search finds when it is repeated on the same rows."""
    training = origin.project.settings.training
    rows = select_training(origin.snapshot.rows, training, origin.recipe)
    found: Json = json.loads(json.dumps(search(rows, origin.release.schema, training)))
    return found


# --- making it again ----------------------------------------------------------------------------------------------


def reproduce(origin: Origin, found: Json, *, code: Json, scratch: Path) -> Json:
    """Make a release again in a folder, from what a search has found, and return how it compares.

    Parameters
    ----------
    origin
        What it was made of.
    found
        What was recorded of its search, or what the repeated search has found.
    code
        The versions of what computes it now.
    scratch
        Where it is packed.

    Returns
    -------
    `verdict` is `identical` (every byte but the provenance), `equal` (other bytes, as another processor or other
    versions give them, but the same figures and the same answers to the golden rows within 1e-6) or `different`.
    """
    blobs = FolderBlobs(scratch)
    lineage = origin.release.lineage
    packed = pack(
        replace(origin.project, blobs=blobs),
        origin.snapshot,
        found,
        code=code,
        provenance={},
        recipe=origin.recipe,
        choice=Choice(lineage["candidates"], lineage["change"]),
    )
    again = open_release(find_release(packed["release"], blobs))
    folders = (find_release(origin.release.digest, origin.project.blobs), find_release(again.digest, blobs))
    report = compare(origin.release, again) | {
        "files": differing_files(*(read_manifest(folder)[1] for folder in folders)),
        "search_found_the_same": found == origin.found,
    }
    return report | {"sentence": describe(report)}


def compare(recorded: Release, again: Release) -> Json:
    """Return how a release that was made again differs from the recorded one, and what that comes to."""
    versions = differing_versions(recorded.lineage["code"], again.lineage["code"])
    figures = differing_figures(recorded.metrics, again.metrics)
    # Under the same versions, what it was made from must be the same as well: only its numbers may differ by a bit.
    origins = [] if versions else differing_figures(without_code(recorded.lineage), without_code(again.lineage))
    answers = Graph(again.graph, recorded.schema).score(recorded.golden.columns).astype(np.float64)
    apart = float(np.abs(answers - recorded.golden.expected).max())
    is_equal = not figures and not origins and apart <= TOLERANCE
    verdict = "identical" if recorded.digest == again.digest else "equal" if is_equal else "different"
    return {
        "release": recorded.digest,
        "again": again.digest,
        "verdict": verdict,
        "versions": versions,
        "figures": [f"{LINEAGE}: {name}" for name in origins] + figures,
        "golden_rows": len(answers),
        "largest_difference": apart,
    }


def without_code(lineage: Json) -> Json:
    """Return a lineage without the versions."""
    return {name: value for name, value in lineage.items() if name != "code"}


def differing_versions(recorded: Mapping[str, str], now: Mapping[str, str]) -> Json:
    """Return what has another version now than it had, by name: the recorded one and today's."""
    names = [name for name in {**recorded, **now} if recorded.get(name) != now.get(name)]
    return {name: [recorded.get(name), now.get(name)] for name in names}


def differing_figures(recorded: Json, again: Json) -> list[str]:
    """Return the names of what differs: numbers by more than 1e-6, and anything else at all."""
    before, after = dict(flatten(recorded)), dict(flatten(again))
    return [
        name
        for name in {**before, **after}
        if name not in before or name not in after or differ(before[name], after[name])
    ]


def differ(before: object, after: object) -> bool:
    """Return whether two leaves of a document are not the same."""
    if isinstance(before, float | int) and isinstance(after, float | int):
        return not abs(before - after) <= TOLERANCE
    return before != after


def flatten(content: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of a document with their paths."""
    if isinstance(content, Mapping):
        parts = list(content.items())
    elif isinstance(content, list | tuple):
        parts = list(enumerate(content))
    else:
        yield name, content
        return
    for key, value in parts:
        yield from flatten(value, f"{name}.{key}" if name else str(key))


def differing_files(recorded: Mapping[str, str], again: Mapping[str, str]) -> list[str]:
    """Return the files whose bytes differ, by their digests; the provenance always does."""
    return sorted(
        name for name in {**recorded, **again} if name != PROVENANCE and recorded.get(name) != again.get(name)
    )


# --- in words -----------------------------------------------------------------------------------------------------


def describe(report: Json) -> str:
    """Return in words what came out."""
    name, again = report["release"][:12], report["again"][:12]
    if report["verdict"] == "identical":
        return f"Release {name} was made again: identical, every byte but its times."
    where = f"the bytes of {', '.join(report['files'])} differ"
    if report["verdict"] == "equal":
        why = describe_versions(report["versions"]) or "the versions are the same: another processor or platform"
        rows = f"all {report['golden_rows']} golden rows and every figure are the same within {TOLERANCE:g}"
        return f"Release {name} was made again as {again}: {rows}; {where} ({why})."
    told = report["figures"][:MAX_NAMED]
    more = f" and {len(report['figures']) - len(told)} more" if len(report["figures"]) > len(told) else ""
    figures = f"; other than recorded: {', '.join(told)}{more}" if told else ""
    versions = describe_versions(report["versions"])
    return (
        f"Release {name} could not be made again: {again} came out, golden rows differ by up to "
        f"{report['largest_difference']:.2g}, and {where}{figures}{f'; {versions}' if versions else ''}."
    )


def describe_versions(versions: Json) -> str:
    """Return in words which versions are others now."""
    changed = [f"{name} {before or 'none'}, now {now or 'none'}" for name, (before, now) in versions.items()]
    return f"trained with {'; '.join(changed)}" if changed else ""
