"""The swap run: promotion after promotion under a constant rate of requests, and what the senders notice of it.

Not here: the servers (`bench.contestants`). The releases answer alike under different digests, so that an answer tells
who gave it, and nothing else differs.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.contestants import RUNNING, Contestant, find_production
from bench.load import Answered, send_steadily
from bench.processes import Running, measure_memory, processor_seconds
from homeostat.deployment.artifacts import open_release, pack_release
from homeostat.deployment.registry import promote, register_release, require_production
from homeostat.project import open_project
from homeostat.records import Criterion, GateResult, Json

PER_SECOND = 200.0
INTERVAL_S = 0.75
# So long after its promotion a release is loaded and takes over; the rest of each interval is the steady state. The two
# take turns, or a disk that is slow for some seconds would be taken for the swaps.
AROUND_S = 0.4
WARM_UP_S, TAIL_S = 2.0, 3.0
VERDICT = GateResult((Criterion("bench", passed=True, sentence="let in by the benchmark", figures={}),))
# A process that used less than this share of the busiest one's time answered hardly any request.
BUSY_SHARE = 0.1


def copy_with_releases(template: Path, folder: Path, n_releases: int) -> list[str]:
    """Copy a trained project, register so many further releases that answer alike, and return their digests."""
    shutil.copytree(template, folder)
    release = open_release(find_production(folder))
    with open_project(folder) as project:
        digests = [
            pack_release(
                graph=release.graph,
                schema=release.schema,
                profile=release.profile,
                golden_inputs=release.golden.columns,
                metrics={"copy": place},
                lineage=release.lineage,
                extra={},
                provenance={},
                blobs=project.blobs,
            )
            for place in range(n_releases)
        ]
        with project.database.write() as connection:
            for digest in digests:
                now = datetime.now(UTC)
                register_release(connection, digest, snapshot="bench", family="bench", metrics={}, run_id=None, now=now)
    return digests


def measure_swaps(contestant: Contestant, scratch: Path, digests: Sequence[str], *, steady_s: float) -> Json:
    """Return what the senders noticed while the digests were promoted one after the other.

    Raises
    ------
    NotServingError
        The contestant does not run.
    """
    body = contestant.body_one.read_bytes()
    with (
        contestant.run(scratch) as running,
        # A process of its own: the promotions must not delay the sending.
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        target = (running.port, contestant.one, body)
        pool.submit(send_steadily, *target, per_second=PER_SECOND, seconds=WARM_UP_S).result()
        used = processor_seconds(running)
        seconds = steady_s + len(digests) * INTERVAL_S + TAIL_S
        sending = pool.submit(send_steadily, *target, per_second=PER_SECOND, seconds=seconds)
        time.sleep(steady_s)
        before_mb = measure_memory(running)
        moments = list(promote_each(scratch / RUNNING, digests))
        answered = sending.result()
        memory = {"rss_before_mb": before_mb, "rss_after_mb": measure_memory(running)}
        return summarise(answered, moments, digests) | memory | {"busy_processes": count_busy(running, used)}


def promote_each(folder: Path, digests: Sequence[str]) -> Iterator[float]:
    """Promote one digest after the other at fixed moments; yield when each promotion was committed."""
    due = time.monotonic()
    with open_project(folder) as project:
        for digest in digests:
            time.sleep(max(0.0, due - time.monotonic()))
            with project.database.read() as connection:
                epoch = require_production(connection).epoch
            now = datetime.now(UTC)
            promote(
                project.database, digest, gate=VERDICT, expected_epoch=epoch, actor="bench", reason="bench", now=now
            )
            yield time.monotonic()
            due += INTERVAL_S


def count_busy(running: Running, before: dict[int, float]) -> int:
    """Return how many of a server's processes answered requests since `before`."""
    used = [now - before.get(pid, 0.0) for pid, now in processor_seconds(running).items()]
    return sum(seconds > BUSY_SHARE * max(used) for seconds in used)


def summarise(answered: Sequence[Answered], moments: Sequence[float], digests: Sequence[str]) -> Json:
    """Return the figures of a run: failures, latencies around and between swaps, how late old releases answered."""
    due_s = np.array([one.due_s for one in answered])
    latency_ms = np.array([one.latency_ms for one in answered])
    since_s = due_s - np.array(moments)[np.maximum(np.searchsorted(moments, due_s, side="right") - 1, 0)]
    swapping = (due_s >= moments[0]) & (due_s < moments[-1] + INTERVAL_S)
    around, steady = swapping & (since_s < AROUND_S), swapping & (since_s >= AROUND_S)
    places = {digest: place for place, digest in enumerate(digests)}
    # A failed request was answered by no release: it counts as a failure and says nothing about who is old.
    answered_by = np.array([len(digests) if one.failure else places.get(one.release, -1) for one in answered])
    failures = [one.failure for one in answered if one.failure]
    late_s = []
    for place, moment in enumerate(moments):
        old = (due_s > moment) & (answered_by < place)
        late_s.append(float((due_s + latency_ms / 1e3 - moment)[old].max(initial=0.0)))
    return {
        "swaps": len(moments),
        "requests": len(answered),
        "failures": len(failures),
        "first_failures": failures[:5],
        "steady_p50_ms": float(np.percentile(latency_ms[steady], 50)),
        "steady_p99_ms": float(np.percentile(latency_ms[steady], 99)),
        "swaps_p50_ms": float(np.percentile(latency_ms[around], 50)),
        "swaps_p99_ms": float(np.percentile(latency_ms[around], 99)),
        "swaps_max_ms": float(latency_ms[around].max()),
        "adopted_median_s": float(np.median(late_s)),
        "adopted_max_s": max(late_s),
        "ended_on_last": answered[-1].release == digests[-1],
        "releases_seen": len(set(answered_by.tolist())),
    }
