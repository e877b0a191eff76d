"""The folder in which the package keeps what it has fetched, and the list of models in it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

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


_MODELS = "public_models.json"


def save_models(rows: Iterable[Any], day: date) -> None:
    """Keep the service's public list of models, where later processes find it. A release of the package with newer facts supersedes it.

    Args:
        rows: as ``list_models(public=True)`` returns them.
        day: the day of the list.

    Raises:
        OSError: The file cannot be written.
        RuntimeError: The user has no home folder.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_MODELS}.part"
    part.write_text(json.dumps({"day": day.isoformat(), "rows": list(rows)}), encoding="utf-8")
    part.replace(folder / _MODELS)


def saved_models() -> tuple[list[Any], date] | None:
    """Return the list of models that was kept and its day; ``None`` where there is none, or a damaged one."""
    try:
        saved = json.loads((cache_folder() / _MODELS).read_bytes())
        return list(saved["rows"]), date.fromisoformat(saved["day"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


def _user_cache_folder() -> Path:
    """Return the platform's folder for a user's caches."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".cache"  # the XDG specification: ignore a relative one
