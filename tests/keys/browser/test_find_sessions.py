"""All browsers at once: the newest session first, what was passed over with the reason, and never an exception."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from langchain_cerebras_demo.keys import browser as module
from langchain_cerebras_demo.keys.browser import BrowserSession, find_sessions
from tests.keys.browser import test_firefox as firefox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folders are those of Linux")

NAME = "__Secure-next-auth.session-token"
NOTHING = "no cookies of cerebras.ai that are still valid"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, and a folder for temporary files that is empty at the end."""
    for name in ("XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    temporary = tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield folder
    assert list(temporary.iterdir()) == []


def put_firefox(home, name, *rows):
    firefox.write_firefox(home / ".mozilla" / "firefox" / name / "cookies.sqlite", *rows).close()


@pytest.fixture
def chromium():
    """The writer of the other family's stores."""
    pytest.importorskip("browser_cookie3", reason="the extra `browser` is not installed")
    from tests.keys.browser import test_chromium

    return test_chromium


def summary(found):
    return [(session.browser, session.profile, session.cookies) for session in found.sessions]


def test_without_a_browser_nothing_is_found():
    """And nothing was passed over."""
    found = find_sessions()
    assert (found.sessions, found.passed_over) == ([], [])


def test_of_several_profiles_the_newest_comes_first(home, chromium):
    """By when the browser last used a cookie of ours, whatever its name and family."""
    put_firefox(home, "old.default", firefox.row("old", used=1_600_000_000))
    put_firefox(home, "new.default", firefox.row("new", used=1_700_000_000))
    middle = chromium.row("middle", used=1_650_000_000)
    chromium.write_chromium(home / ".config" / "chromium" / "Default" / "Cookies", middle)
    assert summary(find_sessions()) == [
        ("Firefox", "new.default", {NAME: "new"}),
        ("Chromium", "Default", {NAME: "middle"}),
        ("Firefox", "old.default", {NAME: "old"}),
    ]


def test_each_container_is_a_session_of_its_own(home):
    """And named as one."""
    rows = [
        firefox.row("outside", used=3),
        firefox.row("work", used=2, attributes="^userContextId=2"),
        firefox.row("of a page", used=4, attributes="^partitionKey=%28https%2Cevil.test%29"),
    ]
    put_firefox(home, "x.default", *rows)
    assert summary(find_sessions()) == [
        ("Firefox", "x.default", {NAME: "outside"}),
        ("Firefox", "x.default, container 2", {NAME: "work"}),
    ]


def test_where_one_is_signed_in_the_others_are_not_decrypted(home, chromium, monkeypatch):
    """A session is known by its cookie's name, before any keyring is asked."""
    store = home / ".config" / "chromium" / "Default" / "Cookies"
    chromium.write_chromium(store, chromium.row("x", name="_ga"))
    put_firefox(home, "x.default", firefox.row("signed in"))
    monkeypatch.setattr(module.chromium, "decrypt", lambda *_: pytest.fail("it was decrypted"))
    assert summary(find_sessions()) == [("Firefox", "x.default", {NAME: "signed in"})]


def test_where_no_name_is_known_all_are_given(home, chromium):
    """The site may call its cookie otherwise one day."""
    chromium.write_chromium(home / ".config" / "chromium" / "Default" / "Cookies", chromium.row("x", name="sid"))
    put_firefox(home, "x.default", firefox.row("y", name="other"))
    assert sorted(session.browser for session in find_sessions().sessions) == ["Chromium", "Firefox"]


def test_what_gave_nothing_is_listed_with_the_reason(home, chromium):
    """Nothing of ours, expired, locked to the browser, no database, a link."""
    put_firefox(home, "a.empty")
    put_firefox(home, "b.expired", firefox.row(expiry=1))
    (home / ".mozilla" / "firefox" / "c.text").mkdir()
    (home / ".mozilla" / "firefox" / "c.text" / "cookies.sqlite").write_text("no database", encoding="utf-8")
    (home / ".mozilla" / "firefox" / "d.link").mkdir()
    (home / ".mozilla" / "firefox" / "d.link" / "cookies.sqlite").symlink_to("/etc/hostname")
    locked = chromium.row(encrypted_value=b"v20" + b"x" * 60)
    chromium.write_chromium(home / ".config" / "google-chrome" / "Default" / "Cookies", locked)
    empty = chromium.row(encrypted_value=b"v20")
    chromium.write_chromium(home / ".config" / "chromium" / "Default" / "Cookies", empty)
    found = find_sessions()
    assert found.sessions == []
    why = dict(found.passed_over)
    assert len(why) == len(found.passed_over) == 6
    assert why["Firefox, profile a.empty"] == why["Firefox, profile b.expired"] == NOTHING
    assert why["Chromium, profile Default"] == NOTHING
    assert "cannot be read as a database" in why["Firefox, profile c.text"]
    assert "is a link out of its profile" in why["Firefox, profile d.link"]
    assert "app-bound encryption" in why["Chrome, profile Default"]


def test_a_home_full_of_rubbish_raises_nothing(home):
    """Whatever lies in a browser's folder, the good profile among it is read."""
    put_firefox(home, "good.default", firefox.row("good"))
    for number, content in enumerate([b"", b"\0" * 100, b"SQLite format 3\0", b"SQLite format 3\0" + os.urandom(5000)]):
        for file in (f".mozilla/firefox/{number}.x/cookies.sqlite", f".config/chromium/Profile {number}/Cookies"):
            path = home / file
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
            Path(f"{path}-wal").write_bytes(content[::-1])
    os.mkfifo(home / ".mozilla" / "firefox" / "pipe")
    found = find_sessions()
    assert summary(found) == [("Firefox", "good.default", {NAME: "good"})]
    assert len(found.passed_over) == 8


def test_a_value_with_line_breaks_is_left_out_and_costs_no_session(home):
    """No header can carry it; the session beside it is good."""
    rows = [firefox.row("good"), firefox.row("a\r\nX-Evil: 1", name="odd"), firefox.row("é", name="preference")]
    put_firefox(home, "x.default", *rows)
    assert summary(find_sessions()) == [("Firefox", "x.default", {NAME: "good"})]


def test_a_file_that_may_not_be_read_is_listed(home, monkeypatch):
    """By the system's word; the other profiles are read."""
    put_firefox(home, "x.default", firefox.row())
    put_firefox(home, "y.default", firefox.row("other"))
    plain = module.firefox.read_jars

    def read(profile):
        if profile.name == "x.default":
            raise OSError(5, "Input/output error")
        return plain(profile)

    monkeypatch.setattr(module.firefox, "read_jars", read)
    found = find_sessions()
    assert summary(found) == [("Firefox", "y.default", {NAME: "other"})]
    assert found.passed_over == [("Firefox, profile x.default", "it cannot be read (Input/output error)")]


def test_look_alike_hosts_give_no_session(home):
    """Though they have the session's own name and were used last."""
    hosts = ("cerebras.ai.evil.test", "notcerebras.ai", "api.cerebras.ai", "cerebras.ai")
    put_firefox(home, "x.default", *(firefox.row("evil", host=host) for host in hosts))
    assert find_sessions().passed_over == [("Firefox, profile x.default", NOTHING)]


def test_the_whole_home_is_left_as_it_was(home, chromium):
    """No file is made, changed or touched, in either family."""
    chromium.write_chromium(home / ".config" / "chromium" / "Default" / "Cookies", chromium.row())
    with closing(firefox.write_firefox(home / ".mozilla/firefox/x.default/cookies.sqlite", firefox.row())):
        before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")}
        assert len(find_sessions().sessions) == 2
        assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")} == before


def test_a_locked_database_is_read_at_once(home, chromium):
    """The browser may be writing."""
    store = home / ".config" / "chromium" / "Default" / "Cookies"
    chromium.write_chromium(store, chromium.row("kept"))
    with closing(sqlite3.connect(store)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert summary(find_sessions()) == [("Chromium", "Default", {NAME: "kept"})]
        writer.rollback()


def test_a_session_shows_no_cookie():
    """Not in ``repr`` and not in ``str``; it names the browser and the profile."""
    session = BrowserSession("Firefox", "x.default", {NAME: "never-shown"}, 1.0)
    assert "never-shown" not in repr(session) + str(session)
    assert str(session) == "Firefox, profile x.default"
