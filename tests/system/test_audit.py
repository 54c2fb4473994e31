"""What the serving process never does, whatever it is sent: run foreign code, start a program, open a foreign file."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx

PROGRAM = Path(__file__).parent / "audited.py"
# The memory of the process, which /metrics shows.
MEMORY = "/proc/self"
TEXTS = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "file:///etc/passwd",
    "~/.ssh/id_rsa",
    "a\0b",
    "x" * 5_000,
    "${HOME}",
    "cos\nsystem\n(S'true'\ntR.",
]
LOOKING = [
    "/v1/status",
    "/v1/drift",
    "/v1/performance",
    "/v1/releases",
    "/v1/history",
    "/v1/events",
    "/v1/schema",
    "/metrics",
    "/readyz",
]


def audit(folder: Path, roots: str, use: Callable[[httpx.Client], None]) -> str:
    """Run the service of a project under the hook, armed, while it is used; return what was reported."""
    command = [sys.executable, str(PROGRAM), roots, "serve", "--project", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        process.send_signal(signal.SIGUSR1)
        with httpx.Client(base_url=address, timeout=30) as client:
            use(client)
        process.terminate()
        _, reported = process.communicate()
    finally:
        process.kill()
        process.wait()
    return reported


def send_everywhere(client: httpx.Client, text: str) -> None:
    """Put a text into every place of a request that holds one."""
    client.get("/v1/events", params={"kind": text[:40]})
    client.get("/v2/models/" + text[:200].replace("\0", "%00").replace("\n", "%0a"))
    client.post("/v1/labels", json={"id": text, "label": text})
    client.post("/v1/predict", json={text: text}, headers={"Idempotency-Key": quote(text)[:200]})
    client.post("/v1/predict", json={"rows": [{"Age": text, "Glucose": text}]})
    client.post("/v1/predict", content=text.encode())
    client.post("/invocations", json={"instances": [{"Age": text}]})


def test_no_text_in_a_request_makes_the_process_open_a_foreign_file_or_run_foreign_code(trained_project: Path) -> None:
    def use(client: httpx.Client) -> None:
        for text in TEXTS:
            send_everywhere(client, text)
        assert [client.get(route).status_code for route in LOOKING] == [200] * len(LOOKING)

    assert audit(trained_project, f"{trained_project}:{MEMORY}", use) == ""


def test_the_only_program_that_is_started_is_our_own_which_explains(trained_project: Path) -> None:
    def explain(client: httpx.Client) -> None:
        for text in TEXTS:
            client.post("/v1/explain", json={"rows": [{text: text, "Age": text}]})
            client.post("/v1/explain", json={"id": text[:200], "release": text[:64], "compare": text[:64]})

    started = audit(trained_project, f"{trained_project}:{MEMORY}:/dev/null", explain).splitlines()

    blobs = str(trained_project / ".homeostat" / "blobs")
    command = [sys.executable, "-m", "homeostat.deployment.explaining_process", blobs]
    assert started
    assert all(line.startswith(f"subprocess.Popen ({sys.executable!r}, {command!r}, ") for line in started)


def test_the_hook_reports_what_it_should(trained_project: Path) -> None:
    def look(client: httpx.Client) -> None:
        assert client.get("/metrics").status_code == 200

    reported = audit(trained_project, str(trained_project), look)

    assert "open ('/proc/self/statm'" in reported
