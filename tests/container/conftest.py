"""The image under test, unpacked by buildah, and containers of it, run by runc as a strict installation would run them.

Not here: building the image (`make container`). These tests are collected only where HOMEOSTAT_IMAGE names an image:
`make container-test`, as root.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

VARIABLE = "HOMEOSTAT_IMAGE"
START_S = 30

collect_ignore_glob = [] if VARIABLE in os.environ else ["test_*.py"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image: the working container of buildah that it is unpacked in, its root folder, its configuration."""

    container: str
    root: Path
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs the image's own command."""

    name: str
    state: Path
    process: subprocess.Popen[bytes]
    url: str

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the image's user."""
        return subprocess.run([*self.runc("exec", self.name), *command], capture_output=True, text=True, check=False)

    def send(self, signal_name: str) -> None:
        """Send a signal to the container's first process."""
        subprocess.run(self.runc("kill", self.name, signal_name), check=True)

    def runc(self, command: str, *arguments: str) -> list[str]:
        """Return a command line of runc."""
        return ["runc", "--root", str(self.state), command, *arguments]

    def wait_until_ready(self) -> None:
        """Return once the service answers that it is ready."""
        self._wait_for("/readyz")

    def wait_until_alive(self) -> None:
        """Return once the service answers at all."""
        self._wait_for("/livez")

    def _wait_for(self, route: str) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(self.url + route).is_success:
                    return
            time.sleep(0.05)
        pytest.fail(f"the container does not answer {route}")


Start = Callable[[Path], Running]


def buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The image under test, unpacked."""
    container = buildah("from", "--pull-never", os.environ[VARIABLE])
    try:
        config = json.loads(buildah("inspect", container))["Docker"]["config"]
        yield Image(container, Path(buildah("mount", container)), config)
    finally:
        buildah("rm", container)


@pytest.fixture
def start(image: Image, tmp_path: Path) -> Iterator[Start]:
    """Start containers on project folders; each is killed at the end."""
    with ExitStack() as stack:
        yield lambda project: stack.enter_context(run_container(image, project, tmp_path))


@contextmanager
def run_container(image: Image, project: Path, folder: Path) -> Iterator[Running]:
    """Run the image's own command with a project folder as its only writable place."""
    port = find_free_port()
    give_to_user(project, image.config["User"])
    bundle = folder / f"bundle-{port}"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(describe_container(image, project, port)))
    name, state = f"homeostat-{port}", folder / "runc"
    command = ["runc", "--root", str(state), "run", "--bundle", str(bundle), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield Running(name, state, process, f"http://127.0.0.1:{port}")
        finally:
            subprocess.run(["runc", "--root", str(state), "delete", "--force", name], check=True)


def describe_container(image: Image, project: Path, port: int) -> dict[str, Any]:
    """Return the OCI runtime's configuration: the image's own command, user and variables, and nothing more allowed.

    Network: the host's, because the service without keys answers loopback only.
    """
    user, group = map(int, image.config["User"].split(":"))
    variables = [f"HOMEOSTAT_SERVING__PORT={port}", "HOMEOSTAT_SERVING__HOST=127.0.0.1"]
    kept = [variable for variable in image.config["Env"] if not variable.startswith("HOMEOSTAT_SERVING__")]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": [*image.config["Entrypoint"], *image.config["Cmd"]],
            "env": kept + variables,
            "cwd": image.config["WorkingDir"],
            "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "noNewPrivileges": True,
        },
        "root": {"path": str(image.root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/data", "type": "bind", "source": str(project), "options": ["rbind", "rw"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }


def give_to_user(folder: Path, owner: str) -> None:
    """Make a folder and all in it the property of the image's user, as an installer of the volume would."""
    user, group = map(int, owner.split(":"))
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, user, group)


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
