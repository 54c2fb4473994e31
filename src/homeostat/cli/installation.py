"""What `homeostat doctor` finds installed: versions, extras, platform, and the revision of a clone.

Not here: anything of a project.
"""

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from homeostat.cli.findings import Finding, Findings, State

GROUP = "installed"
CORE = ""
TIMEOUT_S = 5


def look_at_installation() -> Findings:
    """Find what is installed."""
    words = f"Homeostat {version('homeostat')}{name_revision()}, Python {platform.python_version()}"
    yield Finding(GROUP, "homeostat", "ok", f"{words} on {platform.platform(terse=True)}, {platform.machine()}.")
    yield look_at_libraries(CORE, "wrong", "nothing runs")
    yield look_at_libraries("train", "warning", "only the service runs, no `init`, `train`, `loop` or `tick`")
    yield look_at_libraries("mlflow-ui", "ok", "no pages of MLflow, `homeostat runs --ui`")


def look_at_libraries(extra: str, lacking: State, without: str) -> Finding:
    """Find whether the libraries of an extra, or those that are always needed, are there, and in which versions."""
    found: dict[str, str] = {}
    missing = []
    for name in list_libraries(extra):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    label = f"extra {extra}" if extra else "libraries"
    if not found and not missing:
        return Finding(GROUP, label, "ok", "this installation does not know of it.", "install Homeostat again")
    if not missing:
        return Finding(GROUP, label, "ok", f"{', '.join(f'{name} {v}' for name, v in found.items())}.")

    package = f"homeostat[{extra}]" if extra else "homeostat"
    sentence = f"{', '.join(missing)} not installed: {without}."
    return Finding(GROUP, label, lacking, sentence, f"pip install '{package}'")


def list_libraries(extra: str) -> list[str]:
    """Return the names of the libraries that an extra asks for, `CORE` for those that are always needed."""
    found = []
    for line in requires("homeostat") or ():
        asked = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if name and (asked[1] if asked else CORE) == extra:
            found.append(name[0])
    return found


def name_revision() -> str:
    """Return the revision of the clone that this runs from in brackets, empty if it is installed."""
    root, git = Path(__file__).parents[3], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ""
    command = [git, "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # noqa: S603  git
    return f" (revision {done.stdout.strip()})" if done.returncode == 0 else ""
