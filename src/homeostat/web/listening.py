"""Where the service may listen, and with which certificate: refused by name before anything listens.

Not here: who may send what (keys), or the processes behind the socket (`web.server`, `web.supervisor`).
"""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import exists, select

from homeostat.errors import SettingsInvalid
from homeostat.project import Project
from homeostat.store.tables import keys

# Connections that wait to be accepted; the kernel takes the smaller of this and net.core.somaxconn.
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a TLS certificate chain and of its private key; without `keyfile`, the chain's file holds both."""

    certfile: Path
    keyfile: Path | None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for; None is what the settings say. Files are relative to the working folder."""

    host: str | None = None
    port: int | None = None
    certfile: Path | None = None
    keyfile: Path | None = None


def open_listener(project: Project, wishes: Wishes) -> socket.socket:
    """Return the listening socket that settings and command line ask for.

    Raises
    ------
    SettingsInvalid
        The address is taken, is none of this machine, or others would reach it without a key.
    """
    serving = project.settings.serving
    host = serving.host if wishes.host is None else wishes.host
    port = serving.port if wishes.port is None else wishes.port
    return listen(host, port, keys_asked=asks_for_keys(project))


def asks_for_keys(project: Project) -> bool:
    """Return whether requests need a key: it is required, or there has ever been one."""
    if project.settings.serving.authentication == "required":
        return True
    with project.database.read() as connection:
        return bool(connection.scalar(select(exists(select(keys.c.id)))))


def listen(host: str, port: int, *, keys_asked: bool = False) -> socket.socket:
    """Return a listening socket; beyond this machine only if keys are asked for. Port 0 is any free one.

    Raises
    ------
    SettingsInvalid
        Others would reach the address without a key, or it cannot be listened on.
    """
    if not keys_asked and not is_loopback(host):
        raise SettingsInvalid(
            problem=f"serving.host is {host!r}, and no key is asked for",
            expected="127.0.0.1, ::1 or localhost: without keys, the service answers this machine only",
            action="run `homeostat keys create`, or set serving.host to 127.0.0.1",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsInvalid(
            problem=f"{host}:{port} cannot be listened on: {error.strerror}",
            expected="an address of this machine with a free port",
            action="stop what listens there, or choose another with serving.host and serving.port (0 is any free one)",
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_certificate(project: Project, wishes: Wishes) -> Certificate | None:
    """Return the certificate that settings and command line ask for, known to load; None without one.

    Raises
    ------
    SettingsInvalid
        A file is missing, or is not what it should be.
    """
    serving, folder = project.settings.serving, project.folder
    certfile = wishes.certfile or (serving.certfile and folder / serving.certfile)
    keyfile = wishes.keyfile or (serving.keyfile and folder / serving.keyfile)
    if not certfile:
        if keyfile:
            raise certificate_invalid(f"serving.keyfile is {str(keyfile)!r}, without a certificate")
        return None
    certificate = Certificate(certfile.absolute(), keyfile.absolute() if keyfile else None)
    check_certificate(certificate)
    return certificate


def check_certificate(certificate: Certificate) -> None:
    """Raise SettingsInvalid if a server could not use a certificate."""
    for file in (certificate.certfile, certificate.keyfile):
        if file is not None and not file.is_file():
            raise certificate_invalid(f"there is no file {file}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An empty password: without one, an encrypted key would be asked for at the terminal.
        context.load_cert_chain(certificate.certfile, certificate.keyfile, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise certificate_invalid(f"{certificate.certfile} and its key cannot be used: {error}") from error


def certificate_invalid(problem: str) -> SettingsInvalid:
    """Return the error for a certificate that cannot be used."""
    return SettingsInvalid(
        problem=problem,
        expected="serving.certfile, a certificate chain in PEM, and serving.keyfile, its key without a password",
        action="correct serving.certfile and serving.keyfile, or --certfile and --keyfile",
    )


def address_of(listener: socket.socket, *, tls: bool) -> str:
    """Return the address that a listening socket answers at."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
