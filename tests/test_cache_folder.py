"""Where the package keeps what it has fetched."""

from __future__ import annotations

import sys
from pathlib import Path

from langchain_cerebras_demo.cache_folder import cache_folder


def test_the_cache_folder_is_the_variable_s_or_the_platform_s(tmp_path, monkeypatch):
    """XDG on Linux (a relative path does not count there), Library/Caches on macOS, LOCALAPPDATA on Windows."""
    home = tmp_path / "home"
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.delenv("CEREBRAS_DEMO_CACHE", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    ours = "langchain-cerebras-demo"
    assert cache_folder() == tmp_path / "xdg" / ours
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == home / ".cache" / ours
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == home / ".cache" / ours
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == home / "Library" / "Caches" / ours
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == home / "AppData" / "Local" / ours
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / ours
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
