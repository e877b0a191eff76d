"""A virtual environment a peer, outside the repository: they change each other's versions.

What goes into each is the dependency group ``benchmark-<environment>`` of ``pyproject.toml``. Ours gets the versions that
langchain-cerebras has got, so that both stand on one langchain-core, and runs from the checkout.
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
ENVIRONMENTS = ("langchain-cerebras", "ours", "langchain-openai", "cerebras-cloud-sdk", "pydantic-ai")
_COMES_FIRST = "langchain-cerebras"  # the versions of ours follow from it


def cache_folder() -> Path:
    """Where the environments and the figures of quick runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "langchain-cerebras-demo" / "benchmarks"


def requirements(name: str) -> list[str]:
    """What the environment is made of, from ``pyproject.toml``; ours: what the package itself asks for, besides."""
    import tomllib  # Python 3.11 on: where the benchmark runs, and not where its tests do

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    group = project["dependency-groups"][f"benchmark-{name}"]
    return [*(project["project"]["dependencies"] if name == "ours" else []), *group]


def ensure(names: tuple[str, ...] = ENVIRONMENTS) -> dict[str, Path]:
    """The Python of each environment; made where it is missing or where its requirements have changed."""
    return {name: _ensure(name) for name in sorted(names, key=lambda name: name != _COMES_FIRST)}


def clean_environment(**more: str) -> dict[str, str]:
    """The process environment of a server or a client: no proxy, no key, no tracing, no foreign module path."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
    fixed = {"LANGSMITH_TRACING": "false", "PYTHONHASHSEED": "0", "PYTHONPATH": str(REPOSITORY)}
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **fixed, **more}


def _ensure(name: str) -> Path:
    folder = cache_folder() / f"{name}-py{sys.version_info.major}{sys.version_info.minor}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = requirements(name)
    constraints = _versions_of(_COMES_FIRST) if name == "ours" else []
    mark, fingerprint = folder / "made-of", hashlib.sha256("\n".join([*wanted, *constraints]).encode()).hexdigest()
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
