"""What `homeostat doctor` finds in a project's state: production, the loop, what waits, the clock, keys, certificate.

Not here: whether the database can be opened (`cli.reachability`). Nothing is written, and no lease is taken.
"""

import hashlib
import ssl
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select

from homeostat.cli.findings import Finding, Findings, refused
from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.registry import current_promotion
from homeostat.errors import ArtifactError, ReleaseMissing, SettingsInvalid
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.notifications.outbox import find_cursor
from homeostat.project import Project
from homeostat.retraining.asking import describe_waiting
from homeostat.store.keys import list_keys
from homeostat.store.leases import LIFETIME, find_last_renewal, find_lease, is_gone
from homeostat.store.tables import events, predictions
from homeostat.training.scoring import Graph
from homeostat.web.listening import Certificate, Wishes, asks_for_keys, find_certificate, is_loopback

GROUP, ACCESS = "state", "access"
# After so long without a loop, what waits for one has been forgotten; how far two clocks may differ; when to renew.
PATIENCE, SKEW, SOON = timedelta(minutes=10), timedelta(minutes=1), timedelta(days=14)
START = "start one: `homeostat up` or `homeostat loop`, or run `homeostat tick` from cron"


def look_at_state(project: Project, *, now: datetime) -> Findings:
    """Find what is stale or wrong in what the project's database holds."""
    with project.database.read() as connection:
        yield look_at_production(connection, project)
        yield from look_at_loop(connection, now=now)
        yield look_at_drift(connection)
        yield look_at_clock(connection, now=now)
        if project.settings.notifications.url:
            yield look_at_deliveries(connection, project.settings.notifications.url)


def look_at_access(project: Project, *, now: datetime) -> Findings:
    """Find who may use the service, and until when."""
    host, asks = project.settings.serving.host, asks_for_keys(project)
    if not asks and not is_loopback(host):
        sentence = f"serving.host is {host!r} and no key was ever made: the service will not start."
        yield Finding(ACCESS, "address", "wrong", sentence, '`homeostat keys create`, or serving.host = "127.0.0.1"')
    with project.database.read() as connection:
        keys = [key for key in list_keys(connection) if key.revoked_at is None]
    for key in keys:
        if key.expires_at is not None and key.expires_at < now + SOON:
            words = "has expired" if key.expires_at <= now else "expires"
            sentence = f"key {key.id} ({key.name}) {words} {key.expires_at:%Y-%m-%d %H:%M} UTC."
            yield Finding(ACCESS, "key", "warning", sentence, f"make another, then `homeostat keys revoke {key.id}`")
    if keys or not asks:
        yield Finding(ACCESS, "keys", "ok", f"{len(keys)} keys, not revoked." if keys else "no key is asked for.")
    else:
        yield Finding(ACCESS, "keys", "wrong", "a key is asked for, and there is none.", "`homeostat keys create`")
    if project.settings.serving.certfile:
        yield look_at_certificate(project, now=now)


def look_at_production(connection: Connection, project: Project) -> Finding:
    """Find whether the release in production is whole and gives its golden answers."""
    promotion = current_promotion(connection)
    if promotion is None:
        return Finding(GROUP, "production", "warning", "nothing is in production yet.", "`homeostat train`")
    try:
        release = open_release(find_release(promotion.release, project.blobs))
        check_golden(release, Graph(release.graph, release.schema))
    except (ArtifactError, ReleaseMissing) as error:
        return refused(GROUP, "production", error)
    if release.schema.digest != project.schema.digest:
        sentence = "the release in production was trained on another schema than homeostat.toml declares."
        return Finding(GROUP, "production", "warning", sentence, "`homeostat train`")
    words = f"release {promotion.release[:12]} since {promotion.decided_at:%Y-%m-%d %H:%M} UTC"
    return Finding(GROUP, "production", "ok", f"{words}: every byte verified, golden rows answered.")


def look_at_loop(connection: Connection, *, now: datetime) -> Findings:
    """Find who holds the lease, and whether something waits for a loop that nobody runs."""
    lease, seen_at = find_lease(connection), find_last_renewal(connection)
    in_force = lease is not None and seen_at is not None and now - seen_at < LIFETIME and not is_gone(lease.holder)
    if lease is not None and in_force:
        yield Finding(GROUP, "loop", "ok", f"{lease.holder} acts, last seen {seen_at:%Y-%m-%d %H:%M:%S} UTC.")
    elif lease is not None:
        sentence = f"the lease was left over by {lease.holder}, which is gone."
        yield Finding(GROUP, "lease", "warning", sentence, "nothing: the next loop takes it")
    waiting = describe_waiting(connection)
    n_rows = connection.scalar(
        select(func.count()).select_from(predictions).where(predictions.c.observed_seq.is_(None))
    )
    parts = [f"{n_rows} answered rows"] * bool(n_rows) + [f"{len(waiting['requests'])} requests"] * bool(
        waiting["requests"]
    )
    parts += ["a cycle under way"] * (waiting["cycle"] is not None)
    seen = "none has ever acted" if seen_at is None else f"the last one was seen {seen_at:%Y-%m-%d %H:%M:%S} UTC"
    forgotten = bool(parts) and not in_force and (seen_at is None or now - seen_at > PATIENCE)
    if forgotten:
        yield Finding(GROUP, "waiting", "warning", f"{', '.join(parts)} wait for a loop; {seen}.", START)
    else:
        yield Finding(GROUP, "waiting", "ok", f"for a loop: {', '.join(parts) or 'nothing'}; {seen}.")
    if waiting["held"] is not None:
        sentence = f"release {waiting['held']['number']} passed the gate and waits for approval."
        yield Finding(GROUP, "approval", "warning", sentence, "`homeostat approve`, or promote another")


def look_at_drift(connection: Connection) -> Finding:
    """Find what the newest drift check said, and when."""
    check = latest_drift_check(connection)
    if check is None:
        return Finding(GROUP, "drift", "ok", "no window of answered rows has been checked yet.")
    sentence = f"score {check['score']:.3f}, checked {check['checked_at'][:16].replace('T', ' ')} UTC"
    if check["fired"]:
        return Finding(GROUP, "drift", "warning", f"{sentence}: above the boundary.", "see `homeostat drift`")
    return Finding(GROUP, "drift", "ok", f"{sentence}.")


def look_at_clock(connection: Connection, *, now: datetime) -> Finding:
    """Find whether this machine's clock is behind what was written before."""
    newest = [connection.scalar(select(func.max(column))) for column in (events.c.at, predictions.c.received_at)]
    latest = max((moment for moment in newest if moment is not None), default=now)
    if latest > now + SKEW:
        sentence = f"this clock says {now:%Y-%m-%d %H:%M:%S} UTC, the database has lines of {latest:%Y-%m-%d %H:%M:%S}."
        return Finding(GROUP, "clock", "wrong", sentence, "set the clock: windows and delays rest on it")
    return Finding(GROUP, "clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC, nothing in the database is later.")


def look_at_deliveries(connection: Connection, url: str) -> Finding:
    """Find how far the receiver of notifications has come."""
    # As `notifications.delivery` names a receiver, which needs libraries that a service alone has not.
    cursor = find_cursor(connection, hashlib.sha256(url.encode()).hexdigest())
    if cursor is None:
        return Finding(GROUP, "notifications", "ok", "the receiver is new: no loop has run since.")
    if cursor.problem:
        sentence = f"the receiver has come to event {cursor.last_seq}; then: {cursor.problem}."
        return Finding(GROUP, "notifications", "warning", sentence, "`homeostat notify` tries it")
    return Finding(GROUP, "notifications", "ok", f"the receiver has come to event {cursor.last_seq}.")


def look_at_certificate(project: Project, *, now: datetime) -> Finding:
    """Find whether the certificate can be used, and until when."""
    name = "certificate"
    try:
        certificate = find_certificate(project, Wishes())
        expires_at = None if certificate is None else read_expiry(certificate)
    except SettingsInvalid as error:
        return refused(ACCESS, name, error)
    except ssl.SSLError as error:
        words = getattr(error, "verify_message", "") or str(error)
        return Finding(ACCESS, name, "wrong", f"the certificate cannot be trusted: {words}.", "renew serving.certfile")
    if expires_at is None:
        return Finding(ACCESS, name, "wrong", "the certificate does not say until when it holds.", "renew it")
    sentence = f"it holds until {expires_at:%Y-%m-%d %H:%M} UTC."
    if expires_at < now + SOON:
        return Finding(ACCESS, name, "warning", sentence, "renew serving.certfile")
    return Finding(ACCESS, name, "ok", sentence)


def read_expiry(certificate: Certificate) -> datetime | None:
    """Return until when a certificate holds: what a client is told that trusts it, in a handshake within memory.

    Raises
    ------
    ssl.SSLError
        It has expired, or is not yet valid.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.certfile, certificate.keyfile)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is what is trusted
    client.load_verify_locations(certificate.certfile)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    shaking = [ours, theirs]
    while shaking:
        for end in tuple(shaking):
            try:
                end.do_handshake()
                shaking.remove(end)
            except ssl.SSLWantReadError:
                continue
    told = (ours.getpeercert() or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(told), UTC) if isinstance(told, str) else None
