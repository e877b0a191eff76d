"""Where browsers keep their cookies: every profile of every installed browser of this user.

The folders are those of yt-dlp's ``cookies.py`` and browser_cookie3 (read as knowledge), with snap, flatpak and the XDG
folder that Firefox uses from version 147 on. Tested on Linux, not on macOS and Windows.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Family = Literal["chromium", "firefox"]


@dataclass(frozen=True)
class Profile:
    """One profile of one browser.

    Args:
        browser: its display name; in Chromium's family also the name of browser_cookie3's class for it.
        family: the reader that supports it.
        name: the profile's folder.
        database: its cookie database.
    """

    browser: str
    family: Family
    name: str
    database: Path

    def __str__(self) -> str:
        return f"{self.browser}, profile {self.name}"


# ~ is the home folder, $C the folder for configurations, $L the one for local data on Windows.
_CHROMIUM_LINUX: Sequence[tuple[str, Sequence[str]]] = (
    (
        "Chrome",
        (
            "$C/google-chrome",
            "$C/google-chrome-beta",
            "$C/google-chrome-unstable",
            "~/.var/app/com.google.Chrome/config/google-chrome",
        ),
    ),
    (
        "Chromium",
        (
            "$C/chromium",
            "~/snap/chromium/common/chromium",
            "~/.var/app/org.chromium.Chromium/config/chromium",
        ),
    ),
    (
        "Brave",
        (
            "$C/BraveSoftware/Brave-Browser",
            "$C/BraveSoftware/Brave-Browser-Beta",
            "$C/BraveSoftware/Brave-Browser-Nightly",
            "~/snap/brave/current/.config/BraveSoftware/Brave-Browser",
            "~/.var/app/com.brave.Browser/config/BraveSoftware/Brave-Browser",
        ),
    ),
    (
        "Edge",
        (
            "$C/microsoft-edge",
            "$C/microsoft-edge-beta",
            "$C/microsoft-edge-dev",
            "~/.var/app/com.microsoft.Edge/config/microsoft-edge",
        ),
    ),
    (
        "Vivaldi",
        ("$C/vivaldi", "$C/vivaldi-snapshot", "~/.var/app/com.vivaldi.Vivaldi/config/vivaldi"),
    ),
    (
        "Opera",
        (
            "$C/opera",
            "$C/opera-beta",
            "$C/opera-developer",
            "~/snap/opera/current/.config/opera",
            "~/.var/app/com.opera.Opera/config/opera",
        ),
    ),
)
_CHROMIUM_MACOS: Sequence[tuple[str, Sequence[str]]] = (
    ("Chrome", ("$C/Google/Chrome", "$C/Google/Chrome Beta", "$C/Google/Chrome Dev")),
    ("Chromium", ("$C/Chromium",)),
    ("Brave", ("$C/BraveSoftware/Brave-Browser",)),
    ("Edge", ("$C/Microsoft Edge",)),
    ("Vivaldi", ("$C/Vivaldi",)),
    ("Opera", ("$C/com.operasoftware.Opera",)),
    ("Arc", ("$C/Arc/User Data",)),
)
_CHROMIUM_WINDOWS: Sequence[tuple[str, Sequence[str]]] = (
    ("Chrome", ("$L/Google/Chrome/User Data", "$L/Google/Chrome Beta/User Data")),
    ("Chromium", ("$L/Chromium/User Data",)),
    ("Brave", ("$L/BraveSoftware/Brave-Browser/User Data",)),
    ("Edge", ("$L/Microsoft/Edge/User Data",)),
    ("Vivaldi", ("$L/Vivaldi/User Data",)),
    ("Opera", ("$C/Opera Software/Opera Stable",)),
)
_FIREFOX_LINUX = (
    ("Firefox", "$C/mozilla/firefox"),
    ("Firefox", "~/.mozilla/firefox"),
    ("Firefox", "~/snap/firefox/common/.mozilla/firefox"),
    ("Firefox", "~/.var/app/org.mozilla.firefox/.mozilla/firefox"),
    ("Firefox", "~/.var/app/org.mozilla.firefox/config/mozilla/firefox"),
    ("LibreWolf", "$C/librewolf/librewolf"),
    ("LibreWolf", "~/.librewolf"),
    ("LibreWolf", "~/.var/app/io.gitlab.librewolf-community/.librewolf"),
)
_FIREFOX_MACOS = (("Firefox", "$C/Firefox"), ("LibreWolf", "$C/librewolf"))
_FIREFOX_WINDOWS = (
    ("Firefox", "$C/Mozilla/Firefox"),
    ("Firefox", "$L/Packages/Mozilla.Firefox_*/LocalCache/Roaming/Mozilla/Firefox"),
    ("LibreWolf", "$C/librewolf"),
)


def find_profiles() -> list[Profile]:
    """Return all profiles with a cookie database, without opening any. The environment's folders are read again each time."""
    chromium, firefox = {
        "darwin": (_CHROMIUM_MACOS, _FIREFOX_MACOS),
        "win32": (_CHROMIUM_WINDOWS, _FIREFOX_WINDOWS),
    }.get(sys.platform, (_CHROMIUM_LINUX, _FIREFOX_LINUX))
    found = [
        Profile(browser, "firefox", folder.name, folder / "cookies.sqlite")
        for browser, pattern in firefox
        for root in _expand(pattern)
        for folder in _firefox_folders(root)
    ]
    for browser, patterns in chromium:
        for root in _expand(*patterns):
            found += [
                Profile(browser, "chromium", folder.name, database) for folder, database in _chromium_databases(root)
            ]
    return list({_identity(profile.database): profile for profile in found}.values())


def _expand(*patterns: str) -> Iterator[Path]:
    try:
        home = Path.home()
    except RuntimeError:  # in a container, the user may have no name
        return
    config = {
        "darwin": home / "Library" / "Application Support",
        "win32": Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming"),
    }.get(sys.platform, Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config"))
    local = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    for pattern in patterns:
        start, _, rest = pattern.partition("/")
        yield from sorted({"~": home, "$C": config, "$L": local}[start].glob(rest))


def _firefox_folders(root: Path) -> Iterable[Path]:
    """Return the profiles below ``root``, and those that its ``profiles.ini`` names elsewhere."""
    ini = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        ini.read(root / "profiles.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        ini.clear()  # the folders below root are enough
    named = (root / section["Path"] for section in ini.values() if section.get("Path"))
    return (
        folder
        for folder in (*_listed(root), *_listed(root / "Profiles"), *named)
        if _has_file(folder / "cookies.sqlite")
    )


def _chromium_databases(root: Path) -> Iterator[tuple[Path, Path]]:
    # Opera's only profile is the root itself. Newer versions on Windows keep the file in Network/.
    for folder in (root, *(one for one in _listed(root) if one.name == "Default" or one.name.startswith("Profile "))):
        files = (folder / "Network" / "Cookies", folder / "Cookies")
        yield from ((folder, file) for file in files if _has_file(file))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _has_file(path: Path) -> bool:
    try:
        return path.is_file() or path.is_symlink()
    except OSError:
        return False  # a folder that this user may not read


def _identity(path: Path) -> str:
    """Return the file's real path: different paths may lead to the same profile."""
    return os.path.realpath(path)
