"""How long each page takes with 100 features, 1,000 drift checks, 1,000 releases and 10,000 lines in the event log.

    .venv/bin/python -m bench.pages

Not here: whether a page is right (tests/web/test_pages.py).
"""

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, insert

from homeostat.deployment.artifacts import EFFECTS, pack_release
from homeostat.deployment.registry import promote, register_release, resolve_release
from homeostat.monitoring.drift import detect_drift, report_to_json
from homeostat.project import Project, open_project
from homeostat.records import Columns, Criterion, GateResult, Json
from homeostat.store.events import append_event
from homeostat.store.tables import drift_checks, predictions, releases
from homeostat.training.boosting import LightGbm
from homeostat.training.evaluation import evaluate
from homeostat.training.golden import golden_rows
from homeostat.training.graph import Calibration, compile_release, design_matrix, split_thresholds
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.web.compare_page import compare_releases
from homeostat.web.contents import Content, to_document
from homeostat.web.drift_checks_page import describe_checks
from homeostat.web.drift_facts import describe_numbered
from homeostat.web.events_page import describe_events
from homeostat.web.release_page import describe_release
from homeostat.web.releases_page import describe_releases

N_FEATURES, N_CHECKS, N_EVENTS, N_RELEASES, N_ROWS = 100, 1_000, 10_000, 1_000, 2_000
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = [f"feature number {number:03}" for number in range(N_FEATURES)]


def write_settings(folder: Path) -> Path:
    features = "".join(f'[features."{name}"]\nrange = [-10, 10]\n' for name in NAMES)
    head = '[project]\nname = "wide"\ndata = ["wide.csv"]\ntarget = "y"\n[serving]\ndurability = "relaxed"\n'
    (folder / "homeostat.toml").write_text(head + features)
    return folder


def draw_effects(rng: np.random.Generator) -> Json:
    at = np.linspace(-2, 2, 20)
    effects = {}
    for name in NAMES:
        mean = 0.5 + 0.4 * np.tanh(at * rng.normal())
        low, high = (mean - 0.1).tolist(), (mean + 0.1).tolist()
        effects[name] = {"kind": "numeric", "at": at.tolist(), "mean": mean.tolist(), "low": low, "high": high}
        effects[name]["missing"] = 0.5
    return {"n_rows": 500, "base": 0.0, "importance": dict.fromkeys(NAMES, 0.1), "effects": effects}


def pack(project: Project, columns: Columns, labels: np.ndarray, *, seed: int) -> str:
    schema, rng = project.schema, np.random.default_rng(seed)
    steps = fit_preprocessor(columns, schema)
    parameters = {"num_iterations": 50 + seed, "num_leaves": 4}
    model = LightGbm().fit(design_matrix(steps, columns, schema), labels, parameters=parameters, seed=seed)
    graph = compile_release(steps, model, Calibration(1.0, 0.0), schema)
    measured = evaluate(labels, rng.random(len(labels)), seed=0)
    return pack_release(
        graph=graph,
        schema=schema,
        profile=build_profile(columns, schema),
        golden_inputs=golden_rows(schema, steps, split_thresholds(graph, steps), seed=0),
        metrics={"cross_validation": measured, "anchor": measured, "recent": measured},
        lineage={"family": "lightgbm", "parameters": parameters},
        extra={EFFECTS: json.dumps(draw_effects(rng)).encode()},
        provenance={},
        blobs=project.blobs,
    )


def fill(project: Project) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_ROWS, N_FEATURES))
    columns: Columns = {name: values[:, place] for place, name in enumerate(NAMES)}
    labels = (values[:, :10].sum(axis=1) > 0).astype(np.int8)
    digests = [pack(project, columns, labels, seed=seed) for seed in (0, 1)]
    figure = {"value": 0.8, "low": 0.7, "high": 0.9}
    headline = {
        side: {"auc": figure, "brier": figure, "n_rows": 9} for side in ("cross_validation", "anchor", "recent")
    }
    criterion = {"name": "skill", "passed": True, "sentence": "AUC 0.8", "figures": {}}
    with project.database.write() as connection:
        for number in range(N_RELEASES - 2):
            told = {"digest": f"{number:064x}", "snapshot": "s", "created_at": NOW, "family": "lightgbm"}
            connection.execute(insert(releases).values(**told, metrics=json.dumps(headline)))
        for digest in digests:
            register_release(connection, digest, snapshot="s", family="f", metrics=headline, run_id=None, now=NOW)
            append_event(connection, "gate", {"release": digest, "passed": True, "criteria": [criterion]}, now=NOW)
        for number in range(N_EVENTS):
            append_event(connection, "alert", {"sentence": f"alert {number}", "epoch": 1, "figures": {}}, now=NOW)
    verdict = GateResult((Criterion("skill", passed=True, sentence="", figures={}),))
    for epoch, digest in enumerate(digests):
        promote(project.database, digest, gate=verdict, expected_epoch=epoch, actor="b", reason="b", now=NOW)
    add_checks(project, columns, digests[0])


def add_checks(project: Project, columns: Columns, digest: str) -> None:
    profile = build_profile(columns, project.schema)
    window = {name: values[:200] for name, values in columns.items()}
    current = count_rows(window, project.schema, profile)
    report = json.dumps(report_to_json(detect_drift(profile, current, alpha=0.05, boundary=0.3)))
    told = {"epoch": 1, "checked_at": NOW, "release": digest, "score": 0.0, "fired": 0, "report": report}
    checks = [{**told, "first_seq": 1 + 200 * number, "last_seq": 200 * (number + 1)} for number in range(N_CHECKS)]
    rows = [
        {
            "id": f"p{row:06}",
            "received_at": NOW + timedelta(seconds=row),
            "release": digest,
            "row": json.dumps({name: float(values[row]) for name, values in window.items()}).encode(),
            "probability": 0.5,
            "label": "0",
            "observed_seq": row + 1,
            "epoch": 1,
        }
        for row in range(200)
    ]
    with project.database.write() as connection:
        connection.execute(insert(drift_checks), checks)
        connection.execute(insert(predictions), rows)


def measure(name: str, make: Callable[[], Content | None]) -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        content = make()
        assert content is not None  # noqa: S101  a benchmark of nothing would be fast
        size = len(to_document(content, project="wide"))
        times.append(time.perf_counter() - began)
    print(f"{name:<32} first {times[0]:6.3f} s, then {min(times[1:]):6.3f} s, {size / 1000:6.0f} kB")


def measure_all(connection: Connection, project: Project) -> None:
    newest = str(N_RELEASES)
    pair = [str(N_RELEASES - 1), newest]
    measure("/releases", lambda: describe_releases(connection))
    measure("/releases/{release}", lambda: describe_release(connection, project, resolve_release(connection, newest)))
    measure("/compare", lambda: compare_releases(connection, project, pair))
    measure("/drift", lambda: describe_checks(connection))
    measure("/drift/{number}", lambda: describe_numbered(connection, project, 1))
    measure("/events", lambda: describe_events(connection))
    measure("/events?kind=gate", lambda: describe_events(connection, kind="gate"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, open_project(write_settings(Path(folder))) as project:
        fill(project)
        with project.database.read() as connection:
            measure_all(connection, project)


if __name__ == "__main__":
    main()
