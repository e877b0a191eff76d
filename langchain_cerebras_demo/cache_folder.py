"""The folder in which the package keeps what it has fetched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "CEREBRAS_DEMO_CACHE"
"""Names the folder, instead of the platform's."""


def cache_folder() -> Path:
    """Return the folder that ``CEREBRAS_DEMO_CACHE`` names, else one of ours in the user's cache folder. It may not exist.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return _user_cache_folder() / "langchain-cerebras-demo"


def _user_cache_folder() -> Path:
    """Return the platform's folder for a user's caches."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".cache"  # the XDG specification: ignore a relative one
