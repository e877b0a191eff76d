"""One virtual environment for each peer, outside the repository, because they need different versions of the same packages.

The dependency group ``benchmark-<environment>`` of ``pyproject.toml`` says what is installed. Our own environment gets the
versions of langchain-cerebras's, so that both use the same langchain-core, and runs the package from the checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("langchain-cerebras", "ours", "langchain-openai", "cerebras-cloud-sdk", "pydantic-ai", "lm15")
_COMES_FIRST = "langchain-cerebras"  # our own versions follow from it


def cache_folder() -> Path:
    """Return the folder of the environments and of the results of quick runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "langchain-cerebras-demo" / "benchmarks"


def requirements(name: str) -> list[str]:
    """Return the requirements of an environment, from ``pyproject.toml``; our own has the package's dependencies too."""
    import tomllib  # Python 3.11 or newer, which the benchmarks need and their tests do not

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    group = project["dependency-groups"][f"benchmark-{name}"]
    return [*(project["project"]["dependencies"] if name == "ours" else []), *group]


def ensure(names: tuple[str, ...] = ENVIRONMENTS, *, newest: bool = False) -> dict[str, Path]:
    """Return the Python of each environment, which is made if it is missing or its requirements have changed.

    Args:
        names: Of the environments.
        newest: Whether to make all of them anew, so that they have the newest versions.
    """
    if newest:
        for name in names:
            _mark(name).unlink(missing_ok=True)
    return {name: _ensure(name) for name in sorted(names, key=lambda name: name != _COMES_FIRST)}


def clean_environment(**more: str) -> dict[str, str]:
    """Return the process environment of a server or a client: no proxy, no key, no tracing, no other module path."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
    fixed = {"LANGSMITH_TRACING": "false", "PYTHONHASHSEED": "0", "PYTHONPATH": str(REPOSITORY)}
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **fixed, **more}


def _mark(name: str) -> Path:
    """Return the file that says what an environment was made of."""
    return cache_folder() / f"{name}-py{sys.version_info.major}{sys.version_info.minor}" / "made-of"


def _ensure(name: str) -> Path:
    mark = _mark(name)
    folder = mark.parent
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = requirements(name)
    constraints = _versions_of(_COMES_FIRST) if name == "ours" else []
    fingerprint = hashlib.sha256("\n".join([*wanted, *constraints]).encode()).hexdigest()
    if mark.is_file() and mark.read_text() == fingerprint:
        return python
    print(f"making the environment {name}: {', '.join(wanted)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    listed = folder / "constraints.txt"
    listed.write_text("\n".join(constraints))
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "--constraint", str(listed), *wanted], check=True)
    mark.write_text(fingerprint)
    return python


def _versions_of(name: str) -> list[str]:
    done = subprocess.run(
        [str(_ensure(name)), "-m", "pip", "freeze"], check=True, capture_output=True, text=True, env=clean_environment()
    )
    return done.stdout.split()
