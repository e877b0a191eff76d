"""The store of Chromium's family: only rows of our hosts are decrypted, and errors explain the problem."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
import tempfile
import time
from contextlib import closing

import pytest

from langchain_cerebras_demo.keys.browser import chromium as module
from langchain_cerebras_demo.keys.browser.chromium import decrypt, read_store
from langchain_cerebras_demo.keys.browser.database import UnreadableError
from langchain_cerebras_demo.keys.browser.profiles import Profile
from langchain_cerebras_demo.keys.cookies import HOSTS, to_session

browser_cookie3 = pytest.importorskip("browser_cookie3", reason="the extra `browser` is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="v10 is a fixed password on Linux alone")

NAME = "__Secure-next-auth.session-token"
HOST = "inference.cerebras.ai"
NOW = time.time()
FUTURE = NOW + 1e6
EPOCH = 11_644_473_600

# Version 24, as Chromium 130 and later make it.
SCHEMA = """CREATE TABLE cookies(creation_utc INTEGER NOT NULL,host_key TEXT NOT NULL,top_frame_site_key TEXT NOT NULL,
  name TEXT NOT NULL,value TEXT NOT NULL,encrypted_value BLOB NOT NULL,path TEXT NOT NULL,expires_utc INTEGER NOT NULL,
  is_secure INTEGER NOT NULL,is_httponly INTEGER NOT NULL,last_access_utc INTEGER NOT NULL,has_expires INTEGER NOT NULL,
  is_persistent INTEGER NOT NULL,priority INTEGER NOT NULL,samesite INTEGER NOT NULL,source_scheme INTEGER NOT NULL,
  source_port INTEGER NOT NULL,last_update_utc INTEGER NOT NULL,source_type INTEGER NOT NULL,
  has_cross_site_ancestor INTEGER NOT NULL)"""


def encrypt(value, host=HOST, *, prefix=b"v10", password=b"peanuts", with_hash=True):
    """As Chromium does on Linux; from version 24 on the hash of the host stands in front of the value."""
    from Cryptodome.Cipher import AES
    from Cryptodome.Util.Padding import pad

    key = hashlib.pbkdf2_hmac("sha1", password, b"saltysalt", 1, 16)
    plain = (hashlib.sha256(host.encode()).digest() if with_hash else b"") + value.encode()
    return prefix + AES.new(key, AES.MODE_CBC, b" " * 16).encrypt(pad(plain, 16))


def row(value="chromium-token", *, name=NAME, host=HOST, path="/", expires=FUTURE, used=NOW, **changed):
    """A row of ``cookies``; both times are Unix times in seconds, ``None`` for a cookie that ends with the browser."""
    return {
        "host_key": host,
        "name": name,
        "value": "",
        "encrypted_value": encrypt(value, host),
        "path": path,
        "expires_utc": int((expires + EPOCH) * 1_000_000) if expires else 0,
        "last_access_utc": int((used + EPOCH) * 1_000_000),
        "is_secure": 1,
        "is_httponly": 1,
        "top_frame_site_key": "",
        **changed,
    }


def write_chromium(file, *rows, version="24"):
    """Writes a store as a Chromium on Linux has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(SCHEMA)
        columns = [column for _, column, *_ in connection.execute("PRAGMA table_info(cookies)")]
        connection.execute("CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR)")
        if version is not None:
            connection.execute("INSERT INTO meta VALUES ('version', ?)", [version])
        marks = ", ".join("?" * len(columns))
        for one in rows:
            connection.execute(f"INSERT INTO cookies VALUES ({marks})", [one.get(column, 0) for column in columns])


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, of this test's own; and no D-Bus."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def profile(tmp_path):
    return Profile("Chromium", "chromium", "Default", tmp_path / "chromium" / "Default" / "Cookies")


def read_values(profile):
    return {cookie.name: cookie.value for cookie in decrypt(profile, read_store(profile, NOW))}


AWKWARD = 'a+b/c==&d=e:f|g%22h~i@j(k)[l]{m} n,o"p\\q' * 50


@pytest.mark.parametrize("value", ["x", "chromium-token", AWKWARD])
def test_a_value_under_the_fixed_password_is_read_without_d_bus(profile, value):
    """Byte for byte, without the hash of the host in front of it."""
    write_chromium(profile.database, row(value))
    assert read_values(profile) == {NAME: value}


def test_a_store_of_before_version_24_has_no_hash_in_front_of_a_value(profile):
    """And its columns are fewer."""
    write_chromium(profile.database, row(encrypted_value=encrypt("old-token", with_hash=False)), version="23")
    with closing(sqlite3.connect(profile.database)) as connection:
        connection.execute("ALTER TABLE cookies DROP COLUMN top_frame_site_key")
        connection.execute("ALTER TABLE cookies DROP COLUMN last_access_utc")
    assert read_values(profile) == {NAME: "old-token"}
    (cookie,) = read_store(profile, NOW).cookies()
    assert cookie.last_used == 0


def test_a_value_that_was_never_encrypted_is_read(profile):
    """As with a password store of none."""
    write_chromium(
        profile.database, row(value="", encrypted_value=b""), row(name="plain", encrypted_value=b"") | {"value": "open"}
    )
    assert read_values(profile) == {"plain": "open"}


def test_times_are_unix_times(profile):
    """Chromium counts microseconds from 1601; 0 is no expiry."""
    write_chromium(profile.database, row(name="dated"), row(name="undated", expires=None))
    dated, undated = read_store(profile, NOW).cookies()
    assert dated.expires == pytest.approx(FUTURE, abs=0.001)
    assert dated.last_used == pytest.approx(NOW, abs=0.001)
    assert undated.expires is None


def test_only_the_rows_of_our_hosts_leave_the_store(profile):
    """Whole hosts are compared: no look-alike's cookie is even decrypted."""
    others = ["cerebras.ai", "api.cerebras.ai", "notcerebras.ai", "cerebras.ai.evil.test", "%", "_cerebras.ai", ""]
    write_chromium(
        profile.database, *(row(host, name=f"n{number}", host=host) for number, host in enumerate([*HOSTS, *others]))
    )
    store = read_store(profile, NOW)
    assert [one["host_key"] for one in store.rows] == list(HOSTS)
    assert sorted(cookie.value for cookie in decrypt(profile, store)) == sorted(HOSTS)


def test_partitioned_and_expired_cookies_stay_in_the_store(profile):
    """One name three times: neither a page's own nor the one that is over takes the place of the good one."""
    write_chromium(
        profile.database,
        row("good"),
        row("partitioned", top_frame_site_key="https://evil.test"),
        row("own partition", top_frame_site_key="https://cerebras.ai"),
        row("over", expires=NOW - 1),
    )
    assert read_values(profile) == {NAME: "good"}


BAD_ROWS = {
    "another password": row(name="bad", encrypted_value=encrypt("x", password=b"walnuts")),
    "no whole block": row(name="bad", encrypted_value=b"v10" + b"x" * 17),
    "a prefix alone": row(name="bad", encrypted_value=b"v10"),
    "nothing": row(name="bad", encrypted_value=b""),
    "an unknown prefix": row(name="bad", encrypted_value=b"v99" + b"x" * 32),
    "no bytes": row(name="bad", encrypted_value="v10 as a text"),
    "a value of bytes": row(name="bad") | {"value": b"\xff\x00"},
    "a name of bytes": row(name=b"bad"),
    "a path of bytes": row(name="bad", path=b"/"),
    "an expiry that is a text": row(name="bad") | {"expires_utc": "soon"},
    "an access that is a text": row(name="bad", encrypted_value=b"") | {"last_access_utc": "late"},
    "no UTF-8 inside": row(name="bad", encrypted_value=encrypt("x", with_hash=False)),
    "v20": row(name="bad", encrypted_value=b"v20" + b"x" * 60),
    "v12": row(name="bad", encrypted_value=b"v12" + b"x" * 60),
    "v11": row(name="bad", encrypted_value=b"v11" + b"x" * 32),
    "an empty v20": row(name="bad", encrypted_value=b"v20"),
    "an empty v12": row(name="bad", encrypted_value=b"v12"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_among_good_ones_is_left_out(profile, case):
    """It costs no other, whichever comes first."""
    write_chromium(profile.database, row("first", name="first"), BAD_ROWS[case], row("last", name="last"))
    assert read_values(profile) == {"first": "first", "last": "last"}


def test_a_name_that_is_no_utf8_spoils_only_itself(profile):
    """SQLite stores any bytes as a text."""
    write_chromium(profile.database, row("odd", name="odd"), row("good", name="good"))
    with closing(sqlite3.connect(profile.database)) as connection, connection:
        connection.execute("UPDATE cookies SET name = CAST(x'ff62' AS TEXT) WHERE name = 'odd'")
    assert read_values(profile)["good"] == "good"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"v20" + b"x" * 60, "app-bound encryption"),
        (b"v12" + b"x" * 60, "secret portal"),
        (b"v10" + b"x" * 32, "cannot be decrypted with the key found"),
        (b"v11" + b"x" * 32, "there is no D-Bus session: DBUS_SESSION_BUS_ADDRESS is not set"),
    ],
)
def test_cookies_that_nothing_opens_are_an_error_with_a_way_out(profile, value, words):
    """What is wrong, in words for the user, and what works instead."""
    write_chromium(profile.database, row(encrypted_value=value))
    with pytest.raises(UnreadableError) as caught:
        read_values(profile)
    assert words in str(caught.value)
    assert 'cookies="cookies.txt"' in str(caught.value)


@pytest.mark.parametrize("address", ["", "disabled:", "unix:path=/nowhere/bus", "rubbish", "unix:path="])
def test_a_d_bus_that_does_not_answer_is_a_reason_and_no_exception(profile, monkeypatch, address):
    """Over ssh, in a container or in cron; and what needs no keyring is read all the same."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    keyring_row = row(name="locked", encrypted_value=b"v11" + b"x" * 32)
    write_chromium(profile.database, keyring_row)
    with pytest.raises(UnreadableError, match="desktop's keyring, which could not be read"):
        read_values(profile)
    with closing(sqlite3.connect(profile.database)) as connection, connection:
        connection.execute("UPDATE cookies SET name = 'open', encrypted_value = ?", [encrypt("readable")])
    assert read_values(profile) == {"open": "readable"}


class Keyring:
    """Stands for browser_cookie3's class of one browser, whose constructor asks the keyring."""

    asked: list[tuple[str, str | None]]
    password = b"from the keyring"

    def __init__(self, cookie_file, key_file):
        type(self).asked.append((cookie_file, key_file))
        self.cookie_file = cookie_file

    def load(self):
        with closing(sqlite3.connect(self.cookie_file)) as connection:
            rows = connection.execute("SELECT host_key, path, name, encrypted_value FROM cookies").fetchall()
        return [self.opened(*one) for one in rows]

    def opened(self, host, path, name, encrypted):
        if b"bad" in encrypted:
            raise ValueError("a wrong padding of never-shown")
        return browser_cookie3.create_cookie(host, path, True, None, name, encrypted[3:].decode(), True)


@pytest.fixture
def keyring(monkeypatch):
    Keyring.asked = []
    monkeypatch.setattr(browser_cookie3, "Chromium", Keyring)
    return Keyring


def test_the_keyring_is_asked_once_and_only_where_there_is_something_for_it_to_open(profile, keyring):
    """So no dialog comes up for nothing."""
    write_chromium(profile.database, row("open", name="open"))
    assert read_values(profile) == {"open": "open"}
    assert keyring.asked == []
    profile.database.unlink()
    locked = [row(name=name, encrypted_value=b"v11" + name.encode()) for name in ("a", "bad", "c")]
    write_chromium(profile.database, *locked, row("open", name="open"))
    assert read_values(profile) == {"open": "open", "a": "a", "c": "c"}
    assert len(keyring.asked) == 1


def test_a_keyring_that_opens_nothing_is_a_reason(profile, keyring):
    """Not the exception, whose text nobody knows."""
    write_chromium(profile.database, row(encrypted_value=b"v11bad"))
    with pytest.raises(
        UnreadableError, match=r"cannot be decrypted with the key found; is the keyring locked\?"
    ) as caught:
        read_values(profile)
    assert "never-shown" not in str(caught.value)


@pytest.mark.parametrize(
    ("platform", "words"),
    [("darwin", "the keychain did not return the key"), ("win32", "Windows did not return the key")],
)
def test_elsewhere_every_value_needs_the_systems_key(profile, monkeypatch, platform, words):
    """The keychain's and that of Windows, which stands in ``Local State``; a refusal is told in its words."""
    (profile.database.parents[1]).mkdir(parents=True)
    state = profile.database.parents[1] / "Local State"
    state.touch()
    write_chromium(profile.database, row())
    store = read_store(profile, NOW)
    asked = []

    def refuse(cookie_file, key_file):
        asked.append(key_file)
        raise PermissionError("never-shown")

    monkeypatch.setattr(browser_cookie3, "Chromium", refuse)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(UnreadableError, match=words) as caught:
        decrypt(profile, store)
    assert asked == [str(state)]
    assert "never-shown" not in str(caught.value)


def test_what_is_handed_to_the_decryptor_lies_in_a_private_folder(profile, temporary, monkeypatch):
    """Our rows alone, in a file of mode 0600."""
    write_chromium(profile.database, row(), row("somebody-elses", host="evil.test"))
    plain_load, seen = browser_cookie3.ChromiumBased.load, []

    def load(decryptor):
        (folder,) = temporary.iterdir()
        (file,) = folder.iterdir()
        with closing(sqlite3.connect(file)) as connection:
            hosts = [host for (host,) in connection.execute("SELECT host_key FROM cookies")]
        seen.append((oct(folder.stat().st_mode)[-3:], oct(file.stat().st_mode)[-3:], hosts))
        return plain_load(decryptor)

    monkeypatch.setattr(browser_cookie3.ChromiumBased, "load", load)
    assert read_values(profile) == {NAME: "chromium-token"}
    assert seen == [("700", "600", [HOST])]


def test_a_database_of_something_else_is_refused(profile):
    """By what is missing."""
    profile.database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(profile.database)) as connection:
        connection.execute("CREATE TABLE cookies (host_key, name)")
    with pytest.raises(UnreadableError, match="does not have Chromium's tables"):
        read_store(profile, NOW)


def test_a_store_without_its_meta_table_is_refused(profile):
    """A profile folder full of rubbish raises nothing but the reason."""
    write_chromium(profile.database, row())
    with closing(sqlite3.connect(profile.database)) as connection:
        connection.execute("DROP TABLE meta")
    with pytest.raises(UnreadableError, match="no such table: meta"):
        read_store(profile, NOW)


@pytest.mark.parametrize("version", [None, "x"])
def test_a_store_without_a_version_is_taken_for_an_old_one(profile, version):
    """The value then has nothing in front of it."""
    write_chromium(profile.database, row(encrypted_value=encrypt("old", with_hash=False)), version=version)
    assert read_values(profile) == {NAME: "old"}


def test_a_store_without_rows_says_so(profile):
    """It is asked for nothing."""
    write_chromium(profile.database)
    with pytest.raises(UnreadableError, match="it has no cookies"):
        read_values(profile)


def test_before_it_is_decrypted_it_is_known_which_cookies_there_are(profile):
    """By a word in place of the values, which no ``repr`` shows either."""
    write_chromium(profile.database, row())
    store = read_store(profile, NOW)
    assert to_session(store.cookies(), NOW) == {NAME: "encrypted"}
    assert "encrypted_value" not in repr(store)
    assert module.Store("24", store.rows) == store
