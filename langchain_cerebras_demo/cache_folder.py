"""The cache folder, and the list of models that is saved in it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "CEREBRAS_DEMO_CACHE"
"""The environment variable that sets the cache folder."""


def cache_folder() -> Path:
    """Return the folder from ``CEREBRAS_DEMO_CACHE``, else this package's in the user's cache folder. It may not exist yet.

    Raises:
        RuntimeError: the user has no home folder.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return _user_cache_folder() / "langchain-cerebras-demo"


_MODELS = "public_models.json"


def save_models(rows: Iterable[Any], day: date) -> Path:
    """Save the service's public list of models for later processes, and return its file.

    A newer release of this package supersedes the list.

    Args:
        rows: the rows that ``list_models(public=True)`` returns.
        day: the date of the list.

    Raises:
        OSError: the file cannot be written.
        RuntimeError: the user has no home folder.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_MODELS}.part"
    part.write_text(json.dumps({"day": day.isoformat(), "rows": list(rows)}), encoding="utf-8")
    return part.replace(folder / _MODELS)


def saved_models() -> tuple[list[Any], date] | None:
    """Return the saved list of models and its date; ``None`` if there is none or it is damaged."""
    try:
        saved = json.loads((cache_folder() / _MODELS).read_bytes())
        return list(saved["rows"]), date.fromisoformat(saved["day"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


def _user_cache_folder() -> Path:
    """Return the platform's cache folder for the user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (
        chosen if chosen.is_absolute() else Path.home() / ".cache"
    )  # the XDG specification says to ignore a relative path
