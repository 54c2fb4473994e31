"""TLS: what a certificate gives, and that a wrong one is refused before anything listens."""

import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.errors import SettingsInvalid
from homeostat.project import open_project
from homeostat.web.listening import Wishes, find_certificate
from homeostat.web.server import run

Start = Callable[..., tuple[subprocess.Popen[str], str]]


def make_certificate(folder: Path, *, password: str = "") -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself, and its key."""
    certfile, keyfile = folder / "cert.pem", folder / "key.pem"
    protection = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *protection]
    command += ["-keyout", str(keyfile), "-out", str(certfile), "-days", "2", "-subj", "/CN=homeostat"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return certfile, keyfile


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_with_a_certificate_the_service_answers_over_tls_alone(
    start_process: Start, certificate: tuple[Path, Path], row: dict[str, Any], n_workers: int
) -> None:
    certfile, keyfile = map(str, certificate)
    process, address = start_process("--certfile", certfile, "--keyfile", keyfile, "--workers", str(n_workers))
    trusted = ssl.create_default_context(cafile=certfile)

    assert address.startswith("https://127.0.0.1:")
    assert httpx.post(f"{address}/v1/predict", json=row, verify=trusted).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(address.replace("https", "http"))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_the_settings_name_the_files_from_the_project_folder(
    trained_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(trained_project)
    monkeypatch.setenv("HOMEOSTAT_SERVING__CERTFILE", "cert.pem")
    monkeypatch.setenv("HOMEOSTAT_SERVING__KEYFILE", "key.pem")

    with open_project(trained_project) as project:
        found = find_certificate(project, Wishes())

    assert found is not None
    assert (found.certfile, found.keyfile) == (trained_project / "cert.pem", trained_project / "key.pem")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda cert, _: cert.unlink(), "there is no file"),
        (lambda _, key: key.unlink(), "there is no file"),
        (lambda cert, _: cert.write_text("not PEM"), "cannot be used"),
        (lambda cert, key: key.write_bytes(cert.read_bytes()), "cannot be used"),
        (lambda cert, _: make_certificate(cert.parent, password="x"), "cannot be used"),  # noqa: S106  of a key that lives for one test
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_in_three_parts(
    trained_project: Path, certificate: tuple[Path, Path], damage: Callable[[Path, Path], object], told: str
) -> None:
    damage(*certificate)

    with pytest.raises(SettingsInvalid, match=told) as refused:
        run(trained_project, Wishes(None, 0, *certificate))

    assert "--certfile" in refused.value.action


def test_a_key_without_its_certificate_is_refused(trained_project: Path, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsInvalid, match="without a certificate"):
        run(trained_project, Wishes(port=0, keyfile=certificate[1]))
