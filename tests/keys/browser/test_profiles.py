"""Which profiles there are: of every browser, wherever the user or a packager has put them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from langchain_cerebras_demo.keys.browser.profiles import Profile, find_profiles

CHROMIUM_FOLDERS = {
    ".config/google-chrome": "Chrome",
    ".config/google-chrome-beta": "Chrome",
    ".var/app/com.google.Chrome/config/google-chrome": "Chrome",
    ".config/chromium": "Chromium",
    "snap/chromium/common/chromium": "Chromium",
    ".var/app/org.chromium.Chromium/config/chromium": "Chromium",
    ".config/BraveSoftware/Brave-Browser": "Brave",
    "snap/brave/current/.config/BraveSoftware/Brave-Browser": "Brave",
    ".config/microsoft-edge": "Edge",
    ".config/vivaldi": "Vivaldi",
    ".config/opera": "Opera",
    "snap/opera/current/.config/opera": "Opera",
}
FIREFOX_FOLDERS = {
    ".config/mozilla/firefox": "Firefox",
    ".mozilla/firefox": "Firefox",
    "snap/firefox/common/.mozilla/firefox": "Firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox": "Firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox": "Firefox",
    ".librewolf": "LibreWolf",
    ".config/librewolf/librewolf": "LibreWolf",
    ".var/app/io.gitlab.librewolf-community/.librewolf": "LibreWolf",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A Linux user's empty home."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def found():
    return [(profile.browser, profile.name) for profile in find_profiles()]


def test_a_home_without_browsers_has_no_profiles():
    """An empty home is no error."""
    assert find_profiles() == []


@pytest.mark.parametrize("folder", CHROMIUM_FOLDERS)
def test_each_chromium_is_found_where_it_keeps_its_profiles(home, folder):
    """Debian's, snap's and flatpak's folders, all channels."""
    database = put(home / folder / "Profile 1" / "Cookies")
    assert find_profiles() == [Profile(CHROMIUM_FOLDERS[folder], "chromium", "Profile 1", database)]


@pytest.mark.parametrize("folder", FIREFOX_FOLDERS)
def test_each_firefox_is_found_where_it_keeps_its_profiles(home, folder):
    """The old folder and that of the XDG rules, snap's and flatpak's."""
    database = put(home / folder / "abc.default-release" / "cookies.sqlite")
    assert find_profiles() == [Profile(FIREFOX_FOLDERS[folder], "firefox", "abc.default-release", database)]


@pytest.mark.parametrize("name", sorted(set(CHROMIUM_FOLDERS.values()) | {"Arc"}))
def test_each_chromium_is_called_as_the_decryptor_calls_it(name):
    """Its class there knows the name of its key in the keyring."""
    module = pytest.importorskip("browser_cookie3", reason="the extra `browser` is not installed")
    assert isinstance(getattr(module, name), type)


def test_the_folder_of_configurations_is_the_environments(home, monkeypatch):
    """XDG_CONFIG_HOME goes before ~/.config; an empty one counts as none."""
    put(home / ".config" / "chromium" / "Default" / "Cookies")
    put(home / "elsewhere" / "chromium" / "Profile 2" / "Cookies")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert found() == [("Chromium", "Profile 2")]
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    assert found() == [("Chromium", "Default")]


def test_all_profiles_of_a_chromium_are_found_and_nothing_that_is_none(home):
    """Default and the numbered ones, in either place of the file; system and guest folders are nobody's."""
    root = home / ".config" / "chromium"
    for name in ("Default", "Profile 1", "Profile 12"):
        put(root / name / "Cookies")
    put(root / "Profile 3" / "Network" / "Cookies")
    for name in ("Guest Profile", "System Profile", "Crashpad", "Default.old"):
        put(root / name / "Cookies")
    (root / "Profile 4").mkdir()
    (root / "Profile 5" / "Cookies").mkdir(parents=True)
    put(root / "Profile 6")
    assert sorted(found()) == [("Chromium", name) for name in ("Default", "Profile 1", "Profile 12", "Profile 3")]


def test_a_profile_in_the_root_itself_is_found(home):
    """Opera's way."""
    put(home / ".config" / "opera" / "Cookies")
    assert [profile.browser for profile in find_profiles()] == ["Opera"]


def test_profiles_that_the_ini_names_elsewhere_are_found(home):
    """By an absolute path, and by one that leads out of the folder."""
    root = home / ".mozilla" / "firefox"
    put(root / "here.default" / "cookies.sqlite")
    absolute = put(home / "disk" / "far.work" / "cookies.sqlite").parent
    put(home / ".mozilla" / "near.home" / "cookies.sqlite")
    (root / "profiles.ini").write_text(
        f"[General]\nVersion=2\n[Profile0]\nName=a\nIsRelative=1\nPath=here.default\n"
        f"[Profile1]\nName=b\nIsRelative=0\nPath={absolute}\n"
        f"[Profile2]\nName=c\nIsRelative=1\nPath=../near.home\n"
        f"[Profile3]\nName=d\nIsRelative=1\nPath=gone\n[Install4F96D1932A9F858E]\nDefault=here.default\nLocked=1\n",
        encoding="utf-8",
    )
    assert found() == [("Firefox", "here.default"), ("Firefox", "far.work"), ("Firefox", "near.home")]


def test_profiles_in_a_folder_of_their_own_are_found(home):
    """``Profiles``, as on macOS and Windows."""
    put(home / ".mozilla" / "firefox" / "Profiles" / "x.default" / "cookies.sqlite")
    assert found() == [("Firefox", "x.default")]


@pytest.mark.parametrize(
    "ini",
    [
        b"Path without a section",
        b"[Profile0]\n\xff\xfe\x00",
        b"[Profile0]\nPath=%(x)s\n[Profile0]\nPath=twice\n",
        b"[Profile0]\nPath=a\0b\n",
        b"[Profile0]\nPath=" + b"x" * 5000,
        b"[Profile0\n",
        b"\0" * 4096,
        b"",
    ],
)
def test_a_broken_ini_hides_no_profile(home, ini):
    """The folders speak for themselves."""
    put(home / ".mozilla" / "firefox" / "x.default" / "cookies.sqlite")
    (home / ".mozilla" / "firefox" / "profiles.ini").write_bytes(ini)
    assert found() == [("Firefox", "x.default")]


def test_rubbish_in_the_folders_is_passed_by(home):
    """Files for folders, folders for files, dead links, links in a circle, odd names."""
    root = home / ".mozilla" / "firefox"
    put(root / "a file")
    (root / "folder.default" / "cookies.sqlite").mkdir(parents=True)
    (root / "circle").symlink_to(root / "circle")
    (root / "dead").symlink_to(home / "nowhere")
    (root / "profiles.ini").mkdir()
    put(root / "\udcff\n.default" / "cookies.sqlite")
    put(home / ".config" / "chromium")
    (home / "snap" / "chromium").mkdir(parents=True)
    (home / "snap" / "chromium" / "common").symlink_to(home / "snap" / "chromium" / "common")
    assert found() == [("Firefox", "\udcff\n.default")]


def test_a_database_that_is_a_link_is_listed(home):
    """It is refused when it is read, with a reason, and not left out in silence."""
    link = home / ".config" / "chromium" / "Default" / "Cookies"
    link.parent.mkdir(parents=True)
    link.symlink_to(home / "nowhere")
    assert found() == [("Chromium", "Default")]


def test_one_file_is_one_profile_whichever_way_leads_there(home):
    """A folder that is linked to its old place is not read twice."""
    put(home / ".config" / "mozilla" / "firefox" / "x.default" / "cookies.sqlite")
    (home / ".mozilla").symlink_to(home / ".config" / "mozilla")
    assert len(find_profiles()) == 1


def test_a_folder_that_nobody_may_look_into_is_passed_by(home, monkeypatch):
    """Root may look everywhere, so the refusal is played."""
    put(home / ".config" / "chromium" / "Default" / "Cookies")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert find_profiles() == []
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert find_profiles() == []


def test_a_user_without_a_home_has_no_profiles(monkeypatch):
    """In a container whose user has no name."""

    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    assert find_profiles() == []


def test_the_folders_of_macos(home, monkeypatch):
    """Below ~/Library/Application Support."""
    support = home / "Library" / "Application Support"
    put(support / "Google" / "Chrome" / "Default" / "Cookies")
    put(support / "Arc" / "User Data" / "Profile 1" / "Network" / "Cookies")
    put(support / "Firefox" / "Profiles" / "x.default" / "cookies.sqlite")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert found() == [("Firefox", "x.default"), ("Chrome", "Default"), ("Arc", "Profile 1")]


def test_the_folders_of_windows(home, monkeypatch):
    """Below the two folders of the environment; the store's Firefox has a package name with a hash."""
    local, roaming = home / "local", home / "roaming"
    put(local / "Google" / "Chrome" / "User Data" / "Default" / "Network" / "Cookies")
    put(roaming / "Opera Software" / "Opera Stable" / "Network" / "Cookies")
    put(roaming / "Mozilla" / "Firefox" / "Profiles" / "x.default" / "cookies.sqlite")
    store = local / "Packages" / "Mozilla.Firefox_n80bbvh6b1yt2" / "LocalCache" / "Roaming" / "Mozilla" / "Firefox"
    put(store / "Profiles" / "y.default" / "cookies.sqlite")
    monkeypatch.setenv("APPDATA", str(roaming))
    monkeypatch.setenv("LOCALAPPDATA", str(local))
    monkeypatch.setattr(sys, "platform", "win32")
    assert found() == [
        ("Firefox", "x.default"),
        ("Firefox", "y.default"),
        ("Chrome", "Default"),
        ("Opera", "Opera Stable"),
    ]


def test_a_profile_names_itself():
    """Browser and folder, as in messages."""
    assert str(Profile("Chrome", "chromium", "Profile 1", Path("x"))) == "Chrome, profile Profile 1"
