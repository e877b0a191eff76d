"""A Python of its own for what can only be seen from outside: exits, forks, signals."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["STRICT", "environment", "run_python"]

ROOT = Path(__file__).parents[2]
STRICT = ("-X", "dev", "-W", "error")
"""Every warning, of the interpreter's last moments too, becomes words on stderr."""


def environment(**variables: str) -> dict[str, str]:
    """This process' environment without proxies and keys, with the package importable, and with ``variables``."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "_API_KEY" not in name}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def run_python(code: str, *arguments: str, flags: tuple[str, ...] = STRICT) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` to its end, which has to come within 30 seconds."""
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(),
    )
