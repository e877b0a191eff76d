"""Firefox's store: its newest cookies, in its units of time, container by container."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from langchain_cerebras_demo.keys.browser.database import UnreadableError
from langchain_cerebras_demo.keys.browser.firefox import read_jars
from langchain_cerebras_demo.keys.browser.profiles import Profile
from langchain_cerebras_demo.keys.cookies import HOSTS, is_expired

NAME = "__Secure-next-auth.session-token"
HOST = "inference.cerebras.ai"
FUTURE = 4_000_000_000  # Unix time in seconds: the year 2096
USED = 1_700_000_000

# As Firefox 140 makes it.
SCHEMA = """CREATE TABLE moz_cookies (id INTEGER PRIMARY KEY, originAttributes TEXT NOT NULL DEFAULT '', name TEXT,
  value TEXT, host TEXT, path TEXT, expiry INTEGER, lastAccessed INTEGER, creationTime INTEGER, isSecure INTEGER,
  isHttpOnly INTEGER, inBrowserElement INTEGER DEFAULT 0, sameSite INTEGER DEFAULT 0, schemeMap INTEGER DEFAULT 0,
  isPartitionedAttributeSet INTEGER DEFAULT 0, updateTime INTEGER,
  CONSTRAINT moz_uniqueid UNIQUE (name, host, path, originAttributes))"""


def row(value="firefox-token", *, name=NAME, host=HOST, path="/", expiry=FUTURE, used=USED, attributes=""):
    """A row of ``moz_cookies``; both times are Unix times in seconds."""
    return {
        "value": value,
        "name": name,
        "host": host,
        "path": path,
        "expiry": expiry,
        "lastAccessed": used * 1_000_000 if isinstance(used, int | float) else used,
        "originAttributes": attributes,
        "isSecure": 1,
        "isHttpOnly": 1,
    }


def write_firefox(file, *rows, version=17):
    """Writes a store as a running Firefox has it; the connection that is given back holds its log open."""
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute(f"PRAGMA user_version={version}")
    connection.execute(SCHEMA)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for one in rows:
        facts = {**one}
        if version >= 16 and isinstance(facts["expiry"], int | float):
            facts["expiry"] *= 1000
        marks = ", ".join(f":{column}" for column in facts)
        connection.execute(f"INSERT INTO moz_cookies ({', '.join(facts)}) VALUES ({marks})", facts)
    connection.commit()
    return connection


@pytest.fixture
def profile(tmp_path):
    return Profile("Firefox", "firefox", "x.default", tmp_path / "x.default" / "cookies.sqlite")


def values(jars):
    return {container: [cookie.value for cookie in cookies] for container, cookies in jars.items()}


def test_the_cookies_of_a_running_firefox_stand_in_its_log_and_are_read(profile):
    """The file itself knows nothing of them yet."""
    with closing(write_firefox(profile.database, row())):
        assert b"firefox-token" not in profile.database.read_bytes()
        assert values(read_jars(profile)) == {"": ["firefox-token"]}


def test_the_cookies_of_a_closed_firefox_are_read(profile):
    """Then they stand in the file, and there is no log."""
    write_firefox(profile.database, row()).close()
    assert [path.name for path in profile.database.parent.iterdir()] == ["cookies.sqlite"]
    assert values(read_jars(profile)) == {"": ["firefox-token"]}


@pytest.mark.parametrize("version", [15, 16, 17])
def test_an_expiry_is_read_in_the_unit_of_its_version(profile, version):
    """Seconds until version 15 of the schema, milliseconds since: one that is over is over."""
    now = int(time.time())
    rows = [row("good", name="a", expiry=now + 60), row("over", name="b", expiry=now - 60)]
    with closing(write_firefox(profile.database, *rows, version=version)):
        (cookies,) = read_jars(profile).values()
    assert [cookie.expires for cookie in cookies] == [now + 60, now - 60]
    assert [is_expired(cookie, now) for cookie in cookies] == [False, True]
    assert [cookie.last_used for cookie in cookies] == [USED, USED]


def test_only_the_rows_of_our_hosts_are_read(profile):
    """Whole hosts are compared, in Firefox's own spelling."""
    others = ["cerebras.ai", "api.cerebras.ai", "notcerebras.ai", "cerebras.ai.evil.test", "evil.test", "%", ""]
    rows = [row(host, host=host) for host in (*HOSTS, *others)]
    with closing(write_firefox(profile.database, *rows)):
        assert values(read_jars(profile)) == {"": list(HOSTS)}


def test_containers_are_told_apart_and_partitions_left_out(profile):
    """One name in several places: each container is a jar; a page's own and a private window's cookies are nobody's."""
    kept = {"": "plain", "^userContextId=2": "work", "^userContextId=3": "home", "^firstPartyDomain=cerebras.ai": "fpi"}
    dropped = (
        "^partitionKey=%28https%2Cevil.test%29",
        "^partitionKey=%28https%2Ccerebras.ai%29",
        "^userContextId=2&partitionKey=%28https%2Cevil.test%29",
        "^privateBrowsingId=1",
        "^firstPartyDomain=evil.test",
        "^somethingNew=1",
    )
    rows = [row(value, attributes=attributes) for attributes, value in kept.items()]
    rows += [row("dropped", attributes=attributes) for attributes in dropped]
    with closing(write_firefox(profile.database, *rows)):
        assert values(read_jars(profile)) == {"": ["plain", "fpi"], "2": ["work"], "3": ["home"]}


@pytest.mark.parametrize(
    "bad",
    [
        {"value": None},
        {"value": b"\xff\x00"},
        {"name": b"bytes"},
        {"name": None},
        {"path": None},
        {"path": b"/"},
        {"expiry": None},
        {"expiry": "soon"},
        {"expiry": b"1"},
        {"used": None},
        {"used": "late"},
        {"attributes": b"^userContextId=1"},
        {"attributes": "^" + "&" * 100_000 + "%%%=;"},
    ],
)
def test_a_bad_row_among_good_ones_is_left_out(profile, bad):
    """It costs no other."""
    with closing(write_firefox(profile.database, row(**{"name": "bad", **bad}), row())):
        assert values(read_jars(profile)) in ({"": ["firefox-token"]}, {"": ["firefox-token", "firefox-token"]})
        assert NAME in [cookie.name for cookie in read_jars(profile)[""]]


def test_a_text_that_is_no_utf8_spoils_only_itself(profile):
    """SQLite stores any bytes as a text."""
    with closing(write_firefox(profile.database, row())) as connection:
        connection.execute(
            "INSERT INTO moz_cookies (name, value, host, path, expiry, lastAccessed)"
            f" VALUES (CAST(x'ff62' AS TEXT), CAST(x'ff61' AS TEXT), '{HOST}', '/', 4000000000000, 1)"
        )
        connection.commit()
        assert values(read_jars(profile)) == {"": ["firefox-token", "\ufffda"]}


@pytest.mark.parametrize("statement", ["CREATE TABLE other (x)", "CREATE TABLE moz_cookies (id, name)"])
def test_a_database_of_something_else_is_refused(profile, statement):
    """By what is missing."""
    profile.database.parent.mkdir()
    with closing(sqlite3.connect(profile.database)) as connection:
        connection.execute(statement)
    with pytest.raises(UnreadableError, match="does not have Firefox's tables"):
        read_jars(profile)


def test_a_store_without_our_cookies_has_no_jars(profile):
    """An empty one is no error."""
    with closing(write_firefox(profile.database)):
        assert read_jars(profile) == {}


def test_a_cookie_shows_no_value(profile):
    """Not in ``repr``, which stands in tracebacks."""
    with closing(write_firefox(profile.database, row())):
        assert "firefox-token" not in repr(read_jars(profile))
