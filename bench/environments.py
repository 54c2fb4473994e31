"""The environments of the peers: what they need does not go together with what we need.

Not here: which peers there are (`bench.contestants`, `bench.drift_check`).
"""

import subprocess
import sys
from pathlib import Path


def install(requirements: Path, environment: Path) -> None:
    """Make an environment from a file of requirements, unless it is there and was made from the same ones."""
    ready, python = environment / "ready", environment / "bin" / "python"
    if ready.exists() and ready.read_bytes() == requirements.read_bytes():
        return
    print(f"Installing {requirements.name} into {environment.name} (once, one to two minutes) ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    command = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(requirements)]
    subprocess.run([str(python), *command], check=True)
    ready.write_bytes(requirements.read_bytes())
